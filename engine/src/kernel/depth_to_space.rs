//! Channels to pixels: a network's head computes a block of pixels as channels of one.

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
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when the channels are no multiple of block².
    #[must_use]
    pub const fn checked(self) -> Self {
        assert!(self.block > 0 && !self.input.is_empty(), "no dimension is 0");
        assert!(self.input.channels.is_multiple_of(self.block * self.block), "channels are a multiple of block²");
        self
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

    /// Copies `input` into `output`, both whole maps.
    pub fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let block = self.block.max(1);
        let Shape { width, channels, .. } = self.input;
        let shape = self.output();
        for ((y, x), pixel) in shape.positions().zip(output.chunks_exact_mut(shape.channels.max(1))) {
            let source = ((y / block) * width + x / block) * channels + (y % block) * block + x % block;
            let source = input.get(source..).unwrap_or_default();
            pixel.iter_mut().zip(source.iter().step_by((block * block).max(1))).for_each(|(out, value)| *out = *value);
        }
    }

    /// As [`Self::run`] where the result overwrites the input: a row of the input and the `block` rows of pixels that it
    /// becomes take the same place in `map`. Works in the first `width · channels` elements of `scratch`; where there
    /// are fewer, nothing is done.
    pub fn run_in_place<T: Copy>(&self, scratch: &mut [T], map: &mut [T]) {
        let row = Self { input: Shape { height: 1, ..self.input }, ..*self };
        let Some(scratch) = scratch.get_mut(..row.input.len()) else { return };
        for pixels in map.chunks_exact_mut(row.input.len().max(1)) {
            scratch.iter_mut().zip(&*pixels).for_each(|(copy, value)| *copy = *value);
            row.run(scratch, pixels);
        }
    }
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
    fn misfits_are_found_and_short_buffers_do_no_harm() {
        let input = Shape { height: 1, width: 1, channels: 6 };
        assert!(std::panic::catch_unwind(|| DepthToSpace { input, block: 2 }.checked()).is_err());
        assert!(std::panic::catch_unwind(|| DepthToSpace { input, block: 0 }.checked()).is_err());
        let mut output = [7; 4];
        DepthToSpace { input, block: 0 }.run(&[1; 6], &mut output);
        DepthToSpace { input: Shape { channels: 4, ..input }, block: 2 }.run(&[1, 2], &mut output);
        assert_eq!(output, [1, 2, 7, 7]);
    }

    proptest! {
        #[test]
        fn equals_the_formula(height in 1usize..5, width in 1usize..5, channels in 1usize..4, block in 1usize..4) {
            let kernel =
                DepthToSpace { input: Shape { height, width, channels: channels * block * block }, block }.checked();
            let input: Vec<usize> = (0..kernel.input.len()).collect();
            let mut output = vec![0; kernel.output().len()];
            kernel.run(&input, &mut output);
            for (y, x) in kernel.input.positions() {
                for (dy, dx) in (Shape { height: block, width: block, channels: 0 }).positions() {
                    for c in 0..channels {
                        let got = output[((y * block + dy) * width * block + x * block + dx) * channels + c];
                        let from = (y * width + x) * kernel.input.channels + (c * block + dy) * block + dx;
                        prop_assert_eq!(got, input[from]);
                    }
                }
            }
            let (mut map, mut scratch) = (input, vec![0; width * kernel.input.channels]);
            kernel.run_in_place(&mut scratch, &mut map);
            prop_assert_eq!(map, output);
        }
    }
}
