//! How values are stored, and how sums become them.

use grano::requantize::{FINE, FINE_HALF};
use half::f16;

/// `((sum << shift)·m + 2³¹) >> 32`, plus the zero point.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// Left shift of the sum.
    pub shift: u32,
    /// Even, below 2³¹; one a channel.
    pub multipliers: Vec<i32>,
    /// Of the output, or of the table's index.
    pub zero_point: i32,
}

/// How a value's elements are stored, and what they stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// scale·(q − zero_point).
    I8(Affine),
    /// scale·(q − zero_point), in int16.
    I16 {
        /// What a code stands for.
        affine: Affine,
        /// Codes go from −half to half − 1.
        half: i32,
    },
    /// Scratch of integer kernels.
    I32,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// An affine code: value = scale·(q − zero_point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The value of one unit.
    pub scale: f64,
    /// The code of 0.
    pub zero_point: i32,
}

impl Affine {
    /// The code in which −128 and 127 stand for the ends of a range, which is widened to hold 0.
    #[must_use]
    pub fn of_range([low, high]: [f32; 2]) -> Self {
        let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
        let scale = ((high - low) / 255.0).max(1e-9);
        Self { scale, zero_point: (-128.0 - low / scale).round() as i32 }
    }

    /// The nearest code of int8.
    #[must_use]
    pub fn quantize(self, value: f64) -> i8 {
        self.nearest(value).clamp(-128, 127) as i8
    }

    /// The fine code in which the same range has 16 steps for one.
    #[must_use]
    pub fn fine(self) -> Self {
        Self { scale: self.scale / f64::from(FINE), zero_point: self.zero_point * FINE }
    }

    /// The nearest fine code, where this is one.
    #[must_use]
    pub fn quantize_fine(self, value: f64) -> i16 {
        self.nearest(value).clamp(-FINE_HALF, FINE_HALF - 1) as i16
    }

    fn nearest(self, value: f64) -> i32 {
        ((value / self.scale).round() as i32).saturating_add(self.zero_point)
    }

    /// The value of a code.
    #[must_use]
    pub fn dequantize(self, code: i8) -> f64 {
        self.scale * f64::from(i32::from(code) - self.zero_point)
    }
}

impl Element {
    /// Codes of integers go from −half to half − 1; 0 for floats.
    #[must_use]
    pub fn half(&self) -> i32 {
        match *self {
            Self::I8(_) => 128,
            Self::I16 { half, .. } => half,
            Self::F16 | Self::I32 | Self::F32 => 0,
        }
    }

    /// Size of one element, which is also its alignment.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::I8(_) => 1,
            Self::I16 { .. } | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }

    /// Rust's name of the type.
    #[must_use]
    pub fn rust(self) -> &'static str {
        match self {
            Self::I8(_) => "i8",
            Self::I16 { .. } => "i16",
            Self::I32 => "i32",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// Rounded to half precision.
pub(crate) fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|&value| f16::from_f32(value)).collect()
}
