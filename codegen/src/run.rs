//! What a packed kernel needs to run in process: a machine, and typed operands.

use std::ops::Deref;

use bytemuck::Pod;
use grano::conditioning::Condition;
use grano::io::Input;
use grano::residual::Residual;

use crate::error::{Error, Result};
use crate::target::Target;

/// An instruction set that networks run with in process. A chip's, on a desktop, runs its portable methods on its own
/// packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Plain Rust.
    Portable,
    /// ARMv6-M.
    Armv6m,
    /// ARMv7E-M and ARMv8-M with DSP instructions.
    Dsp,
    /// ARMv8.1-M with Helium.
    Helium,
    /// RV32IM and RV32IMC.
    Riscv32,
    /// What every desktop of this kind has.
    Common,
    /// The best that this desktop has.
    Best,
}

impl Machine {
    /// The fastest one here for networks that are packed for `target`.
    ///
    /// # Errors
    /// When the target is another kind of desktop, or the crate was built without the feature `runtime` and the target is not
    /// the portable one.
    pub fn of(target: Target) -> Result<Self> {
        use grano::isa::Isa;
        if !cfg!(feature = "runtime") && target != Target::Portable {
            return Err(Error::Model(
                "grano-codegen was built without its feature `runtime`: networks for `portable` alone run in process"
                    .into(),
            ));
        }
        Ok(match target {
            Target::Portable => Self::Portable,
            Target::CortexM0 => Self::Armv6m,
            Target::CortexM4 | Target::CortexM7 | Target::CortexM33 => Self::Dsp,
            Target::CortexM55 => Self::Helium,
            Target::Riscv32 => Self::Riscv32,
            _ if target == Target::here() && grano::isa::desktop::Best::is_native() => Self::Best,
            _ if target == Target::here() => Self::Common,
            _ => {
                let (name, here) = (target.name(), Target::here().name());
                return Err(Error::Model(format!(
                    "a network for {name} does not run here; give {here}, portable, or a chip"
                )));
            }
        })
    }
}

/// Does something with a machine's instruction set, called `$isa` in the expression, and, after `of`, with the one whose
/// packing it shares. Without the feature `runtime` there is one alone, so that build scripts compile fast.
macro_rules! machine {
    ($machine:expr, $isa:ident of $packing:ident => $value:expr) => {{
        macro_rules! with {
            ($this:ty, $packed:ty) => {{
                type $isa = $this;
                type $packing = $packed;
                $value
            }};
        }
        $crate::run::dispatch!($machine, with)
    }};
    ($machine:expr, $isa:ident => $value:expr) => {{
        macro_rules! with {
            ($this:ty, $packed:ty) => {{
                type $isa = $this;
                $value
            }};
        }
        $crate::run::dispatch!($machine, with)
    }};
}
pub(crate) use machine;

#[cfg(feature = "runtime")]
macro_rules! dispatch {
    ($machine:expr, $with:ident) => {
        match $machine {
            $crate::run::Machine::Portable => $with!(grano::isa::Portable, grano::isa::Portable),
            $crate::run::Machine::Armv6m => $with!(grano::isa::Armv6m, grano::isa::Armv6m),
            $crate::run::Machine::Dsp => $with!(grano::isa::Dsp, grano::isa::Dsp),
            $crate::run::Machine::Helium => $with!(grano::isa::Helium, grano::isa::Helium),
            $crate::run::Machine::Riscv32 => $with!(grano::isa::Riscv32, grano::isa::Riscv32),
            $crate::run::Machine::Common => $with!(grano::isa::desktop::Common, grano::isa::desktop::Common),
            $crate::run::Machine::Best => $with!(grano::isa::desktop::Best, grano::isa::desktop::Common),
        }
    };
}

#[cfg(not(feature = "runtime"))]
macro_rules! dispatch {
    ($machine:expr, $with:ident) => {{
        let _ = $machine;
        $with!(grano::isa::Portable, grano::isa::Portable)
    }};
}
pub(crate) use dispatch;

/// Does something with the type of an integer map.
macro_rules! codes {
    ($element:expr, $code:ident => $value:expr) => {
        match $element {
            $crate::kernel::Element::I16 { .. } => {
                type $code = i16;
                $value
            }
            _ => {
                type $code = i8;
                $value
            }
        }
    };
}
pub(crate) use codes;

