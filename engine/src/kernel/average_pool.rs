//! The mean of windows of a map, or of all of it, channel by channel.

use core::marker::PhantomData;
use core::ops::Range;

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::geometry::{Geometry, product};
use crate::isa::{Isa, Work};
use crate::real::Real;
use crate::requantize::{is_multiplier, requantize, saturate};
use crate::residual::Residual;

/// Elements of the largest window on integers: 255 times as many stay in int32.
const MOST_COUNT: usize = (i32::MAX / 255) as usize;
/// No number of a geometry is beyond this, so that none computed from them leaves 32 bits.
const MOST: usize = 1 << 28;
/// Channels that are summed together: as many as chips have registers for, or two vectors of the others.
const FEW: usize = 4;
const MANY: usize = 16;

/// int8 map → int8 map of as many channels. Over the elements q of a window that lie in the map:
///
/// ```text
/// sum = Σ (q − zero_points[0])
/// out = saturate(requantize(sum, shift, multipliers[i]) + zero_points[1]),   counts[i] being the number of elements
/// ```
///
/// Windows at borders have fewer elements, hence multipliers of their own. |sum| ≤ 255 · elements; times 2^shift that stays
/// below 2³¹. Cost: an addition an element of every window; no scratch.
#[derive(Clone, Copy, Debug)]
pub struct AveragePoolInt8<'a> {
    /// Shapes and windows, without enlargement.
    pub geometry: Geometry,
    /// Of the input and of the output.
    pub zero_points: [i32; 2],
    /// The numbers of elements that windows have, rising.
    pub counts: &'a [i32],
    /// See [`requantize`].
    pub shift: u32,
    /// See [`requantize`]: for each count, the input's scale through the output's and the count.
    pub multipliers: &'a [i32],
}

impl AveragePoolInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { geometry, zero_points: [input, output], counts, shift, multipliers } = self;
        if let Err(reason) = check(geometry) {
            return Err(reason);
        }
        require!(*input >= -128 && *input <= 127 && *output >= -128 && *output <= 127, "zero points are int8");
        require!(counts.len() == multipliers.len() && *shift < 32, "a multiplier a count, the shift below 32");
        let mut index = 0;
        while index < counts.len() {
            let count = counts[index];
            require!(
                count > 0 && count as usize <= MOST_COUNT && ((255 * count as u64) << *shift) < 1 << 31,
                "sums fit into 32 bits"
            );
            require!(is_multiplier(multipliers[index]), "multipliers are even and positive");
            index += 1;
        }
        // Runs of rows or of columns of equal length are one case.
        let (mut y, mut before) = (0, 0);
        while y < geometry.output.height {
            let rows = window_len(geometry, 0, y);
            let (mut x, mut beside) = (0, 0);
            while rows != before && x < geometry.output.width {
                let columns = window_len(geometry, 1, x);
                require!(columns == beside || has(counts, product(rows, columns)), "a count a window");
                (x, beside) = (x + 1, columns);
            }
            (y, before) = (y + 1, rows);
        }
        Ok(())
    }

    /// For windows of so many elements; the largest, which most are, first.
    #[inline(always)]
    fn multiplier(&self, count: i32) -> i32 {
        let mut pairs = self.counts.iter().zip(self.multipliers).rev();
        pairs.find(|(known, _)| **known == count).map_or(0, |(_, multiplier)| *multiplier)
    }
}

impl Proved<AveragePoolInt8<'_>> {
    /// Runs the layer.
    #[inline(never)]
    pub fn run<I: Isa>(&self, input: &[i8], output: &mut [i8]) {
        let layer = self.parameters();
        let Some(Buffers { maps: [input, _], output, .. }) =
            fit(self.lens(), [input, &[]], Residual::<i8>::None, [0; 2], output)
        else {
            return;
        };
        pool::<I, _>(&layer.geometry, Codes { layer }, input, output);
    }
}

/// f32 or f16 map → map of the same type and of as many channels: the mean of those elements of a window that lie in the map.
/// Sums in f32, row by row from the first element to the last, then one division; the result is rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AveragePoolFloat {
    /// Shapes and windows, without enlargement.
    pub geometry: Geometry,
}

impl AveragePoolFloat {
    const fn check(&self) -> Result<(), &'static str> {
        check(&self.geometry)
    }
}

