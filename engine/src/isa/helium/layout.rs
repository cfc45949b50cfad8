//! Which loop a convolution takes, and what that asks for.

use crate::geometry::Geometry;

/// Taps of a step: the lanes of a vector of bytes.
pub(super) const STEP: usize = 16;
/// Output channels of a tile.
pub(super) const CHANNELS: usize = 2;
/// Output pixels of a tile.
pub(super) const PIXELS: usize = 4;
/// Sums of a tile.
pub(super) const TILE: usize = CHANNELS * PIXELS;
/// The most steps that are unrolled into one loop body over columns.
pub(super) const GROUP: usize = 8;

/// The loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// 3×3 on whole steps of channels: neighbouring pixels share the columns of the halo that they read.
    Windows,
    /// 1×1 that reads pixel after pixel of one map: patches lie in the map as they are.
    Pixels,
    /// The same for a single pixel on whole steps of channels: it is no tile's fourth, but has eight channels at once.
    Single,
    /// Any other on at least a step of channels: patches overlap in a halo in which columns lie one behind the other.
    Slabs,
    /// Any other: patches are gathered from the halo.
    Patches,
}

/// A convolution as its loop sees it.
///
/// Weights, filled up with 0 to whole steps and to whole pairs of channels, lie as
/// `[groups][out_c / 2][steps of the group][2][16]`. For [`Method::Windows`] a group is 16 input channels under all
/// nine places of the kernel; at stride 1 odd pairs have the kernel's rows in reverse, so that the loop turns round where
/// it is. Else it is [`GROUP`] steps of the patch as it is (fewer in the last group); for [`Method::Slabs`], of a slab: up to
/// 16 input channels under all places of the kernel, `[k_w][k_h][channels]`, filled up to whole steps. For
/// [`Method::Single`] they lie as `[out_c / 8][steps][8][16]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    geometry: Geometry,
    /// The loop.
    pub method: Method,
}

impl Layout {
    #[inline]
    pub const fn of(geometry: &Geometry) -> Self {
        let Geometry { kernel, stride, padding, upsample, input, .. } = *geometry;
        let square = stride[0] == stride[1] && stride[0] <= 2;
        let method = if kernel[0] == 3 && kernel[1] == 3 && square && input.channels % STEP == 0 {
            Method::Windows
        } else if kernel[0] * kernel[1] * stride[0] * stride[1] * upsample[0] * upsample[1] == 1
            && padding[0] + padding[1] == 0
            && input.width == geometry.output.width
            && input.height >= geometry.output.height
        {
            let single = geometry.output.width * geometry.output.height == 1;
            let whole = input.channels.is_multiple_of(STEP) && geometry.output.channels.is_multiple_of(TILE);
            if single && whole { Method::Single } else { Method::Pixels }
        } else if input.channels >= STEP {
            Method::Slabs
        } else {
            Method::Patches
        };
        Self { geometry: *geometry, method }
    }

    /// Pairs of output channels.
    pub const fn pairs(&self) -> usize {
        self.geometry.output.channels.div_ceil(CHANNELS)
    }

    /// Steps of a sum.
    pub const fn steps(&self) -> usize {
        self.geometry.patch_len().div_ceil(STEP)
    }

    /// Where a weight lies.
    pub const fn place(&self, channel: usize, tap: usize) -> usize {
        let tap = match self.method {
            Method::Windows => {
                let in_c = at_least_one(self.geometry.input.channels);
                let (place, in_channel) = (tap / in_c, tap % in_c);
                let reverse = self.geometry.stride[0] == 1 && channel / CHANNELS % 2 == 1;
                let place = if reverse { (2 - place / 3) * 3 + place % 3 } else { place };
                (in_channel / STEP * 9 + place) * STEP + in_channel % STEP
            }
            Method::Slabs => return self.place_in_slab(channel, tap),
            Method::Pixels | Method::Single | Method::Patches => tap,
        };
        let (step, lane) = (tap / STEP, tap % STEP);
        if matches!(self.method, Method::Single) {
            return ((channel / TILE * self.steps() + step) * TILE + channel % TILE) * STEP + lane;
        }
        let group = if matches!(self.method, Method::Windows) { 9 } else { GROUP };
        let first = step / group * group;
        let left = self.steps() - first;
        let steps = if left < group { left } else { group };
        let (pair, member) = (channel / CHANNELS, channel % CHANNELS);
        ((first * self.pairs() + pair * steps + step - first) * CHANNELS + member) * STEP + lane
    }

    /// Where a weight of [`Method::Slabs`] lies.
    const fn place_in_slab(&self, channel: usize, tap: usize) -> usize {
        let Geometry { kernel: [k_h, k_w], input, .. } = self.geometry;
        let in_c = at_least_one(input.channels);
        let (place, in_channel) = (tap / in_c, tap % in_c);
        let (row, column) = (place / at_least_one(k_w), place % at_least_one(k_w));
        let slab = in_channel / STEP;
        let tap = (column * k_h + row) * self.slab_channels(slab) + in_channel % STEP;
        let (step, lane) = (tap / STEP, tap % STEP);
        let first = step / GROUP * GROUP;
        let left = self.slab_steps(slab) - first;
        let steps = if left < GROUP { left } else { GROUP };
        let (pair, member) = (channel / CHANNELS, channel % CHANNELS);
        // All slabs before have all their channels.
        let before = slab * k_h * k_w + first;
        ((before * self.pairs() + pair * steps + step - first) * CHANNELS + member) * STEP + lane
    }

