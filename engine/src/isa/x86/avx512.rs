//! AVX-512 with VNNI and VBMI.

use core::arch::x86_64::*;

use super::{ENLARGED_PIXELS, ROWS, detect};
use crate::isa::simd::{DEPTH, Products, Vector, conv2d, conv2d_float, conv2d_pairs, keep, maps, whole, winograd};
use crate::isa::{Convolution, Finish, FinishFloat, FloatConvolution, Work};
use crate::maps::Code;
use crate::real::Real;
use crate::requantize::Table;

/// Pixels of the tiles whose products are added up in pairs: maps of int16 and of odd channels.
const MANY_PIXELS: usize = 14;

/// Proof that the machine has AVX-512 F, BW, DQ, VL, VBMI and VNNI.
#[derive(Clone, Copy)]
pub(super) struct Token(());

/// An intrinsic, where a token is at hand.
macro_rules! intrinsic {
    ($call:expr) => {{
        // SAFETY: the token exists only where the machine has the instruction; if the intrinsic reads or writes
        // memory, then that of a whole array that is borrowed.
        unsafe { $call }
    }};
}

mod vector;

use vector::{Narrow, Wide};

impl Token {
    #[inline]
    pub fn new() -> Option<Self> {
        detect::has(detect::AVX512_VNNI).then_some(Self(()))
    }

    /// See [`crate::isa::Isa::conv2d`].
    #[inline]
    pub fn conv2d<X: Code, F: Finish>(
        self,
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        let (geometry, shape) = (convolution.geometry, convolution.geometry.output);
        let bytes = X::bytes(&[]).is_some();
        let quadruples = bytes && convolution.input.channels.iter().all(|channels| channels.is_multiple_of(DEPTH));
        let apart = geometry.input.channels * geometry.stride[1] / DEPTH;
        let run = match (quadruples, shape.channels) {
            _ if bytes && geometry.upsample != [1; 2] && winograd::suits(geometry) => enlarged,
            (_, 0..=4) if bytes => tiles::<X, F, Narrow, 32, 0, 0>,
            (_, 0..=4) => tiles::<X, F, Wide, 32, 0, 0>,
            (false, _) => pairs,
            (true, 17..) if shape.width <= 7 => tiles::<X, F, Narrow, 7, 2, 0>,
            // More pixels have to know how far apart they are.
            (true, 17..) => match apart {
                4 => tiles::<X, F, Narrow, 14, 2, 4>,
                8 => tiles::<X, F, Narrow, 14, 2, 8>,
                _ => tiles::<X, F, Narrow, 7, 2, 0>,
            },
            (true, _) => match apart {
                _ if shape.width <= 14 => tiles::<X, F, Narrow, 14, 1, 0>,
                4 => tiles::<X, F, Narrow, 28, 1, 4>,
                8 => tiles::<X, F, Narrow, 28, 1, 8>,
                12 => tiles::<X, F, Narrow, 28, 1, 12>,
                _ => tiles::<X, F, Narrow, 14, 1, 0>,
            },
        };
        intrinsic!(run(self, convolution, finish, scratch, output));
    }

    /// See [`crate::isa::Isa::channel_sums`].
    #[inline]
    pub fn channel_sums(self, map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        intrinsic!(channel_sums_here(self, map, sums, squares));
    }

    /// See [`crate::isa::Isa::affine`].
    #[inline]
    pub fn affine(self, factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
        fn here(token: Token, factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
            maps::affine(token, factors, offsets, table, map);
        }
        intrinsic!(here(self, factors, offsets, table, map));
    }

    /// See [`crate::isa::Isa::weighted_sums`].
    #[inline]
    pub fn weighted_sums(self, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        intrinsic!(weighted_rows_here::<1>(self, weights, values, stride, sums));
    }

    /// See [`crate::isa::Isa::weighted_rows`]; of [`ROWS`] rows.
    #[inline]
    pub fn weighted_rows(self, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        intrinsic!(weighted_rows_here::<ROWS>(self, weights, values, stride, sums));
    }

    /// See [`crate::isa::Isa::vectorize`].
    pub fn vectorize<W: Work>(self, work: W) -> W::Output {
        intrinsic!(vectorize_here(work))
    }

    /// See [`crate::isa::Isa::conv2d_float`].
    pub fn conv2d_float<T: Real, X: Real>(
        self,
        convolution: &FloatConvolution<'_, T, X>,
        scratch: &mut [f32],
        finish: &mut impl FinishFloat,
    ) {
        intrinsic!(conv2d_float_here(self, convolution, scratch, finish));
    }
}

alone!(
    /// Tiles leave four of 32 registers for weights and taps.
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni",
    tiles [Q: Products<Token>, const P: usize, const B: usize, const A: usize] = conv2d::run::<_, Q, X, F, P, B, A>
);
alone!("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni", pairs [] = conv2d_pairs::direct::<_, X, F, MANY_PIXELS>);
alone!("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni", enlarged [] = winograd::run::<_, X, F, ENLARGED_PIXELS>);

