//! A model: a network that denoises, its samplers, and the memory that they need.

use core::fmt;
use core::hint::black_box;
use core::marker::PhantomData;
use core::ops::Deref;

use crate::blob::{Blob, checksum};
use crate::memory::Storage;
use crate::network::Network;
use crate::schedule::StepTable;
use crate::shape::Shape;

/// A generated model: all that [`crate::Sampler`] needs to know of it.
pub trait Model: 'static {
    /// The network that predicts, from `c_in · x` at a step, what the sampler's table turns into x̂0.
    type Denoiser: Network;
    /// Of x, of the network's one input map, and of its one output.
    const SHAPE: Shape;
    /// The classes. Generated code has an enum of them.
    type Label: Label;
    /// A name a class, in the order of labels.
    const LABELS: &'static [&'static str] = <Self::Label as Label>::NAMES;
    /// The weight of classifier-free guidance that the model is meant to be sampled with; 1 for none.
    const GUIDANCE: f32;
    /// The samplers; the first is the default.
    const SAMPLERS: &'static [StepTable<'static>];
    /// A [`crate::memory::Memory`].
    type Memory: Storage;

    /// Reads all constants and compares their checksum with that of the build.
    ///
    /// # Errors
    /// When they differ.
    fn check_constants() -> Result<(), Corrupted>;
}

/// A class of a model. Of a model without classes it is an enum without variants.
pub trait Label: Copy + 'static {
    /// All, in order.
    const ALL: &'static [Self];
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;

    /// What the model calls it, such as `ankle-boot`.
    #[must_use]
    fn name(self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or_default()
    }

    /// The class of that name.
    #[must_use]
    fn named(name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Self::ALL.get(index).copied()
    }
}

/// The constants in flash are not those of the build: it was written in part, or has aged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupted;

impl fmt::Display for Corrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model's constants in flash differ from those of the build: write the program again")
    }
}

impl core::error::Error for Corrupted {}

/// Compares the checksum of constants with that of the build, for generated code.
///
/// # Errors
/// When they differ.
pub fn check_constants<const N: usize>(constants: &'static Blob<N>, expected: u64) -> Result<(), Corrupted> {
    // The compiler knows the constants: it must not answer in the chip's place.
    let Blob(bytes) = black_box(constants);
    if checksum(bytes) == expected { Ok(()) } else { Err(Corrupted) }
}

/// A sampler of model `M`: one of [`Model::SAMPLERS`], so that no other model's can be given in its place.
///
/// ```compile_fail,E0308
/// use grano::{Model, Noise, Request, Sampler, Table};
///
/// fn begin<A: Model, B: Model, N: Noise>(sampler: &mut Sampler<A, N>, noise: N, request: Request) {
///     let table = Table::<B>::default(); // `Table::<A>` compiles
///     let _ = sampler.start(table, noise, request);
/// }
/// ```
pub struct Table<M> {
    table: &'static StepTable<'static>,
    model: PhantomData<fn() -> M>,
}

impl<M: Model> Table<M> {
    const fn new(table: &'static StepTable<'static>) -> Self {
        Self { table, model: PhantomData }
    }

    /// The sampler of that name, such as `ddim-20`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|table| table.name == name)
    }

    /// Every sampler of the model, the default first.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        M::SAMPLERS.iter().map(Self::new)
    }
}

impl<M: Model> Default for Table<M> {
    fn default() -> Self {
        Self::new(const { &M::SAMPLERS[0] })
    }
}

impl<M> Deref for Table<M> {
    type Target = StepTable<'static>;

    fn deref(&self) -> &Self::Target {
        self.table
    }
}

impl<M> Clone for Table<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Table<M> {}

impl<M> fmt::Debug for Table<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.table.name).finish()
    }
}
