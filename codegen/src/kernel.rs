//! What a layer hands to its kernel: the engine's parameter structs as owned data, one variant a struct.

use grano::kernel::ExpTable;
use grano::requantize::{FINE, FINE_HALF, FineTable};

use crate::graph::Function;
use crate::reference::Geometry;

/// A fused activation (the engine's `requantize::Table`): entry `i` is the value at index `i − 512`.
pub type Table = [i8; 1024];

/// A layer's kernel and its parameters; see the engine's `kernel` module for what each computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kernel {
    /// f32 picture to int16.
    Quantize {
        /// Steps per unit.
        inverse_scale: f32,
    },
    /// int8 or int16 map to int8.
    Conv2dInt8 {
        /// Weights and sums.
        sums: Sums,
        /// Per output channel; empty without a residual.
        residual_multipliers: Vec<i32>,
        /// From sums to the output, or to the table's index.
        requantize: Requantize,
        /// Index + 512 to output.
        table: Option<Table>,
    },
    /// int8 or int16 map to int8 or int16, where the result or what is added to it is int16.
    Conv2dFine {
        /// Weights and sums.
        sums: Sums,
        /// Per output channel, in units of the shifted sums; empty without a residual.
        residual_multipliers: Vec<i32>,
        /// What stands for 0 in the residual.
        residual_zero_point: i32,
        /// From sums to fine codes, or to the table's index.
        requantize: Requantize,
        /// Index to fine code.
        table: Option<FineTable>,
    },
    /// int8 or int16 map to f32: the network's last convolution.
    Conv2dInt8Head {
        /// Weights and sums.
        sums: Sums,
        /// The value of one unit of the sum, per output channel.
        scales: Vec<f32>,
    },
    /// int8 map to int8, a kernel a channel.
    DepthwiseInt8 {
        /// Weights, `[k_h][k_w][channels]`, and sums.
        sums: Sums,
        /// Per channel; empty without a residual.
        residual_multipliers: Vec<i32>,
        /// From sums to the output, or to the table's index.
        requantize: Requantize,
        /// Index + 512 to output.
        table: Option<Table>,
    },
    /// Floating-point maps, a kernel a channel.
    DepthwiseFloat {
        /// Shapes and strides.
        geometry: Geometry,
        /// `[k_h][k_w][channels]`.
        weights: Vec<f32>,
        /// `[steps][channels]` and `[classes + 1][channels]`.
        bias: [Vec<f32>; 2],
        /// What is applied last.
        activation: Option<Function>,
    },
    /// int8 group normalisation.
    GroupNormInt8 {
        /// Number of groups.
        groups: usize,
        /// In squared units of the input.
        eps: f32,
        /// Per channel, in units of the output, or of the table's index.
        gains: Vec<f32>,
        /// In the same units.
        offsets: Vec<f32>,
        /// Index + 512 to output.
        table: Option<Table>,
    },
    /// Floating-point group normalisation.
    GroupNormFloat {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Per channel.
        weight: Vec<f32>,
        /// Per channel.
        bias: Vec<f32>,
        /// What is applied last.
        activation: Option<Function>,
    },
    /// int8 attention.
    AttentionInt8 {
        /// Number of heads.
        heads: usize,
        /// Of q.
        q_zero_point: i32,
        /// From scores to steps of the table: left shift and multiplier.
        score: (u32, i32),
        /// The exponential.
        exp: ExpTable,
        /// 2⁴⁰ times v's scale through the output's.
        ratio: f32,
        /// Zero points and rounding, in 1/256.
        offset: i32,
    },
    /// Floating-point attention.
    AttentionFloat {
        /// Number of heads.
        heads: usize,
        /// Of the products.
        scale: f32,
    },
    /// Floating-point maps.
    Conv2dFloat {
        /// Shapes and strides.
        geometry: Geometry,
        /// Channels of each input map; the second's are 0 where there is one.
        channels: [usize; 2],
        /// `[k_h][k_w][in_c][out_c]`.
        weights: Vec<f32>,
        /// `[steps][out_c]` and `[classes + 1][out_c]`.
        bias: [Vec<f32>; 2],
        /// What is applied last.
        activation: Option<Function>,
    },
    /// PyTorch's pixel shuffle, on f32.
    DepthToSpace {
        /// `[channels, height, width]` before.
        input: [usize; 3],
        /// Enlargement per axis.
        block: usize,
    },
    /// int8 sum.
    AddInt8 {
        /// Of either input.
        multipliers: [i32; 2],
        /// What the zero points come to.
        bias: i32,
        /// From sum to output; one multiplier.
        requantize: Requantize,
    },
    /// Floating-point sum.
    AddFloat,
    /// int8 function.
    ActivationInt8 {
        /// Input + 128 to output.
        table: [i8; 256],
    },
    /// Floating-point function.
    ActivationFloat {
        /// Which one.
        function: Function,
    },
}

/// The integer part of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Shapes and strides.
    pub geometry: Geometry,
    /// `[out_c][k_h][k_w][in_c]`.
    pub weights: Vec<i8>,
    /// `[steps][out_c]` and `[classes + 1][out_c]`.
    pub bias: [Vec<i32>; 2],
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What padding holds, in each.
    pub zero_points: [i16; 2],
}

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