/// VPDPBUSD on the values of four pixels side by side: q times 1, and q + 128 times q, of which 128 times the sum is taken back.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn channel_sums_here(token: Token, map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().max(1);
    let [ones, signs] = [_mm512_set1_epi8(1), _mm512_set1_epi8(-128)];
    for (block, (sums, squares)) in sums.chunks_mut(16).zip(squares.chunks_mut(16)).enumerate() {
        let [mut sum, mut square] = [_mm512_setzero_si512(); 2];
        // The last vector of a pixel may reach into the next: those lanes are not stored.
        for pixels in map.chunks(DEPTH * channels) {
            let values: __m512i = match pixels.first_chunk::<64>() {
                Some(values) if channels == 16 => bytemuck::must_cast(*values),
                _ => {
                    let mut values = [[0; 16]; DEPTH];
                    for (pixel, values) in values.iter_mut().enumerate() {
                        *values = whole(pixels.get(pixel * channels + block * 16..).unwrap_or_default());
                    }
                    bytemuck::must_cast(values)
                }
            };
            let values = _mm512_permutexvar_epi8(bytemuck::must_cast(PIXELS_SIDE_BY_SIDE), values);
            sum = _mm512_dpbusd_epi32(sum, ones, values);
            square = _mm512_dpbusd_epi32(square, _mm512_xor_si512(values, signs), values);
        }
        Vector::store(token, sum, sums);
        Vector::store(token, _mm512_sub_epi32(square, _mm512_slli_epi32::<7>(sum)), squares);
    }
}

/// Four pixels' values of 16 channels, from `[pixel][channel]` to `[channel][pixel]`.
const PIXELS_SIDE_BY_SIDE: [u8; 64] = {
    let mut places = [0; 64];
    let mut lane = 0;
    while lane < 64 {
        places[lane] = (lane % DEPTH * 16 + lane / DEPTH) as u8;
        lane += 1;
    }
    places
};

/// VPDPWSSD on two rows of 64 values at a time: a value of each lies side by side. Each serves R rows of weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn weighted_rows_here<const R: usize>(token: Token, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
    /// Pairs of weights that are narrowed at once.
    const PAIRS: usize = 32;
    let [of_weights, of_sums] = [weights.len() / R, sums.len() / R];
    for block in (0..of_sums).step_by(64) {
        let row = |row: usize| whole::<i8, 64>(values.get(row * stride + block..).unwrap_or_default());
        let mut totals = [[[_mm512_setzero_si512(); 2]; 2]; R];
        for first in (0..of_weights).step_by(2 * PAIRS) {
            let mut narrow = [[[[0i16; 2]; 8]; PAIRS / 8]; R];
            for (narrow, weights) in narrow.iter_mut().zip(weights.chunks_exact(of_weights)) {
                for (narrow, weights) in narrow.iter_mut().zip(weights[first..].chunks(16)) {
                    *narrow = bytemuck::must_cast(_mm512_cvtepi32_epi16(Vector::load(token, weights)));
                }
            }
            for pair in 0..PAIRS.min((of_weights - first).div_ceil(2)) {
                let low = first + 2 * pair;
                // An odd number's last has a partner whose weight is 0.
                let (low, high) = (bytemuck::must_cast(row(low)), bytemuck::must_cast(row(low + 1)));
                // Within quarters of 128 bits: values 0–7, 16–23 and so on, then the others.
                let sides = [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)];
                let mut pairs = [[low; 2]; 2];
                for (pairs, side) in pairs.iter_mut().zip(sides) {
                    pairs[0] = _mm512_cvtepi8_epi16(_mm512_castsi512_si256(side));
                    pairs[1] = _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64::<1>(side));
                }
                for (narrow, totals) in narrow.iter().zip(&mut totals) {
                    let weights = Vector::splat(token, bytemuck::must_cast(narrow.as_flattened()[pair]));
                    for (totals, pairs) in totals.as_flattened_mut().iter_mut().zip(pairs.as_flattened()) {
                        *totals = _mm512_dpwssd_epi32(*totals, weights, *pairs);
                    }
                }
            }
        }
        for (totals, sums) in totals.iter().zip(sums.chunks_exact_mut(of_sums)) {
            let sides: [[[i32; 8]; 4]; 2] = bytemuck::must_cast(*totals);
            for (index, sums) in sums[block..].chunks_mut(8).take(8).enumerate() {
                keep::<_, 8>(sums, sides[index % 2][index / 2]);
            }
        }
    }
}

/// Never inlined, not even where the caller has the instructions: see [`Vector::call`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn vectorize_here<W: Work>(work: W) -> W::Output {
    work.run()
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn conv2d_float_here<T: Real, X: Real>(
    token: Token,
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    match convolution.geometry.output.channels {
        0..=16 => conv2d_float::run::<_, T, X, 7, 1, 2>(token, convolution, scratch, finish),
        _ => conv2d_float::run::<_, T, X, 7, 2, 2>(token, convolution, scratch, finish),
    }
}
