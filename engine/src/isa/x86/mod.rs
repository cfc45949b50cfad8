//! x86-64: one packing for both, so that a program can choose when it runs.

#![allow(unsafe_code)]

/// A convolution in a function of its own, where it shares registers with no other.
#[cfg(target_arch = "x86_64")]
macro_rules! alone {
    ($(#[$doc:meta])* $features:literal, $name:ident [$($generics:tt)*] = $run:expr) => {
        $(#[$doc])*
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn $name<X: Code, F: Finish, $($generics)*>(
            token: Token,
            convolution: &Convolution<'_, X>,
            finish: &F,
            scratch: &mut [i32],
            output: &mut [F::Element],
        ) {
            $run(token, convolution, finish, scratch, output);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod detect;

use super::scratch::{larger, most_of_tiles};
use super::simd::{self, DEPTH, conv2d_float, conv2d_pairs, winograd};
use super::{
    Convolution, Finish, FinishFloat, FloatConvolution, Isa, Packing, Scratch, Work, portable, portable_float,
};
use crate::geometry::Geometry;
use crate::maps::Code;
use crate::real::Real;
use crate::requantize::Table;

const LANES: usize = 16;
/// Behind the blocks lies each channel's sum of weights: see [`recode`].
const PACKING: Packing = Packing { tail: size_of::<i32>(), ..simd::packing(LANES) };
/// See [`Isa::ALIGN`].
const ALIGN: usize = 64;
/// See [`Isa::ROWS`]; the same for both, as either runs a network that was generated for the other.
const ROWS: usize = 4;

/// Pixels of the tiles of either that fill up rows.
const TILES: [usize; 4] = [14, 16, 28, 32];
/// Pixels of the tiles whose products are added up in pairs.
const PAIR_PIXELS: usize = 6;
/// Pixels of an enlarged map that are computed together by nine products each.
const ENLARGED_PIXELS: usize = 7;
/// Neighbouring pixels of the tiles in floating point whose lanes are pixels.
const FLOAT_PIXELS: usize = 32;
/// Channels of the largest tile in floating point.
const FLOAT_CHANNELS: usize = 32;

/// Of the bytes `first` and the next of every four, each behind a byte of 0.
#[cfg(target_arch = "x86_64")]
const fn places<const LANES: usize>(first: u8) -> [[u8; DEPTH]; LANES] {
    let mut places = [[0x80; DEPTH]; LANES];
    let mut lane = 0;
    while lane < places.len() {
        let place = (lane * DEPTH % 16) as u8 + first;
        places[lane] = [0x80, place, 0x80, place + 1];
        lane += 1;
    }
    places
}

/// Fills the tail with each channel's sum of weights, 32 bits, little-endian.
fn recode(geometry: &Geometry, packed: &mut [i8]) {
    let Some((blocks, tail)) = packed.split_at_mut_checked(PACKING.blocks_len(geometry)) else { return };
    let block_len = PACKING.block_len(geometry.patch_len());
    let channels =
        blocks.chunks_exact(block_len.max(1)).flat_map(|block| (0..LANES).map(move |channel| (block, channel)));
    for ((block, channel), sum) in channels.zip(tail.as_chunks_mut().0) {
        let quadruples = block.as_chunks::<DEPTH>().0.iter().skip(channel).step_by(LANES);
        let total: i32 = quadruples.flatten().map(|weight| i32::from(*weight)).sum();
        *sum = total.to_le_bytes().map(|byte| byte as i8);
    }
}

/// See [`Isa::scratch_words`]; the same for both, as either runs a network that was generated for the other.
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    let enlarged = match geometry.upsample {
        [1, 1] => 0,
        _ => winograd::scratch_words(geometry, LANES, ENLARGED_PIXELS),
    };
    let pairs = conv2d_pairs::scratch_words(geometry, LANES, PAIR_PIXELS);
    larger(larger(PACKING.scratch_words(geometry), pairs), larger(enlarged, most_of_tiles(geometry, LANES, &TILES)))
}

/// See [`Isa::float_scratch`].
pub(super) const fn float_scratch(geometry: &Geometry) -> usize {
    larger(conv2d_float::scratch(geometry, FLOAT_PIXELS, FLOAT_CHANNELS), portable_float::scratch(geometry))
}

/// Pairs of 16-bit products: VPMADDWD.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

impl Isa for Avx2 {
    const NAME: &'static str = "AVX2";
    const PACKING: Packing = PACKING;
    const ALIGN: usize = ALIGN;
    const ROWS: usize = ROWS;
    const SCRATCH: Scratch = Scratch::X86;

    fn is_native() -> bool {
        #[cfg(target_arch = "x86_64")]
        return avx2::Token::new().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    fn recode(geometry: &Geometry, packed: &mut [i8]) {
        recode(geometry, packed);
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.conv2d(convolution, finish, scratch, output);
        }
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    #[inline]
    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.channel_sums(map, sums, squares);
        }
        portable::channel_sums(map, sums, squares);
    }

    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.affine(factors, offsets, table, map);
        }
        portable::affine(factors, offsets, table, map);
    }

    #[inline]
    fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.weighted_sums(weights, values, stride, sums);
        }
        portable::weighted_sums(weights, values, stride, sums);
    }

    #[inline]
    fn vectorize<W: Work>(work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.vectorize(work);
        }
        work.run()
    }

    #[inline]
    fn conv2d_float<T: Real, X: Real>(
        convolution: &FloatConvolution<'_, T, X>,
        scratch: &mut [f32],
        finish: &mut impl FinishFloat,
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.conv2d_float(convolution, scratch, finish);
        }
        portable_float::conv2d(convolution, scratch, finish);
    }
}

/// Quadruples of 8-bit products, VPDPBUSD, and look-up by bytes, VPERMI2B: AVX-512 F, BW, DQ, VL, VBMI and VNNI, as Ice
/// Lake, Zen 4 and later have them.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni;

impl Isa for Avx512Vnni {
    const NAME: &'static str = "AVX-512 VNNI";
    const PACKING: Packing = PACKING;
    const ALIGN: usize = ALIGN;
    const ROWS: usize = ROWS;
    const SCRATCH: Scratch = Scratch::X86;

    fn is_native() -> bool {
        #[cfg(target_arch = "x86_64")]
        return avx512::Token::new().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    fn recode(geometry: &Geometry, packed: &mut [i8]) {
        recode(geometry, packed);
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.conv2d(convolution, finish, scratch, output);
        }
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    #[inline]
    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.channel_sums(map, sums, squares);
        }
        portable::channel_sums(map, sums, squares);
    }

    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.affine(factors, offsets, table, map);
        }
        portable::affine(factors, offsets, table, map);
    }

    #[inline]
    fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.weighted_sums(weights, values, stride, sums);
        }
        portable::weighted_sums(weights, values, stride, sums);
    }

    #[inline]
    fn weighted_rows(rows: usize, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new().filter(|_| rows == ROWS) {
            return token.weighted_rows(weights, values, stride, sums);
        }
        portable::weighted_rows::<Self>(rows, weights, values, stride, sums);
    }

    #[inline]
    fn vectorize<W: Work>(work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.vectorize(work);
        }
        work.run()
    }

    #[inline]
    fn conv2d_float<T: Real, X: Real>(
        convolution: &FloatConvolution<'_, T, X>,
        scratch: &mut [f32],
        finish: &mut impl FinishFloat,
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.conv2d_float(convolution, scratch, finish);
        }
        portable_float::conv2d(convolution, scratch, finish);
    }
}