impl Proved<AveragePoolFloat> {
    /// Runs the layer.
    pub fn run<I: Isa, T: Real>(&self, input: &[T], output: &mut [T]) {
        let Some(Buffers { maps: [input, _], output, .. }) =
            fit(self.lens(), [input, &[]], Residual::<T>::None, [0; 2], output)
        else {
            return;
        };
        pool::<I, _>(&self.parameters().geometry, Floats { element: PhantomData::<T> }, input, output);
    }
}

const fn check(geometry: &Geometry) -> Result<(), &'static str> {
    let Geometry { input, output, kernel, stride, padding, upsample } = *geometry;
    require!(input.is_valid() && output.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
    require!(input.channels == output.channels, "as many channels out as in");
    require!(upsample[0] == 1 && upsample[1] == 1, "the map is not enlarged");
    let sides = [[input.height, output.height], [input.width, output.width]];
    let mut axis = 0;
    while axis < sides.len() {
        let [from, to] = sides[axis];
        let reach = product(to, stride[axis]);
        require!(
            stride[axis] > 0 && reach <= MOST && kernel[axis] <= MOST && padding[axis] < kernel[axis],
            "a stride and a kernel above 0, and padding below the kernel"
        );
        require!((to - 1) * stride[axis] < from + padding[axis], "every window meets the map");
        axis += 1;
    }
    Ok(())
}

/// First and one past the last of the rows (`axis` 0) or columns (1) of the map that windows at `out` hold.
const fn window(geometry: &Geometry, axis: usize, out: usize) -> [usize; 2] {
    let size = if axis == 0 { geometry.input.height } else { geometry.input.width };
    let first = out * geometry.stride[axis];
    let end = (first + geometry.kernel[axis]).saturating_sub(geometry.padding[axis]);
    [first.saturating_sub(geometry.padding[axis]), if end < size { end } else { size }]
}

const fn window_len(geometry: &Geometry, axis: usize, out: usize) -> usize {
    let [first, end] = window(geometry, axis, out);
    end.saturating_sub(first)
}

/// Whether that number of elements is among those known.
const fn has(counts: &[i32], count: usize) -> bool {
    let mut index = 0;
    while index < counts.len() {
        if counts[index] as usize == count {
            return true;
        }
        index += 1;
    }
    false
}

/// How windows are summed, and what becomes of a sum.
trait Mean: Copy {
    type Element: Copy;
    type Sum: Copy + Default;

    fn add(sum: Self::Sum, element: Self::Element) -> Self::Sum;

    /// From the sum over so many elements to the mean.
    fn of(self, count: usize) -> impl Fn(Self::Sum) -> Self::Element;
}

#[derive(Clone, Copy)]
struct Codes<'a> {
    layer: &'a AveragePoolInt8<'a>,
}

impl Mean for Codes<'_> {
    type Element = i8;
    type Sum = i32;

    #[inline(always)]
    fn add(sum: i32, element: i8) -> i32 {
        sum.wrapping_add(element.into())
    }

    #[inline(always)]
    fn of(self, count: usize) -> impl Fn(i32) -> i8 {
        let AveragePoolInt8 { zero_points: [input, output], shift, .. } = *self.layer;
        let (multiplier, zeros) = (self.layer.multiplier(count as i32), input.wrapping_mul(count as i32));
        move |sum| saturate(requantize(sum.wrapping_sub(zeros), shift, multiplier) + output)
    }
}

#[derive(Clone, Copy)]
struct Floats<T> {
    element: PhantomData<T>,
}

impl<T: Real> Mean for Floats<T> {
    type Element = T;
    type Sum = f32;

    #[inline(always)]
    fn add(sum: f32, element: T) -> f32 {
        sum + element.to_f32()
    }

    #[inline(always)]
    fn of(self, count: usize) -> impl Fn(f32) -> T {
        let count = count as f32;
        move |sum| T::from_f32(sum / count)
    }
}

/// Averages with blocks of channels as long as the instruction set has use for.
#[inline(always)]
fn pool<I: Isa, M: Mean>(geometry: &Geometry, mean: M, input: &[M::Element], output: &mut [M::Element]) {
    if I::PACKING.channels > FEW {
        I::vectorize(Pool::<M, MANY> { geometry, mean, input, output });
    } else {
        I::vectorize(Pool::<M, FEW> { geometry, mean, input, output });
    }
}

