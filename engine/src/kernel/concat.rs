//! Several maps side by side in one, for layers that read no more than one or two.

use super::proved::{Proved, provable, require};
use crate::isa::{Isa, Work};
use crate::real::Real;
use crate::requantize::saturate;
use crate::shape::Shape;

/// Fraction bits of factors and offsets.
const FRACTION: u32 = 16;
/// The factor and the offset that leave codes as they are.
const COPY: [i32; 2] = [1 << FRACTION, 1 << (FRACTION - 1)];

/// int8 maps of equal height and width → one int8 map, in which the channels of a pixel of the first are followed by those
/// of the second, and so on. Element q of map n:
///
/// ```text
/// out = saturate((q · factors[n] + offsets[n]) >> 16)
/// ```
///
/// Factors are 0 to 1, so that no product leaves 32 bits; 2¹⁶ with an offset of 2¹⁵ copies.
#[derive(Clone, Copy, Debug)]
pub struct ConcatInt8<'a> {
    /// Of the output.
    pub shape: Shape,
    /// `[maps]`, channels of each.
    pub channels: &'a [u32],
    /// `[maps]`, units of the output a unit of the map, in 2⁻¹⁶.
    pub factors: &'a [i32],
    /// `[maps]`, zero points and ½, in 2⁻¹⁶.
    pub offsets: &'a [i32],
}

/// f32 or f16 maps of equal height and width → one map of the same type, as [`ConcatInt8`], copied.
#[derive(Clone, Copy, Debug)]
pub struct ConcatFloat<'a> {
    /// Of the output.
    pub shape: Shape,
    /// `[maps]`, channels of each.
    pub channels: &'a [u32],
}

/// That a map of `shape` holds the channels of all maps.
const fn check_channels(shape: Shape, channels: &[u32]) -> Result<(), &'static str> {
    require!(shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
    let (mut index, mut sum) = (0, 0u64);
    while index < channels.len() {
        require!(channels[index] > 0, "a map without channels");
        sum += channels[index] as u64;
        index += 1;
    }
    require!(sum == shape.channels as u64, "the output has the channels of all maps");
    Ok(())
}

impl ConcatInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { shape, channels, factors, offsets } = *self;
        if let Err(reason) = check_channels(shape, channels) {
            return Err(reason);
        }
        require!(factors.len() == channels.len() && offsets.len() == channels.len(), "a factor and an offset a map");
        let mut index = 0;
        while index < factors.len() {
            require!(factors[index] >= 0 && factors[index] <= COPY[0], "a factor is 0 to 1");
            require!(offsets[index].unsigned_abs() <= 1 << 30, "an offset is within 30 bits");
            index += 1;
        }
        Ok(())
    }
}

impl ConcatFloat<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        check_channels(self.shape, self.channels)
    }
}

/// One map after the other with its channels and the first of these in the output; none where a buffer is too short.
fn parts<'a, T>(
    shape: Shape,
    channels: &'a [u32],
    maps: &'a [&'a [T]],
    output_len: usize,
) -> Option<impl Iterator<Item = (&'a [T], usize, usize)>> {
    let pixels = shape.height * shape.width;
    let of_map = channels.iter().zip(maps);
    let fits = maps.len() >= channels.len()
        && of_map.clone().all(|(channels, map)| map.len() >= pixels * *channels as usize)
        && output_len >= shape.len();
    debug_assert!(fits, "a buffer is too short for the maps of {shape:?}");
    fits.then(|| {
        of_map.scan(0, move |end, (channels, map)| {
            let (channels, first) = (*channels as usize, *end);
            *end += channels;
            Some((map.get(..pixels * channels).unwrap_or_default(), channels, first))
        })
    })
}

impl Proved<ConcatInt8<'_>> {
    /// Puts `maps` side by side.
    pub fn run<I: Isa>(&self, maps: &[&[i8]], output: &mut [i8]) {
        let ConcatInt8 { shape, channels, factors, offsets } = *self.parameters();
        let Some(parts) = parts(shape, channels, maps, output.len()) else { return };
        for ((part, factor), offset) in parts.zip(factors).zip(offsets) {
            if [*factor, *offset] == COPY {
                interleave(shape, part, output, copy);
            } else {
                let (factor, offset) = (*factor, *offset);
                interleave(shape, part, output, |values, out| I::vectorize(Recode { factor, offset, values, out }));
            }
        }
    }
}

impl Proved<ConcatFloat<'_>> {
    /// Puts `maps` side by side.
    pub fn run<T: Real>(&self, maps: &[&[T]], output: &mut [T]) {
        let ConcatFloat { shape, channels } = *self.parameters();
        let Some(parts) = parts(shape, channels, maps, output.len()) else { return };
        for part in parts {
            interleave(shape, part, output, copy);
        }
    }
}

/// `put(values, out)` for every pixel of a map and its place in the output.
#[inline(always)]
fn interleave<T>(
    shape: Shape,
    (map, channels, first): (&[T], usize, usize),
    output: &mut [T],
    put: impl Fn(&[T], &mut [T]),
) {
    for (pixel, out) in map.chunks_exact(channels.max(1)).zip(output.chunks_exact_mut(shape.channels.max(1))) {
        put(pixel, out.get_mut(first..first + channels).unwrap_or_default());
    }
}

