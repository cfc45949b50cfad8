//! AVX2.

use core::arch::x86_64::*;

use super::{PAIR_PIXELS, detect, places};
use crate::isa::simd::{
    DEPTH, Floats, Pairs, Products, Vector, conv2d, conv2d_float, conv2d_pairs, keep, maps, whole, winograd,
};
use crate::isa::{Convolution, Finish, FinishFloat, FloatConvolution, Work};
use crate::maps::Code;
use crate::real::Real;
use crate::requantize::Table;

/// Proof that the machine has AVX2, FMA and F16C.
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

impl Token {
    #[inline]
    pub fn new() -> Option<Self> {
        detect::has(detect::AVX2).then_some(Self(()))
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
        let geometry = convolution.geometry;
        let run = match geometry.output.channels {
            0..=4 => few,
            _ if X::bytes(&[]).is_some() && winograd::suits(geometry) => by_winograd,
            _ => pairs,
        };
        intrinsic!(run(self, convolution, finish, scratch, output));
    }

    /// See [`crate::isa::Isa::channel_sums`].
    #[inline]
    pub fn channel_sums(self, map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[target_feature(enable = "avx2")]
        fn here(token: Token, map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
            maps::channel_sums(token, map, sums, squares);
        }
        intrinsic!(here(self, map, sums, squares));
    }

    /// See [`crate::isa::Isa::affine`].
    #[inline]
    pub fn affine(self, factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[target_feature(enable = "avx2")]
        fn here(token: Token, factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
            maps::affine(token, factors, offsets, table, map);
        }
        intrinsic!(here(self, factors, offsets, table, map));
    }

