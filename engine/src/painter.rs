//! The whole of a program that draws: a model, its sampler and its noise, by a label and a seed.

use crate::model::{Corrupted, Label, Model, Table};
use crate::noise::{Gaussian, Philox};
use crate::picture::Picture;
use crate::request::{Request, SampleError};
use crate::sampler::Sampler;
use crate::trajectory::Progress;

/// Draws with a generated model, with its own sampler, guidance and noise: what most programs need. [`Sampler`] is the
/// layer below, for noise of one's own, hooks and labels by number.
///
/// A painter is as large as the model's memory, tens of kilobytes: keep it in a static. The generated module does that
/// with its function `painter`, where the feature `static-cell` is on. A local variable takes the same from the stack, and
/// for a moment twice that.
///
/// ```
/// use grano::{Model, Painter, Progress};
///
/// fn draw<M: Model>(painter: &mut Painter<M>, label: M::Label) -> u32 {
///     painter.start(label, 0);
///     while painter.step() != Progress::Done {
///         // A step has been made: feed the watchdog, show `painter.picture()` as it is.
///     }
///     painter.picture().crc32()
/// }
/// ```
pub struct Painter<M: Model> {
    sampler: Sampler<M, Gaussian<Philox>>,
}

impl<M: Model> Painter<M> {
    /// With nothing to do. All bytes are zero, so that a static painter takes no flash.
    #[must_use]
    pub const fn new() -> Self {
        Self { sampler: Sampler::new() }
    }

    /// Begins a picture of a class, or, with `None`, of whatever the noise holds; the model's own sampler and guidance draw
    /// it. Equal label and seed give the same picture, byte for byte, on every chip and desktop.
    pub fn start(&mut self, label: impl Into<Option<M::Label>>, seed: u64) {
        // A label of the model's own type and guidance that it has the memory for are never refused.
        let _ = self.start_with(Table::default(), label, M::GUIDANCE, seed);
    }

    /// Begins a picture with another sampler of the model, such as [`Table::named`] finds, or with another weight of
    /// classifier-free guidance, 1 for none.
    ///
    /// # Errors
    /// When the guidance is not finite, or the model was generated without the memory for it. What was under way then stays
    /// as it is.
    pub fn start_with(
        &mut self,
        table: Table<M>,
        label: impl Into<Option<M::Label>>,
        guidance: f32,
        seed: u64,
    ) -> Result<(), SampleError> {
        let label = label.into().map(Label::index);
        self.sampler.start(table, Gaussian(Philox::new(seed, 0)), Request { label, guidance })
    }

    /// Runs one layer of the network, or ends a step: for programs that do something else in between.
    pub fn advance(&mut self) -> Progress {
        self.sampler.advance()
    }

    /// Runs to the end of the step.
    pub fn step(&mut self) -> Progress {
        self.sampler.step()
    }

    /// Runs to the end of the picture.
    pub fn run(&mut self) {
        self.sampler.run();
    }

    /// The picture as it is now: noise first, done when [`Self::step`] says so.
    #[must_use]
    pub fn picture(&self) -> Picture<'_> {
        Picture::new(M::SHAPE, self.sampler.x())
    }

    /// Reads all constants in flash and compares their checksum with that of the build: a self-test for the start of a
    /// program. It takes some 10 instructions for four bytes.
    ///
    /// # Errors
    /// When they are not what was built.
    pub fn check(&self) -> Result<(), Corrupted> {
        M::check_constants()
    }

    /// The layer below, with all that it can do.
    pub fn sampler(&mut self) -> &mut Sampler<M, Gaussian<Philox>> {
        &mut self.sampler
    }
}

impl<M: Model> Default for Painter<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the function `painter` of a generated module, where the feature `static-cell` is on.
#[cfg(feature = "static-cell")]
#[doc(hidden)]
#[macro_export]
macro_rules! __static_painter {
    () => {
        /// The painter in static memory; none where it has been taken before.
        #[allow(dead_code)]
        pub fn painter() -> Option<&'static mut Painter> {
            static PAINTER: $crate::generated::ConstStaticCell<Painter> =
                $crate::generated::ConstStaticCell::new(Painter::new());
            PAINTER.try_take()
        }
    };
}

/// Makes nothing: the feature `static-cell` is off.
#[cfg(not(feature = "static-cell"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __static_painter {
    () => {};
}