fn copy<T: Copy>(values: &[T], out: &mut [T]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
}

/// A pixel's codes into those of the output.
struct Recode<'a> {
    factor: i32,
    offset: i32,
    values: &'a [i8],
    out: &'a mut [i8],
}

impl Work for Recode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, value) in self.out.iter_mut().zip(self.values) {
            *out = saturate((i32::from(*value) * self.factor + self.offset) >> FRACTION);
        }
    }
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($($kernel:ident)*) => {$(
        impl Proved<$kernel<'_>> {
            /// Elements of the output.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.parameters().shape.len()
            }
        }
    )*};
}
lens! { ConcatInt8 ConcatFloat }

provable! {
    ['a] ConcatInt8<'a>;
    ['a] ConcatFloat<'a>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// `[y][x]`, then maps, then their channels.
    fn oracle<T: Copy>(pixels: usize, channels: &[u32], maps: &[Vec<T>], value: impl Fn(usize, T) -> T) -> Vec<T> {
        let mut out = Vec::new();
        for pixel in 0..pixels {
            for (n, map) in maps.iter().enumerate() {
                let channels = channels[n] as usize;
                out.extend((0..channels).map(|c| value(n, map[pixel * channels + c])));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn int8_equals_the_definition(
            pixels in 1usize..=9,
            parts in prop::collection::vec((1u32..=20, prop_oneof![Just(COPY[0]), 0..=COPY[0]], prop_oneof![Just(COPY[1]), -(1 << 23)..=(1i32 << 23)]), 1..=5),
            seed in any::<u64>(),
        ) {
            let channels: Vec<u32> = parts.iter().map(|part| part.0).collect();
            let [factors, offsets]: [Vec<i32>; 2] =
                [parts.iter().map(|part| part.1).collect(), parts.iter().map(|part| part.2).collect()];
            let maps: Vec<Vec<i8>> = channels.iter().enumerate().map(|(n, c)| {
                (0..pixels * *c as usize).map(|i| ((i as u64 + 77 * n as u64).wrapping_mul(seed | 1) >> 24) as i8).collect()
            }).collect();
            let expected = oracle(pixels, &channels, &maps, |n, q| {
                let sum = i64::from(q) * i64::from(factors[n]) + i64::from(offsets[n]);
                sum.div_euclid(1 << 16).clamp(-128, 127) as i8
            });
            let shape = Shape { height: 1, width: pixels, channels: channels.iter().sum::<u32>() as usize };
            let concat = ConcatInt8 { shape, channels: &channels, factors: &factors, offsets: &offsets }.checked();
            let slices: Vec<&[i8]> = maps.iter().map(Vec::as_slice).collect();
            let mut output = vec![0; concat.output_len()];
            concat.run::<Portable>(&slices, &mut output);
            prop_assert_eq!(&output, &expected);
            output.fill(0);
            concat.run::<Avx2>(&slices, &mut output);
            prop_assert_eq!(&output, &expected);
            output.fill(0);
            concat.run::<Avx512Vnni>(&slices, &mut output);
            prop_assert_eq!(&output, &expected);
        }
    }

    #[test]
    fn codes_that_are_equal_are_copied_and_floats_always() {
        let channels = [1, 2];
        let shape = Shape { height: 2, width: 1, channels: 3 };
        let [a, b] = [vec![-128i8, 127], vec![1, 2, 3, -4]];
        let mut output = [0; 6];
        let [factor, offset] = COPY;
        ConcatInt8 { shape, channels: &channels, factors: &[factor; 2], offsets: &[offset; 2] }
            .checked()
            .run::<Portable>(&[&a, &b], &mut output);
        assert_eq!(output, [-128, 1, 2, 127, 3, -4]);
        let [a, b] = [a, b].map(|map| map.iter().map(|q| f16::from_f32(f32::from(*q))).collect::<Vec<_>>());
        let mut floats = [f16::ZERO; 6];
        ConcatFloat { shape, channels: &channels }.checked().run(&[&a, &b], &mut floats);
        assert_eq!(floats, output.map(|q| f16::from_f32(f32::from(q))));
    }

    #[test]
    fn misfits_are_found() {
        let shape = Shape { height: 2, width: 1, channels: 3 };
        let concat = ConcatInt8 { shape, channels: &[1, 2], factors: &[0; 2], offsets: &[0; 2] };
        assert!(concat.proved().is_ok());
        for misfit in [
            ConcatInt8 { channels: &[3, 0], ..concat },
            ConcatInt8 { channels: &[1, 1], ..concat },
            ConcatInt8 { factors: &[0], ..concat },
            ConcatInt8 { factors: &[0, (1 << 16) + 1], ..concat },
            ConcatInt8 { offsets: &[0, i32::MIN], ..concat },
        ] {
            assert!(misfit.proved().is_err(), "{misfit:?}");
        }
        assert!(ConcatFloat { shape, channels: &[4] }.proved().is_err());
    }
}
