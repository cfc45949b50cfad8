//! Which convolutions `one_input` takes, and the scratch that it works in.

use crate::geometry::Geometry;

/// Rows and columns of the kernel.
pub(super) const SIDE: usize = 3;
/// Channels of a pass.
const CHANNELS: usize = 4;
/// A channel's words: its bias, four pairs of weights and the ninth, its multiplier.
pub(super) const WORDS: usize = 7;

/// Whether the loop is made for the shape.
pub(super) fn fits(geometry: &Geometry) -> bool {
    geometry.is_same_3x3() && geometry.input.channels == 1 && geometry.output.channels.is_multiple_of(CHANNELS)
}

/// 32-bit words of a row of int16 with its padding.
pub(super) fn row_words(geometry: &Geometry) -> usize {
    (geometry.input.width + 2).div_ceil(2)
}

/// Words of scratch: the channels' and three rows; 0 where the loop is not made for the shape.
pub(super) fn scratch_words(geometry: &Geometry) -> usize {
    if fits(geometry) { geometry.output.channels * WORDS + SIDE * row_words(geometry) } else { 0 }
}
