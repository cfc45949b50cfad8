//! Which loop a convolution takes, how that wants its patches, and the scratch that it works in: what the kernel, the code
//! generator's costs and its report all ask.

use super::{Dsp, Isa};
use crate::geometry::Geometry;
use crate::isa::scratch::larger;

/// Rows and columns of the kernel of `one_input`.
pub(super) const SIDE: usize = 3;
/// Channels of a pass.
const CHANNELS: usize = 4;
/// A channel's words: its bias, four pairs of weights and the ninth, its multiplier.
pub(super) const WORDS: usize = 7;

/// Pixels of a group of `one_output`.
pub(super) const GROUP: usize = 4;
/// Words of a step of `one_output`: the weights of four channels under a row of the kernel, and the way to their inputs.
pub(super) const STEP: usize = 2 * SIDE + 1;

/// What of a convolution, beside its geometry, decides which loop computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    /// Whether it reads int8.
    pub reads_int8: bool,
    /// Maps that it reads.
    pub maps: usize,
    /// Whether it makes int8 by [`crate::epilogue::Epilogue`].
    pub writes_int8: bool,
    /// Whether it adds a residual.
    pub adds: bool,
}

/// A loop of the Arm DSP extension for direct convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DspLoop {
    /// 3×3 from one channel to quadruples of them, to int8 without a residual.
    OneInput,
    /// 3×3 from 16 or 32 channels of one int8 map to one.
    OneOutput,
    /// A single pixel: two channels at a time.
    OnePixel,
    /// Any other: four pixels and two channels at a time.
    FourPixels,
}

impl DspLoop {
    /// That which computes a convolution; there is one for each.
    ///
    /// Inline, so that loops which a type of result never takes are not compiled for it.
    #[must_use]
    #[inline(always)]
    pub const fn of(geometry: &Geometry, operands: Operands) -> Self {
        let Operands { reads_int8, maps, writes_int8, adds } = operands;
        if has_one_output(geometry) && reads_int8 && maps == 1 {
            Self::OneOutput
        } else if has_one_input(geometry) && writes_int8 && !adds {
            Self::OneInput
        } else if geometry.output.height * geometry.output.width == 1 {
            Self::OnePixel
        } else {
            Self::FourPixels
        }
    }

    /// For reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneInput => "of one channel",
            Self::OneOutput => "to one channel",
            Self::OnePixel => "one pixel",
            Self::FourPixels => "four pixels",
        }
    }
}

/// Whether `one_input` is made for the shape.
const fn has_one_input(geometry: &Geometry) -> bool {
    geometry.is_same_3x3() && geometry.input.channels == 1 && geometry.output.channels.is_multiple_of(CHANNELS)
}

/// Whether `one_output` is made for the shape.
const fn has_one_output(geometry: &Geometry) -> bool {
    let Geometry { input, output, .. } = geometry;
    let is_wide = input.width >= GROUP + 2;
    geometry.is_same_3x3() && output.channels == 1 && (input.channels == 16 || input.channels == 32) && is_wide
}

/// 32-bit words of a row of int16 with its padding.
pub(super) const fn row_words(geometry: &Geometry) -> usize {
    (geometry.input.width + 2).div_ceil(2)
}

/// Elements of a row of the halo: the columns under the kernel for a row of the output.
pub(super) const fn halo_row(geometry: &Geometry) -> usize {
    let Geometry { input, output, kernel, stride, .. } = geometry;
    (output.width.saturating_sub(1) * stride[1] + kernel[1]) * input.channels
}

/// Words of the halo: the kernel's rows, and one element that is read with the last one.
const fn halo_words(geometry: &Geometry) -> usize {
    if Dsp::PACKING.has_rows(geometry) { (geometry.kernel[0] * halo_row(geometry) + 1).div_ceil(2) } else { 0 }
}

/// Words of scratch.
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    let one_input =
        if has_one_input(geometry) { geometry.output.channels * WORDS + SIDE * row_words(geometry) } else { 0 };
    let one_output = if has_one_output(geometry) {
        GROUP + SIDE * geometry.input.channels / 4 * STEP + geometry.input.width
    } else {
        0
    };
    larger(Dsp::PACKING.scratch_words(geometry) + halo_words(geometry), larger(one_input, one_output))
}