    /// Slabs of input channels.
    #[cfg(target_arch = "arm")]
    pub const fn slabs(&self) -> usize {
        self.geometry.input.channels.div_ceil(STEP)
    }

    /// Channels of a slab.
    pub const fn slab_channels(&self, slab: usize) -> usize {
        let left = self.geometry.input.channels - slab * STEP;
        if left < STEP { left } else { STEP }
    }

    /// Steps of a slab.
    pub const fn slab_steps(&self, slab: usize) -> usize {
        (self.geometry.kernel[0] * self.geometry.kernel[1] * self.slab_channels(slab)).div_ceil(STEP)
    }

    /// Rows of the output that a tile of [`Method::Slabs`] may belong to: two, where one has no whole tiles.
    pub const fn slab_rows(&self) -> usize {
        let output = self.geometry.output;
        if output.width.is_multiple_of(PIXELS) || output.height == 1 { 1 } else { 2 }
    }

    /// Tiles of so many rows.
    pub const fn slab_tiles(&self) -> usize {
        (self.slab_rows() * self.geometry.output.width).div_ceil(PIXELS)
    }

    /// Columns of the halo: those under the kernel for one output row.
    pub const fn halo_width(&self) -> usize {
        let Geometry { output, stride, kernel, .. } = self.geometry;
        (output.width - 1) * stride[1] + kernel[1]
    }

    /// Rows of the halo. Two rows of windows at stride 1 share it.
    pub const fn halo_rows(&self) -> usize {
        match (self.method, self.geometry.stride[0]) {
            (Method::Windows, 1) => 4,
            (Method::Windows | Method::Patches, _) => self.geometry.kernel[0],
            (Method::Slabs, _) => self.slab_rows() * self.geometry.kernel[0],
            (Method::Pixels | Method::Single, _) => 0,
        }
    }

    /// Elements of a row of the halo.
    pub const fn halo_row(&self) -> usize {
        self.halo_width() * self.geometry.input.channels
    }

    /// Bytes of the widest element that the loop reads: maps of int16 are a network's inputs, of few channels.
    pub const fn element_bytes(&self) -> usize {
        if self.geometry.input.channels < STEP { 2 } else { 1 }
    }

    /// 32-bit words of the halo.
    pub const fn halo_words(&self) -> usize {
        // A pixel's last step may end behind its slab.
        let past = if matches!(self.method, Method::Slabs) { STEP } else { 0 };
        (self.halo_rows() * self.halo_row() * self.element_bytes() + past).div_ceil(4)
    }

    /// 32-bit words of a tile's columns, and of the offsets of a patch's taps in the halo; of [`Method::Slabs`], of the places
    /// of tiles' pixels in whole slabs, and in the last one.
    pub const fn columns_words(&self) -> [usize; 2] {
        let taps = self.steps() * STEP;
        let columns = taps * PIXELS * self.element_bytes() / 4;
        match self.method {
            Method::Windows | Method::Single => [0, 0],
            Method::Slabs => [self.slab_tiles() * PIXELS, self.slab_tiles() * PIXELS],
            Method::Pixels => [columns, 0],
            Method::Patches => [columns, taps / 2],
        }
    }

    /// 32-bit words of the biases: four pixels', or those of a single one, which become the sums.
    pub const fn bias_words(&self) -> usize {
        match self.method {
            Method::Single => self.geometry.output.channels,
            Method::Windows | Method::Pixels | Method::Slabs | Method::Patches => self.pairs() * TILE,
        }
    }

    /// 32-bit words of the sums: a row's, or a tile's.
    pub const fn sums_words(&self) -> usize {
        let tiles = match self.method {
            Method::Windows => self.geometry.output.width.div_ceil(PIXELS),
            Method::Slabs => self.slab_tiles(),
            Method::Pixels | Method::Patches => 1,
            Method::Single => return 0,
        };
        tiles * self.pairs() * TILE
    }

    /// 32-bit words of all scratch: biases, sums, halo, columns, offsets.
    pub const fn scratch_words(&self) -> usize {
        let [columns, offsets] = self.columns_words();
        self.bias_words() + self.sums_words() + self.halo_words() + columns + offsets
    }
}

/// A divisor that the compiler sees is not 0; shapes are checked, but not where it can see it.
const fn at_least_one(divisor: usize) -> usize {
    if divisor == 0 { 1 } else { divisor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::geometries;
    use crate::isa::{Helium, Isa};
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn every_weight_has_a_place_of_its_own(mut geometry in geometries(), wide in any::<bool>(), deep in any::<bool>()) {
            if wide {
                geometry.input.channels *= STEP;
                geometry.kernel = [3, 3];
            } else if deep {
                geometry.input.channels += STEP;
            }
            let (taps, out_c) = (geometry.patch_len(), geometry.output.channels);
            let mut taken = vec![false; Helium::PACKING.packed_len(&geometry)];
            for channel in 0..out_c {
                for tap in 0..taps {
                    let place = Layout::of(&geometry).place(channel, tap);
                    prop_assert!(!std::mem::replace(&mut taken[place], true));
                }
            }
        }
    }
}
