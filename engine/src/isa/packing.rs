//! The order in which weights lie in flash.

use crate::geometry::Geometry;

/// How convolutions' weights are laid out, and the tile of pixels × channels that is computed at once.
///
/// Weights `[out_c][K]`, K = k_h · k_w · in_c, lie in blocks of `channels` output channels; a block in steps of `depth`
/// taps; a step in groups of `interleave` channels, each `[depth][interleave]`:
///
/// ```text
/// [out_c / channels][K / depth][channels / interleave][depth][interleave]
/// ```
///
/// Channels and taps are filled up to whole blocks and steps with weights of 0. Whole runs of `run` taps have their even
/// taps first, then their odd ones: with 4, taps lie in the order 0 2 1 3, which is how SXTB16 widens four bytes.
///
/// In patches of several pixels whose channels are no whole runs, each of the kernel's rows is filled up to whole steps by
/// itself, and its taps keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Output channels of a tile.
    pub channels: usize,
    /// Output pixels of a tile.
    pub pixels: usize,
    /// Taps that lie side by side.
    pub depth: usize,
    /// Neighbouring channels whose weights alternate; divides `channels`.
    pub interleave: usize,
    /// Taps of which the even ones lie first; 1 or 2 keep their order. An even number otherwise.
    pub run: usize,
    /// Elements behind all blocks for each of their channels, [`crate::isa::Isa::recode`]'s to fill.
    pub tail: usize,
}

impl Packing {
    /// Whether both are the same.
    #[must_use]
    #[inline(always)]
    pub const fn equals(&self, other: &Self) -> bool {
        self.channels == other.channels
            && self.pixels == other.pixels
            && self.depth == other.depth
            && self.interleave == other.interleave
            && self.run == other.run
            && self.tail == other.tail
    }

    /// K, filled up.
    #[must_use]
    #[inline(always)]
    pub const fn padded_taps(&self, taps: usize) -> usize {
        taps.next_multiple_of(self.depth)
    }

    /// Elements of one block of `channels` output channels.
    #[must_use]
    #[inline(always)]
    pub const fn block_len(&self, taps: usize) -> usize {
        self.channels * self.padded_taps(taps)
    }

    /// Whether the kernel's rows lie apart.
    #[must_use]
    #[inline(always)]
    pub const fn has_rows(&self, geometry: &Geometry) -> bool {
        !geometry.input.channels.is_multiple_of(self.run) && geometry.kernel[0] * geometry.kernel[1] > 1
    }

    /// Taps that follow each other without a gap: a row's, or a patch's.
    #[must_use]
    #[inline(always)]
    pub const fn row_taps(&self, geometry: &Geometry) -> usize {
        if self.has_rows(geometry) { geometry.kernel[1] * geometry.input.channels } else { geometry.patch_len() }
    }

    /// The same with taps that keep their order.
    #[must_use]
    #[inline(always)]
    pub const fn in_order(&self) -> Self {
        Self { run: 1, ..*self }
    }

    /// A patch's taps, filled up.
    #[must_use]
    #[inline(always)]
    pub const fn patch_taps(&self, geometry: &Geometry) -> usize {
        let rows = if self.has_rows(geometry) { geometry.kernel[0] } else { 1 };
        rows * self.padded_taps(self.row_taps(geometry))
    }

    /// Elements of all blocks.
    #[must_use]
    #[inline(always)]
    pub const fn blocks_len(&self, geometry: &Geometry) -> usize {
        geometry.output.channels.next_multiple_of(self.channels) * self.patch_taps(geometry)
    }

    /// Elements of all blocks and their tail.
    #[must_use]
    #[inline(always)]
    pub const fn packed_len(&self, geometry: &Geometry) -> usize {
        self.blocks_len(geometry) + geometry.output.channels.next_multiple_of(self.channels) * self.tail
    }

    /// The place of tap `tap` of `taps` in the order of taps.
    #[must_use]
    #[inline(always)]
    pub const fn order(&self, taps: usize, tap: usize) -> usize {
        let (start, within) = (tap - tap % self.run, tap % self.run);
        if start + self.run > taps { tap } else { start + within % 2 * (self.run / 2) + within / 2 }
    }