    /// See [`crate::isa::Isa::weighted_sums`].
    #[inline]
    pub fn weighted_sums(self, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        #[target_feature(enable = "avx2")]
        fn here(token: Token, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
            maps::weighted_sums(token, weights, values, stride, sums);
        }
        intrinsic!(here(self, weights, values, stride, sums));
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

alone!("avx2,fma,f16c", few [] = conv2d::run::<_, Quadruples, X, F, 16, 0, 0>);
alone!(
    /// Six pixels' sums take twelve of 16 registers, weights two.
    "avx2,fma,f16c", pairs [] = conv2d_pairs::direct::<_, X, F, PAIR_PIXELS>
);
alone!("avx2,fma,f16c", by_winograd [] = winograd::run::<_, X, F, PAIR_PIXELS>);

#[target_feature(enable = "avx2,fma,f16c")]
fn vectorize_here<W: Work>(work: W) -> W::Output {
    work.run()
}

#[target_feature(enable = "avx2,fma,f16c")]
fn conv2d_float_here<T: Real, X: Real>(
    token: Token,
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    conv2d_float::run::<_, T, X, 6, 2, 4>(token, convolution, scratch, finish);
}

/// See [`Vector::Scale`].
pub(super) struct Scale {
    shift: __m128i,
    /// The multipliers of even lanes.
    even: [__m256i; 2],
    odd: [__m256i; 2],
    offset: __m256i,
}

impl Vector for Token {
    const LANES: usize = 16;
    type Lanes = [__m256i; 2];
    type Scale = Scale;
    type Narrow = Quadruples;
    type Wide = Quadruples;

    #[inline(always)]
    fn load(self, values: &[i32]) -> [__m256i; 2] {
        bytemuck::must_cast(whole::<i32, 16>(values))
    }

    #[inline(always)]
    fn widen(self, values: &[i8]) -> [__m256i; 2] {
        let low = bytemuck::must_cast(whole::<_, 16>(values));
        let high = intrinsic!(_mm_srli_si128::<8>(low));
        [intrinsic!(_mm256_cvtepi8_epi32(low)), intrinsic!(_mm256_cvtepi8_epi32(high))]
    }

    #[inline(always)]
    fn store(self, lanes: [__m256i; 2], output: &mut [i32]) {
        keep::<_, 16>(output, bytemuck::must_cast(lanes));
    }

    #[inline(always)]
    fn saturate(self, [low, high]: [__m256i; 2], output: &mut [i8]) {
        // Packing works within halves of 128 bits.
        let words = intrinsic!(_mm256_packs_epi32(low, high));
        let words = intrinsic!(_mm256_permute4x64_epi64::<0b11_01_10_00>(words));
        let (low, high) = (intrinsic!(_mm256_castsi256_si128(words)), intrinsic!(_mm256_extracti128_si256::<1>(words)));
        keep::<_, 16>(output, bytemuck::must_cast(intrinsic!(_mm_packs_epi16(low, high))));
    }

    #[inline(always)]
    fn splat(self, value: i32) -> [__m256i; 2] {
        [intrinsic!(_mm256_set1_epi32(value)); 2]
    }

    #[inline(always)]
    fn add(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [intrinsic!(_mm256_add_epi32(a[0], b[0])), intrinsic!(_mm256_add_epi32(a[1], b[1]))]
    }

    #[inline(always)]
    fn multiply(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [intrinsic!(_mm256_mullo_epi32(a[0], b[0])), intrinsic!(_mm256_mullo_epi32(a[1], b[1]))]
    }

    #[inline(always)]
    fn shift_right(self, lanes: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        let count = intrinsic!(_mm_cvtsi32_si128(bits as i32));
        [intrinsic!(_mm256_sra_epi32(lanes[0], count)), intrinsic!(_mm256_sra_epi32(lanes[1], count))]
    }

    /// Even and odd lanes apart, in 64 bits. The zero point is added with the half of what is rounded off.
    #[inline(always)]
    fn scale(self, shift: u32, multipliers: [__m256i; 2], zero_point: i32) -> Scale {
        let mut odd = multipliers;
        for odd in &mut odd {
            *odd = intrinsic!(_mm256_srli_epi64::<32>(*odd));
        }
        Scale {
            shift: intrinsic!(_mm_cvtsi32_si128(shift as i32)),
            even: multipliers,
            odd,
            offset: intrinsic!(_mm256_set1_epi64x((i64::from(zero_point) << 32) + (1 << 31))),
        }
    }

    #[inline(always)]
    fn requantize(self, acc: [__m256i; 2], scale: &Scale) -> [__m256i; 2] {
        let mut lanes = acc;
        for ((lanes, even_multipliers), odd_multipliers) in lanes.iter_mut().zip(&scale.even).zip(&scale.odd) {
            let even = intrinsic!(_mm256_sll_epi32(*lanes, scale.shift));
            let odd = intrinsic!(_mm256_srli_epi64::<32>(even));
            let even = intrinsic!(_mm256_mul_epi32(even, *even_multipliers));
            let odd = intrinsic!(_mm256_mul_epi32(odd, *odd_multipliers));
            let even = intrinsic!(_mm256_add_epi64(even, scale.offset));
            let odd = intrinsic!(_mm256_add_epi64(odd, scale.offset));
            let even = intrinsic!(_mm256_srli_epi64::<32>(even));
            *lanes = intrinsic!(_mm256_blend_epi32::<0b1010_1010>(even, odd));
        }
        lanes
    }
}

impl Pairs for Token {
    /// Each byte into the upper half of 16 bits, and shifted down from there.
    #[inline(always)]
    fn halves(self, step: &[[i8; DEPTH]]) -> [[__m256i; 2]; 2] {
        let bytes: [__m256i; 2] = bytemuck::must_cast(whole::<_, 16>(step));
        let mut halves = [bytes; 2];
        for (half, places) in halves.iter_mut().zip(const { [places::<8>(0), places(2)] }) {
            let places = bytemuck::must_cast(places);
            for lanes in half {
                *lanes = intrinsic!(_mm256_shuffle_epi8(*lanes, places));
                *lanes = intrinsic!(_mm256_srai_epi16::<8>(*lanes));
            }
        }
        halves
    }

    #[inline(always)]
    fn subtract(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [intrinsic!(_mm256_sub_epi32(a[0], b[0])), intrinsic!(_mm256_sub_epi32(a[1], b[1]))]
    }

    #[inline(always)]
    fn add_halves(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [intrinsic!(_mm256_add_epi16(a[0], b[0])), intrinsic!(_mm256_add_epi16(a[1], b[1]))]
    }

    #[inline(always)]
    fn subtract_halves(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [intrinsic!(_mm256_sub_epi16(a[0], b[0])), intrinsic!(_mm256_sub_epi16(a[1], b[1]))]
    }

    #[inline(always)]
    fn add_pairs(self, sums: [__m256i; 2], weights: [__m256i; 2], taps: [i16; 2]) -> [__m256i; 2] {
        let taps = intrinsic!(_mm256_set1_epi32(bytemuck::must_cast(taps)));
        let mut sums = sums;
        for (sums, weights) in sums.iter_mut().zip(&weights) {
            *sums = intrinsic!(_mm256_add_epi32(*sums, _mm256_madd_epi16(taps, *weights)));
        }
        sums
    }
}

/// VPMADDWD: each lane has half of a channel's products; four vectors have four channels each.
///
/// VPMADDUBSW multiplies bytes, but holds sums of two products to int16, which they leave.
pub(super) struct Quadruples;

impl Products<Token> for Quadruples {
    type Element = i16;
    const OFFSET: i16 = 0;
    type Weights = [__m256i; 4];
    type Sums = [__m256i; 4];

    #[inline(always)]
    fn element(value: i16) -> i16 {
        value
    }

    #[inline(always)]
    fn zero(_: Token) -> [__m256i; 4] {
        [intrinsic!(_mm256_setzero_si256()); 4]
    }

    #[inline(always)]
    fn weights(token: Token, step: &[i8]) -> [__m256i; 4] {
        let mut weights = Self::zero(token);
        for (weights, bytes) in weights.iter_mut().zip(step.as_chunks::<16>().0) {
            *weights = intrinsic!(_mm256_cvtepi8_epi16(bytemuck::must_cast(*bytes)));
        }
        weights
    }

    #[inline(always)]
    fn multiply_add(_: Token, sums: [__m256i; 4], weights: [__m256i; 4], taps: [i16; DEPTH]) -> [__m256i; 4] {
        let taps = intrinsic!(_mm256_set1_epi64x(bytemuck::must_cast(taps)));
        let mut sums = sums;
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let products = intrinsic!(_mm256_madd_epi16(taps, weights));
            *sums = intrinsic!(_mm256_add_epi32(*sums, products));
        }
        sums
    }

    #[inline(always)]
    fn pixels(token: Token, taps: &[[i16; DEPTH]]) -> [__m256i; 4] {
        match taps.first_chunk::<16>() {
            Some(taps) => bytemuck::must_cast(*taps),
            None => Self::zero(token),
        }
    }

    #[inline(always)]
    fn multiply_add_pixels(
        token: Token,
        sums: [__m256i; 4],
        pixels: [__m256i; 4],
        weights: [i8; DEPTH],
    ) -> [__m256i; 4] {
        Self::multiply_add(token, sums, pixels, weights.map(i16::from))
    }

    #[inline(always)]
    fn total(_: Token, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 2] {
        // Channels 0, 1, 4, 5, 2, 3, 6, 7 of each half.
        let [low, high] = [intrinsic!(_mm256_hadd_epi32(a, b)), intrinsic!(_mm256_hadd_epi32(c, d))];
        [
            intrinsic!(_mm256_permute4x64_epi64::<0b11_01_10_00>(low)),
            intrinsic!(_mm256_permute4x64_epi64::<0b11_01_10_00>(high)),
        ]
    }
}

impl Floats for Token {
    const LANES: usize = 8;
    type Lanes = __m256;

    #[inline(always)]
    fn load<T: Real>(self, values: &[T]) -> __m256 {
        match T::floats(values) {
            Some(values) => bytemuck::must_cast(whole::<f32, 8>(values)),
            None => {
                let halves: &[u16] = bytemuck::try_cast_slice(values).unwrap_or_default();
                intrinsic!(_mm256_cvtph_ps(bytemuck::must_cast(whole::<u16, 8>(halves))))
            }
        }
    }

    #[inline(always)]
    fn store(self, lanes: __m256, output: &mut [f32]) {
        keep::<_, 8>(output, bytemuck::must_cast(lanes));
    }

    #[inline(always)]
    fn finish<const B: usize>(self, lanes: [__m256; B], to: &mut impl FinishFloat, pixel: usize, channel: usize) {
        let mut sums = [[0.0; 8]; B];
        sums.iter_mut().zip(lanes).for_each(|(sums, lanes)| *sums = bytemuck::must_cast(lanes));
        to.finish(pixel, channel, sums);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        intrinsic!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    fn fused(self, sum: __m256, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_fmadd_ps(a, b, sum))
    }

    #[inline(always)]
    fn add_product(self, sum: __m256, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_add_ps(sum, _mm256_mul_ps(a, b)))
    }
}