/// Does something with the type of a floating-point map.
macro_rules! float {
    ($element:expr, $real:ident => $value:expr) => {
        match $element {
            $crate::kernel::Element::F16 => {
                type $real = half::f16;
                $value
            }
            _ => {
                type $real = f32;
                $value
            }
        }
    };
}
pub(crate) use float;

/// Most maps that a call reads: as many as a node has inputs.
pub const MOST_MAPS: usize = crate::limits::MOST_INPUTS;

/// The maps that a call reads, in an array, because a heap's blocks would take as long as small layers do.
#[derive(Clone, Copy)]
pub struct Maps<'a, X> {
    maps: [&'a [X]; MOST_MAPS],
    len: usize,
}

impl<'a, X> Maps<'a, X> {
    /// Map by map; those past [`MOST_MAPS`] are dropped.
    pub fn new(all: impl IntoIterator<Item = &'a [X]>) -> Self {
        let (mut maps, mut len) = ([&[][..]; MOST_MAPS], 0);
        for (to, map) in maps.iter_mut().zip(all) {
            (*to, len) = (map, len + 1);
        }
        Self { maps, len }
    }
}

impl<'a, X> Deref for Maps<'a, X> {
    type Target = [&'a [X]];

    fn deref(&self) -> &[&'a [X]] {
        &self.maps[..self.len]
    }
}

/// The operands of a call, as bytes.
pub struct Operands<'a> {
    /// What runs.
    pub machine: Machine,
    /// Rows of time and class.
    pub condition: Condition,
    /// The network's input that the call reads.
    pub input: Input<'a>,
    /// The maps that it reads; empty where one lies in the output.
    pub maps: Maps<'a, u8>,
    /// Whether the first of them lies in the output.
    pub is_in_place: bool,
    /// The second operand of a sum.
    pub residual: Residual<'a, u8>,
    /// What it works in.
    pub scratch: &'a mut [u8],
    /// The rows between two kernels that run strip by strip.
    pub window: &'a mut [u8],
    /// The result, or, of a head, the strip of rows that it is handed out in.
    pub output: &'a mut [u8],
    /// Takes strips of an output.
    pub put: &'a mut dyn FnMut(usize, &[f32]),
}

/// The same as elements: of the maps, of the residual, of scratch, and of the result.
pub struct Parts<'a, X, R, S, Y> {
    pub(crate) machine: Machine,
    pub(crate) condition: Condition,
    pub(crate) input: Input<'a>,
    pub(crate) maps: Maps<'a, X>,
    pub(crate) source: Residual<'a, X>,
    pub(crate) residual: Residual<'a, R>,
    pub(crate) scratch: &'a mut [S],
    pub(crate) window: &'a mut [i8],
    pub(crate) output: &'a mut [Y],
    pub(crate) put: &'a mut dyn FnMut(usize, &[f32]),
}

impl<'a> Operands<'a> {
    /// As elements. The planner aligns buffers to them.
    pub(crate) fn parts<X: Pod, R: Pod, S: Pod, Y: Pod>(self) -> Parts<'a, X, R, S, Y> {
        let maps = Maps::new(self.maps.iter().map(|map| cast(map)));
        let source = match maps.first() {
            _ if self.is_in_place => Residual::InOutput,
            Some(map) => Residual::From(map),
            None => Residual::None,
        };
        let residual = match self.residual {
            Residual::None => Residual::None,
            Residual::InOutput => Residual::InOutput,
            Residual::From(map) => Residual::From(cast(map)),
        };
        Parts {
            machine: self.machine,
            condition: self.condition,
            input: self.input,
            maps,
            source,
            residual,
            scratch: cast_mut(self.scratch),
            window: cast_mut(self.window),
            output: cast_mut(self.output),
            put: self.put,
        }
    }
}

/// Bytes as elements, which the planner aligned them to. No bytes have no place.
fn cast<T: Pod>(bytes: &[u8]) -> &[T] {
    if bytes.is_empty() { &[] } else { bytemuck::cast_slice(bytes) }
}

fn cast_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(bytes) }
}

impl<'a, X, R, S, Y> Parts<'a, X, R, S, Y> {
    /// Two maps side by side; the second is empty where there is one.
    pub(crate) fn pair(&self) -> [&'a [X]; 2] {
        let map = |index: usize| self.maps.get(index).copied().unwrap_or_default();
        [map(0), map(1)]
    }
}
