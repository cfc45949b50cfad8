//! The choice that a build makes first.

use crate::error::{Error, Result};
use crate::kernel::Element;
use crate::model::{DENOISER, Model};

/// The numbers that a network is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Integers, maps in int8: the same bits on every chip.
    Int8,
    /// The same with fine codes in int16 for the maps that the model names ([`crate::model::Ranges::fine`]).
    Mixed,
    /// Weights and maps in half precision, sums in f32.
    F16,
    /// Single precision: the parity build.
    F32,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Mixed, Self::F16, Self::F32];

    /// Those that a model can be built in: mixed precision where it names maps for int16.
    #[must_use]
    pub fn of(model: &Model) -> Vec<Self> {
        let names_fine = model.header.ranges.get(DENOISER).is_some_and(|ranges| !ranges.fine.is_empty());
        Self::ALL.into_iter().filter(|&precision| precision != Self::Mixed || names_fine).collect()
    }

    /// `int8`, `mixed`, `f16` or `f32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Mixed => "mixed",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// How floating-point weights and maps are stored; networks of integers have none.
    pub(crate) fn float(self) -> Element {
        if self == Self::F16 { Element::F16 } else { Element::F32 }
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| Error::Model(format!("precision `{name}`: give int8, mixed, f16 or f32")))
    }
}