    /// Where the weight of a channel and of the tap at place `place` of a step lies within that step.
    #[must_use]
    #[inline(always)]
    pub const fn place_in_step(&self, channel: usize, place: usize) -> usize {
        let group = channel / self.interleave;
        (group * self.depth + place) * self.interleave + channel % self.interleave
    }

    /// Where the weight of output channel `channel` and tap `tap` lies.
    #[must_use]
    #[inline(always)]
    pub const fn place(&self, geometry: &Geometry, channel: usize, tap: usize) -> usize {
        let taps = self.row_taps(geometry);
        let block = channel / self.channels * self.patch_taps(geometry) * self.channels;
        let channel = channel % self.channels;
        if self.has_rows(geometry) {
            let Some(row) = tap.checked_div(taps) else { return 0 };
            block + row * self.block_len(taps) + self.in_order().place_in_block(taps, channel, tap - row * taps)
        } else {
            block + self.place_in_block(taps, channel, tap)
        }
    }

    /// The same among `channels` channels of `taps` taps without gaps.
    #[must_use]
    #[inline(always)]
    pub const fn place_in_block(&self, taps: usize, channel: usize, tap: usize) -> usize {
        let place = self.order(taps, tap);
        place / self.depth * self.channels * self.depth + self.place_in_step(channel, place % self.depth)
    }

    /// Where tap `tap` of `taps` without gaps of the tile's pixel `pixel` lies in the columns.
    #[must_use]
    #[inline(always)]
    pub const fn column(&self, taps: usize, pixel: usize, tap: usize) -> usize {
        let place = self.order(taps, tap);
        (place / self.depth * self.pixels + pixel) * self.depth + place % self.depth
    }

    /// Elements of a tile's columns of so many taps without gaps.
    #[must_use]
    #[inline(always)]
    pub const fn columns_len(&self, taps: usize) -> usize {
        self.pixels * self.padded_taps(taps)
    }

    /// 32-bit words of scratch that a convolution takes: every pixel's biases, a tile's sums, a tile's columns of int16.
    #[must_use]
    #[inline(always)]
    pub const fn scratch_words(&self, geometry: &Geometry) -> usize {
        let out_c = geometry.output.channels.next_multiple_of(self.channels);
        (out_c + self.channels) * self.pixels + (self.pixels * self.patch_taps(geometry)).div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;
    use std::collections::BTreeSet;

    /// 3×3, from one channel to five.
    const GEOMETRY: Geometry = Geometry {
        input: Shape { height: 3, width: 3, channels: 1 },
        output: Shape { height: 1, width: 1, channels: 5 },
        kernel: [3; 2],
        stride: [1; 2],
        padding: [0; 2],
        upsample: [1; 2],
    };

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for (channels, depth, interleave, run) in
            [(1, 1, 1, 1), (4, 1, 1, 2), (4, 2, 2, 4), (16, 4, 1, 1), (8, 4, 4, 4)]
        {
            let packing = Packing { channels, pixels: 2, depth, interleave, run, tail: 0 };
            let (geometry, taps, out_c) = (&GEOMETRY, GEOMETRY.patch_len(), GEOMETRY.output.channels);
            let places: BTreeSet<usize> =
                (0..out_c).flat_map(|c| (0..taps).map(move |k| packing.place(geometry, c, k))).collect();
            assert_eq!(places.len(), taps * out_c);
            assert!(*places.last().unwrap() < packing.packed_len(geometry));
        }
        let pairs = Packing { channels: 4, pixels: 2, depth: 2, interleave: 2, run: 1, tail: 0 };
        let order = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 0), (2, 1), (3, 1)];
        assert_eq!(order.map(|(channel, tap)| pairs.place_in_block(2, channel, tap)), [0, 1, 2, 3, 4, 5, 6, 7]);
        let runs = Packing { run: 4, ..pairs };
        assert_eq!([0, 1, 2, 3, 4, 5].map(|tap| runs.order(6, tap)), [0, 2, 1, 3, 4, 5]);
        // Three rows of three taps, each in two steps of two.
        assert_eq!((runs.row_taps(&GEOMETRY), runs.patch_taps(&GEOMETRY)), (3, 12));
        assert_eq!([0, 2, 3, 8].map(|tap| runs.place(&GEOMETRY, 4, tap)), [48, 56, 64, 88]);
        assert_eq!((pairs.row_taps(&GEOMETRY), pairs.patch_taps(&GEOMETRY)), (9, 10));
    }
}
