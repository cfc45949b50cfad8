//! Where a convolution's taps lie, and the patch of inputs under one output pixel.

use crate::maps::Maps;
use crate::shape::Shape;

/// A convolution's shapes; pairs are height, width.
///
/// Output pixel `y` meets rows `y · stride + k − padding`, `0 ≤ k < kernel`, of the map that is first enlarged by
/// repeating every pixel `upsample` times. Taps outside the map meet the zero point. `padding` counts rows above (and
/// columns to the left); how many follow below is settled by `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Before the enlargement.
    pub input: Shape,
    /// After the stride.
    pub output: Shape,
    /// Size of the kernel.
    pub kernel: [usize; 2],
    /// Distance between neighbouring outputs' patches, in enlarged pixels.
    pub stride: [usize; 2],
    /// Rows above and columns to the left of the map.
    pub padding: [usize; 2],
    /// The enlargement; 1 for none.
    pub upsample: [usize; 2],
}

/// A part of a patch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a, X> {
    /// So many taps meet this zero point.
    Padding(i16, usize),
    /// Taps meet these values.
    Values(&'a [X]),
}

impl Geometry {
    /// Elements of a patch, `[k_h][k_w][in_c]`: the products in every sum.
    #[must_use]
    pub const fn patch_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.input.channels
    }

    /// Multiply-accumulates of a run, padding's included.
    #[must_use]
    pub const fn macs(&self) -> usize {
        self.output.len() * self.patch_len()
    }

    /// Rows `from` up to `to` of the output as a convolution of their own, and the first and one past the last of the input's
    /// rows that it reads; of a map that is not enlarged in height.
    #[must_use]
    pub const fn rows(&self, [from, to]: [usize; 2]) -> (Self, [usize; 2]) {
        let Self { mut input, mut output, stride: [stride, _], mut padding, kernel: [k_h, _], .. } = *self;
        let first = (from * stride).saturating_sub(padding[0]);
        let end = (to.saturating_sub(1) * stride + k_h).saturating_sub(padding[0]);
        let end = if end < input.height { end } else { input.height };
        padding[0] = padding[0].saturating_sub(from * stride);
        input.height = end.saturating_sub(first);
        output.height = to.saturating_sub(from);
        (Self { input, output, padding, ..*self }, [first, end])
    }

    /// Whether the kernel is 3×3 and the output as high and wide as the input: stride 1, padding 1, no enlargement.
    #[inline]
    pub(crate) const fn is_same_3x3(&self) -> bool {
        let Self { kernel: [3, 3], stride: [1, 1], padding: [1, 1], upsample: [1, 1], input, output } = self else {
            return false;
        };
        output.height == input.height && output.width == input.width
    }

    /// Whether no dimension is 0, and maps, padded maps and weights have so few elements that neither their bytes nor what
    /// instruction sets pad them to leave 32 bits.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        const MOST: usize = 1 << 28;
        // More than any tile has pixels or any block channels.
        const TILE: usize = 64;
        let Self { input, output, kernel, stride, padding, upsample } = *self;
        let (mut padded, mut enlarged, mut axis) = (input.channels, input.channels, 0);
        let sides = [[input.height, output.height], [input.width, output.width]];
        let mut valid = input.channels > 0 && output.channels > 0;
        while axis < sides.len() {
            let [input, output] = sides[axis];
            let least = product(product(input, output), product(kernel[axis], product(stride[axis], upsample[axis])));
            valid = valid && least > 0;
            let reach = product(output.saturating_add(TILE), stride[axis]).saturating_add(kernel[axis]);
            padded = product(padded, reach.saturating_add(padding[axis]));
            enlarged = product(enlarged, product(input, upsample[axis]));
            axis += 1;
        }
        let outputs = product(product(output.height, output.width), output.channels);
        let taps = product(product(kernel[0], kernel[1]), input.channels.saturating_add(TILE));
        let weights = product(taps, output.channels.saturating_add(TILE));
        valid && padded <= MOST && enlarged <= MOST && outputs <= MOST && weights <= MOST
    }

    /// Whether any rows of the output can be computed alone, see [`Self::rows`]: the map is not enlarged in height, each row
    /// reads some of the input's, with none between them and those of the row before, and the weights lie for some rows as
    /// for all: instruction sets may place those of a single pixel elsewhere.
    #[must_use]
    pub const fn splits(&self) -> bool {
        let Self { input, output, kernel, stride, padding, upsample } = self;
        let last = output.height.saturating_sub(1).saturating_mul(stride[0]);
        output.width > 1
            && upsample[0] == 1
            && padding[0] < kernel[0]
            && stride[0] <= kernel[0]
            && last < input.height.saturating_add(padding[0])
    }

    /// Calls `take(tap, piece)` for the patch `[k_h][k_w][in_c]` under output pixel `(y, x)`, from the first tap to the
    /// last, in pieces as long as possible.
    #[inline(always)]
    pub(crate) fn pieces<'a, X: Copy>(
        &self,
        (y, x): (usize, usize),
        input: &Maps<'a, X>,
        mut take: impl FnMut(usize, Piece<'a, X>),
    ) {
        let Shape { height, width, channels } = self.input;
        let [k_h, k_w] = self.kernel;
        // Neighbouring columns of one map lie side by side.
        let together = self.upsample[1] == 1 && input.channels[1] == 0;
        for ky in 0..k_h {
            let row = self.tap(0, y, ky, height);
            let mut kx = 0;
            while kx < k_w {
                let tap = (ky * k_w + kx) * channels;
                let column = self.tap(1, x, kx, width);
                let Some((row, column)) = row.zip(column) else {
                    let [first, second] = input.channels;
                    take(tap, Piece::Padding(input.zero_points[0], first));
                    if second > 0 {
                        take(tap + first, Piece::Padding(input.zero_points[1], second));
                    }
                    kx += 1;
                    continue;
                };
                let pixel = row * width + column;
                if together {
                    let pixels = (k_w - kx).min(width - column);
                    let start = pixel * channels;
                    let values = input.maps[0].get(start..start + pixels * channels).unwrap_or_default();
                    take(tap, Piece::Values(values));
                    kx += pixels;
                } else {
                    let [first, second] = input.pixel(pixel);
                    take(tap, Piece::Values(first));
                    if !second.is_empty() {
                        take(tap + first.len(), Piece::Values(second));
                    }
                    kx += 1;
                }
            }
        }
    }

    /// Calls `meet(pixel)` for every tap of output pixel `(y, x)`, row by row, with the number of the input pixel that it
    /// meets; none in the padding.
    #[inline(always)]
    pub(crate) fn taps(&self, (y, x): (usize, usize), mut meet: impl FnMut(Option<usize>)) {
        let Shape { height, width, .. } = self.input;
        let [k_h, k_w] = self.kernel;
        for ky in 0..k_h {
            let row = self.tap(0, y, ky, height);
            for kx in 0..k_w {
                meet(row.zip(self.tap(1, x, kx, width)).map(|(row, column)| row * width + column));
            }
        }
    }

    /// The input row (`axis` 0) or column (1) of `len` that tap `k` of output `position` meets; none in the padding.
    #[inline(always)]
    pub(crate) fn tap(&self, axis: usize, position: usize, k: usize, len: usize) -> Option<usize> {
        let [stride, padding, upsample] = [self.stride, self.padding, self.upsample].map(|pair| pair[axis & 1]);
        let enlarged = (position * stride + k).checked_sub(padding)?;
        let index = if upsample == 1 { enlarged } else { enlarged / upsample.max(1) };
        (index < len).then_some(index)
    }
}

