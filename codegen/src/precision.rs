//! The choice that a build makes first.

use crate::error::{Error, Result};
use crate::kernel::Element;

/// The numbers that a network is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Integers: the same bits on every chip.
    Int8,
    /// Weights and maps in half precision, sums in f32.
    F16,
    /// Single precision: the parity build.
    F32,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Int8, Self::F16, Self::F32];

    /// `int8`, `f16` or `f32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// How floating-point weights and maps are stored; int8 networks have none.
    pub(crate) fn float(self) -> Element {
        if self == Self::F16 { Element::F16 } else { Element::F32 }
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| Error::Model(format!("precision `{name}`: give int8, f16 or f32")))
    }
}
