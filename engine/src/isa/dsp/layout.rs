//! Which loop a convolution takes, how that wants its patches, and the scratch that it works in.

use super::{Dsp, Isa};
use crate::geometry::Geometry;
use crate::isa::scratch::larger;

/// Rows and columns of the kernel of `one_input`.
pub(super) const SIDE: usize = 3;
/// Channels of a pass.
const CHANNELS: usize = 4;
/// A channel's words: its bias, four pairs of weights and the ninth, its multiplier.
pub(super) const WORDS: usize = 7;

/// Whether `one_input` is made for the shape.
pub(super) const fn fits(geometry: &Geometry) -> bool {
    geometry.is_same_3x3() && geometry.input.channels == 1 && geometry.output.channels.is_multiple_of(CHANNELS)
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
    let one_input = if fits(geometry) { geometry.output.channels * WORDS + SIDE * row_words(geometry) } else { 0 };
    larger(Dsp::PACKING.scratch_words(geometry) + halo_words(geometry), one_input)
}