/// A layer at work on blocks of N channels.
struct Pool<'a, M: Mean, const N: usize> {
    geometry: &'a Geometry,
    mean: M,
    input: &'a [M::Element],
    output: &'a mut [M::Element],
}

impl<M: Mean, const N: usize> Work for Pool<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { geometry, mean, input, output } = self;
        let (width, channels) = (geometry.input.width, geometry.input.channels.max(1));
        let pixels = geometry.output.positions().zip(output.chunks_exact_mut(channels));
        for ((y, x), pixel) in pixels {
            let [rows, columns] = [window(geometry, 0, y), window(geometry, 1, x)].map(|[first, end]| first..end);
            let finish = mean.of(rows.len() * columns.len());
            for (block, outs) in pixel.chunks_mut(N).enumerate() {
                let elements = |row: usize| -> Range<usize> {
                    (row * width + columns.start) * channels + block * N..(row * width + columns.end) * channels
                };
                let mut sums = [M::Sum::default(); N];
                for row in rows.clone() {
                    let row = input.get(elements(row)).unwrap_or_default();
                    match outs.len() == N {
                        true => {
                            for values in row.chunks(channels).filter_map(|pixel| pixel.first_chunk::<N>()) {
                                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = M::add(*sum, *value));
                            }
                        }
                        false => {
                            for pixel in row.chunks(channels) {
                                let sums = sums.iter_mut().zip(pixel).take(outs.len());
                                sums.for_each(|(sum, value)| *sum = M::add(*sum, *value));
                            }
                        }
                    }
                }
                outs.iter_mut().zip(sums).for_each(|(out, sum)| *out = finish(sum));
            }
        }
    }
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($($kernel:ty)*) => {$(
        impl Proved<$kernel> {
            const fn lens(&self) -> Lens {
                let geometry = &self.parameters().geometry;
                Lens::of(geometry, [geometry.input.channels, 0])
            }

            /// Elements of the map that it reads.
            #[must_use]
            pub const fn input_len(&self) -> usize {
                self.lens().inputs[0]
            }

            /// Elements of its output.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.lens().output
            }
        }
    )*};
}
lens! { AveragePoolInt8<'_> AveragePoolFloat }

provable! {
    ['a] AveragePoolInt8<'a>;
    [] AveragePoolFloat;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    prop_compose! {
        fn axes()(size in 1usize..=9, kernel in 1usize..=4, stride in 1usize..=3)(
            padding in 0..kernel, after in 0..kernel, size in Just(size), kernel in Just(kernel), stride in Just(stride),
        ) -> [usize; 5] {
            let padded = (size + padding + after).max(kernel);
            // Windows that would lie in the padding alone are left out.
            let out = ((padded - kernel) / stride + 1).min((size + padding - 1) / stride + 1);
            [size, kernel, stride, padding, out]
        }
    }

    prop_compose! {
        fn geometries()(y in axes(), x in axes(), channels in 1usize..=37) -> Geometry {
            Geometry {
                input: Shape { height: y[0], width: x[0], channels },
                output: Shape { height: y[4], width: x[4], channels },
                kernel: [y[1], x[1]],
                stride: [y[2], x[2]],
                padding: [y[3], x[3]],
                upsample: [1, 1],
            }
        }
    }

    /// The elements of every window that lie in the map, tap by tap.
    fn windows<T: Copy>(geometry: &Geometry, map: &[T]) -> Vec<Vec<T>> {
        let Geometry { input, output, kernel, stride, padding, .. } = *geometry;
        let mut windows = Vec::new();
        for (y, x) in output.positions() {
            for c in 0..output.channels {
                let mut window = Vec::new();
                for (ky, kx) in (Shape { height: kernel[0], width: kernel[1], channels: 0 }).positions() {
                    let row = (y * stride[0] + ky).checked_sub(padding[0]).filter(|row| *row < input.height);
                    let column = (x * stride[1] + kx).checked_sub(padding[1]).filter(|column| *column < input.width);
                    if let (Some(row), Some(column)) = (row, column) {
                        window.push(map[(row * input.width + column) * input.channels + c]);
                    }
                }
                windows.push(window);
            }
        }
        windows
    }

    proptest! {
        #[test]
        fn int8_equals_the_definition(geometry in geometries(), seed in any::<u64>(), zero_points in [-128i32..=127, -128..=127]) {
            let map: Vec<i8> = (0..geometry.input.len()).map(|i| ((i as u64 + 7).wrapping_mul(seed | 1) >> 24) as i8).collect();
            let windows = windows(&geometry, &map);
            let mut counts: Vec<i32> = windows.iter().map(|window| window.len() as i32).collect();
            counts.sort_unstable();
            counts.dedup();
            let multipliers: Vec<i32> = counts.iter().map(|count| 2 * ((1 << 30) / count / 3)).collect();
            let pool = AveragePoolInt8 { geometry, zero_points, counts: &counts, shift: 2, multipliers: &multipliers };
            let checked = pool.checked();
            let expected: Vec<i8> = windows.iter().map(|window| {
                let sum: i64 = window.iter().map(|q| i64::from(*q) - i64::from(zero_points[0])).sum();
                let multiplier = multipliers[counts.iter().position(|count| *count as usize == window.len()).unwrap()];
                let scaled = (4 * sum * i64::from(multiplier) + (1 << 31)).div_euclid(1 << 32);
                (scaled + i64::from(zero_points[1])).clamp(-128, 127) as i8
            }).collect();
            type Layer<'a> = Proved<AveragePoolInt8<'a>>;
            for run in [Layer::run::<Portable>, Layer::run::<Avx2>, Layer::run::<Avx512Vnni>] {
                let mut output = vec![0; checked.output_len()];
                run(&checked, &map, &mut output);
                prop_assert_eq!(&output, &expected);
            }
            // A window without its count.
            let fewer = AveragePoolInt8 { counts: &counts[1..], multipliers: &multipliers[1..], ..pool };
            prop_assert!(fewer.proved().is_err());
        }

        #[test]
        fn floats_equal_the_definition(geometry in geometries(), seed in any::<u64>()) {
            let real = |i: usize| f32::from(((i as u64 + 7).wrapping_mul(seed | 1) >> 24) as i8) / 7.0;
            let map: Vec<f32> = (0..geometry.input.len()).map(real).collect();
            let expected: Vec<f32> = windows(&geometry, &map)
                .iter()
                .map(|window| window.iter().fold(0.0, |sum, value| sum + value) / window.len() as f32)
                .collect();
            let pool = AveragePoolFloat { geometry }.checked();
            for run in [
                Proved::<AveragePoolFloat>::run::<Portable, f32>,
                Proved::<AveragePoolFloat>::run::<Avx2, f32>,
                Proved::<AveragePoolFloat>::run::<Avx512Vnni, f32>,
            ] {
                let mut output = vec![0.0; pool.output_len()];
                run(&pool, &map, &mut output);
                prop_assert_eq!(&output, &expected);
            }
        }
    }

    #[test]
    fn the_largest_map_and_misfits() {
        let side = Shape { height: 2048, width: 4096, channels: 1 };
        let geometry = Geometry {
            input: side,
            output: Shape { height: 1, width: 1, channels: 1 },
            kernel: [side.height, side.width],
            stride: [1; 2],
            padding: [0; 2],
            upsample: [1; 2],
        };
        let counts = [side.len() as i32];
        let pool =
            AveragePoolInt8 { geometry, zero_points: [-128, -128], counts: &counts, shift: 0, multipliers: &[512] };
        let mut output = [0];
        pool.checked().run::<Portable>(&vec![127; side.len()], &mut output);
        assert_eq!(output, [127], "255 times 2²³ elements is within int32");
        let larger = Geometry { input: Shape { height: 2060, ..side }, kernel: [2060, side.width], ..geometry };
        let misfits = [
            AveragePoolInt8 { geometry: larger, counts: &[2060 * 4096], ..pool },
            AveragePoolInt8 { shift: 1, ..pool },
            AveragePoolInt8 { counts: &[1], ..pool },
            AveragePoolInt8 { multipliers: &[3], ..pool },
            AveragePoolInt8 { zero_points: [0, 128], ..pool },
        ];
        for misfit in misfits {
            assert!(misfit.proved().is_err(), "{misfit:?}");
        }
        for geometry in [
            Geometry { kernel: [1, 1], padding: [1, 0], ..geometry },
            Geometry { stride: [0, 1], ..geometry },
            Geometry { upsample: [2, 1], ..geometry },
            Geometry { output: Shape { height: 3000, ..geometry.output }, ..geometry },
        ] {
            assert!(AveragePoolFloat { geometry }.proved().is_err(), "{geometry:?}");
        }
    }
}