/// The largest number where it is beyond.
pub(crate) const fn product(a: usize, b: usize) -> usize {
    a.saturating_mul(b)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    impl Geometry {
        /// The oracle: the input element under tap `(ky, kx, c)` of output `(y, x)`, none in the padding.
        pub(crate) fn oracle<X: Copy>(&self, input: &[X], [y, x]: [usize; 2], [ky, kx, c]: [usize; 3]) -> Option<X> {
            let enlarged_y = (y * self.stride[0] + ky) as isize - self.padding[0] as isize;
            let enlarged_x = (x * self.stride[1] + kx) as isize - self.padding[1] as isize;
            let inside = (0..(self.input.height * self.upsample[0]) as isize).contains(&enlarged_y)
                && (0..(self.input.width * self.upsample[1]) as isize).contains(&enlarged_x);
            let [row, column] = [enlarged_y as usize / self.upsample[0], enlarged_x as usize / self.upsample[1]];
            inside.then(|| input[(row * self.input.width + column) * self.input.channels + c])
        }
    }

    /// Small geometries of every kind: odd channels, height 1, kernels to 4, strides, paddings, enlargement.
    pub(crate) fn geometries() -> impl Strategy<Value = Geometry> {
        any_of([6, 6], (1usize..=9).boxed(), (1usize..=9).boxed())
    }

    /// Those that fill vector registers and their tiles: long rows, many channels, and whole groups of them.
    pub(crate) fn long_geometries() -> impl Strategy<Value = Geometry> {
        any_of([9, 40], prop_oneof![Just(4usize), Just(8), Just(12), Just(3)].boxed(), (1usize..=70).boxed())
    }

    fn any_of(
        [most_h, most_w]: [usize; 2],
        in_c: BoxedStrategy<usize>,
        out_c: BoxedStrategy<usize>,
    ) -> impl Strategy<Value = Geometry> {
        let axis = |most| (1..=most, 1usize..=4, 1usize..=2, 1usize..=2);
        (axis(most_h), axis(most_w), in_c, out_c).prop_flat_map(|(h, w, in_c, out_c)| {
            (0..h.1, 0..w.1, 0..h.1, 0..w.1).prop_map(move |(top, left, bottom, right)| {
                let out = |(len, kernel, stride, upsample): (usize, usize, usize, usize), padding: usize| {
                    ((len * upsample + padding).saturating_sub(kernel)) / stride + 1
                };
                Geometry {
                    input: Shape { height: h.0, width: w.0, channels: in_c },
                    output: Shape { height: out(h, top + bottom), width: out(w, left + right), channels: out_c },
                    kernel: [h.1, w.1],
                    stride: [h.2, w.2],
                    padding: [top, left],
                    upsample: [h.3, w.3],
                }
            })
        })
    }

    proptest! {
        #[test]
        fn pieces_are_what_the_definition_says(geometry in geometries(), split in 0usize..9) {
            let Shape { height, width, channels } = geometry.input;
            let first = channels - split % channels;
            let of = |c: usize| move |i: usize| (i * channels + c) as i32;
            let part = |range: core::ops::Range<usize>| {
                (0..height * width).flat_map(|i| range.clone().map(move |c| of(c)(i))).collect::<Vec<i32>>()
            };
            let input = part(0..channels);
            let maps = [part(0..first), part(first..channels)];
            let maps = Maps { maps: [&maps[0][..], &maps[1][..]], channels: [first, channels - first], zero_points: [-7, -9] };
            let mut patch = vec![0; geometry.patch_len()];
            for (y, x) in geometry.output.positions() {
                patch.fill(i32::MAX);
                geometry.pieces((y, x), &maps, |tap, piece| match piece {
                    Piece::Values(values) => patch[tap..][..values.len()].copy_from_slice(values),
                    Piece::Padding(zero_point, len) => patch[tap..][..len].fill(zero_point.into()),
                });
                let mut elements = patch.iter();
                for (ky, kx) in (Shape { height: geometry.kernel[0], width: geometry.kernel[1], channels: 0 }).positions() {
                    for c in 0..channels {
                        let padding = if c < first { -7 } else { -9 };
                        let expected = geometry.oracle(&input, [y, x], [ky, kx, c]).unwrap_or(padding);
                        prop_assert_eq!(elements.next(), Some(&expected));
                    }
                }
            }
            prop_assert!(geometry.is_valid());
        }
    }

    proptest! {
        #[test]
        fn some_rows_meet_what_all_rows_do(geometry in geometries(), rows in 1usize..=3, from in 0usize..6) {
            let geometry = Geometry { upsample: [1, geometry.upsample[1]], ..geometry };
            let Shape { height, width, .. } = geometry.output;
            let from = from % height;
            let to = (from + rows).min(height);
            let (part, [first, end]) = geometry.rows([from, to]);
            let row_len = geometry.input.width * geometry.input.channels;
            let input: Vec<usize> = (0..geometry.input.len()).collect();
            // Where the padding below is deeper than the kernel there is nothing to read.
            prop_assume!(first < end);
            for (y, x) in (Shape { height: to - from, width, channels: 0 }).positions() {
                for (ky, kx) in (Shape { height: geometry.kernel[0], width: geometry.kernel[1], channels: 0 }).positions() {
                    let whole = geometry.oracle(&input, [from + y, x], [ky, kx, 0]);
                    let rows = &input[first * row_len..end * row_len];
                    prop_assert_eq!(part.oracle(rows, [y, x], [ky, kx, 0]), whole);
                }
            }
        }
    }

    #[test]
    fn counts() {
        let map = |height, channels| Shape { height, width: height, channels };
        let conv = Geometry {
            input: map(14, 32),
            output: map(7, 48),
            kernel: [3, 3],
            stride: [2, 2],
            padding: [1, 1],
            upsample: [1, 1],
        };
        assert_eq!((conv.patch_len(), conv.macs()), (288, 7 * 7 * 48 * 288));
        assert!(!Geometry { stride: [0, 1], ..conv }.is_valid());
        assert!(!Geometry { kernel: [0, 1], ..conv }.is_valid());
        assert!(!Geometry { output: Shape { width: 0, ..conv.output }, ..conv }.is_valid());
        assert!(!Geometry { output: Shape { width: usize::MAX, ..conv.output }, ..conv }.is_valid());
        assert!(!Geometry { stride: [usize::MAX / 2 + 1, 2], ..conv }.is_valid(), "a product that wraps to 0");
    }
}
