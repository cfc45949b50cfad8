//! Channels to pixels: a network's head computes a block of pixels as channels of one.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::geometry::product;
use crate::residual::Residual;
use crate::shape::Shape;

/// `out[y·b + dy][x·b + dx][c] = in[y][x][c·b² + dy·b + dx]`, b being `block`: PyTorch's `pixel_shuffle` order of
/// channels (Shi et al. 2016), in channels-last maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// Its channels are a multiple of block².
    pub input: Shape,
    /// Side of the block of pixels.
    pub block: usize,
}

impl DepthToSpace {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.input.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(
            self.block > 0 && self.input.channels.is_multiple_of(product(self.block, self.block)),
            "channels are a multiple of block²"
        );
        Ok(())
    }

    /// The result's shape.
    #[must_use]
    pub const fn output(&self) -> Shape {
        let Shape { height, width, channels } = self.input;
        let channels = match channels.checked_div(self.block * self.block) {
            Some(channels) => channels,
            None => 0,
        };
        Shape { height: height * self.block, width: width * self.block, channels }
    }

    /// Copies some rows of `input` into `output`.
    fn copy<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let block = self.block.max(1);
        let Shape { width, channels, .. } = self.input;
        let shape = self.output();
        for ((y, x), pixel) in shape.positions().zip(output.chunks_exact_mut(shape.channels.max(1))) {
            let source = ((y / block) * width + x / block) * channels + (y % block) * block + x % block;
            let source = input.get(source..).unwrap_or_default();
            pixel.iter_mut().zip(source.iter().step_by((block * block).max(1))).for_each(|(out, value)| *out = *value);
        }
    }
}

impl Proved<DepthToSpace> {
    /// The result's shape.
    #[must_use]
    pub const fn output(&self) -> Shape {
        self.parameters().output()
    }

    /// Elements of either map.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.parameters().input.len()
    }

    /// Elements of scratch that [`Self::run_in_place`] works in: a row of the input.
    #[must_use]
    pub const fn scratch_len(&self) -> usize {
        self.parameters().input.width * self.parameters().input.channels
    }

    /// Copies `input` into `output`, both whole maps.
    pub fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let lens = Lens::equal(self.output_len(), 1);
        let none = Residual::<T>::None;
        let Some(Buffers { maps: [input, _], output, .. }) = fit(lens, [input, &[]], none, [0; 2], output) else {
            return;
        };
        self.parameters().copy(input, output);
    }

    /// As [`Self::run`] where the result overwrites the input: a row of the input and the `block` rows of pixels that it
    /// becomes take the same place in `map`, which may be some of the rows. Works in the first [`Self::scratch_len`] elements
    /// of `scratch`; where there are fewer, nothing is done.
    pub fn run_in_place<T: Copy>(&self, scratch: &mut [T], map: &mut [T]) {
        let DepthToSpace { input, block } = *self.parameters();
        let row = DepthToSpace { input: Shape { height: 1, ..input }, block };
        let scratch = scratch.get_mut(..row.input.len());
        debug_assert!(scratch.is_some(), "scratch is shorter than a row");
        let Some(scratch) = scratch else { return };
        for pixels in map.chunks_exact_mut(row.input.len().max(1)) {
            scratch.iter_mut().zip(&*pixels).for_each(|(copy, value)| *copy = *value);
            row.copy(scratch, pixels);
        }
    }
}

provable! {
    [] DepthToSpace;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    #[test]
    fn block_of_two() {
        let kernel = DepthToSpace { input: Shape { height: 1, width: 2, channels: 4 }, block: 2 }.checked();
        let mut output = [0; 8];
        kernel.run(&[0, 1, 2, 3, 10, 11, 12, 13], &mut output);
        assert_eq!(output, [0, 1, 10, 11, 2, 3, 12, 13]);
    }

    #[test]
    fn misfits_are_found() {
        let input = Shape { height: 1, width: 1, channels: 6 };
        for block in [0, 2, usize::MAX] {
            assert!(DepthToSpace { input, block }.proved().is_err());
        }
        assert!(DepthToSpace { input: Shape { width: 0, ..input }, block: 1 }.proved().is_err());
    }

    proptest! {
        #[test]
        fn equals_the_formula(height in 1usize..5, width in 1usize..5, channels in 1usize..4, block in 1usize..4) {
            let kernel =
                DepthToSpace { input: Shape { height, width, channels: channels * block * block }, block }.checked();
            let input: Vec<usize> = (0..kernel.output_len()).collect();
            let mut output = vec![0; kernel.output().len()];
            kernel.run(&input, &mut output);
            for (y, x) in kernel.parameters().input.positions() {
                for (dy, dx) in (Shape { height: block, width: block, channels: 0 }).positions() {
                    for c in 0..channels {
                        let got = output[((y * block + dy) * width * block + x * block + dx) * channels + c];
                        let from = (y * width + x) * (channels * block * block) + (c * block + dy) * block + dx;
                        prop_assert_eq!(got, input[from]);
                    }
                }
            }
            let (mut map, mut scratch) = (input, vec![0; kernel.scratch_len()]);
            kernel.run_in_place(&mut scratch, &mut map);
            prop_assert_eq!(map, output);
        }
    }
}
