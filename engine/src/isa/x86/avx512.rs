//! AVX-512 with VNNI and VBMI.

use core::arch::x86_64::*;

use super::{ENLARGED_PIXELS, ROWS, detect, places};
use crate::isa::simd::{
    DEPTH, Floats, Pairs, Products, TOGETHER, Vector, conv2d, conv2d_float, conv2d_pairs, keep, maps, whole, winograd,
};
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
        conv2d_here(self, convolution, finish, scratch, output);
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

    /// See [`crate::isa::Isa::weighted_rows`].
    #[inline]
    pub fn weighted_rows(self, rows: usize, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        if rows == ROWS {
            return intrinsic!(weighted_rows_here::<ROWS>(self, weights, values, stride, sums));
        }
        let [of_weights, of_sums] = [weights.len(), sums.len()].map(|len| (len / rows.max(1)).max(1));
        for (weights, sums) in weights.chunks_exact(of_weights).zip(sums.chunks_exact_mut(of_sums)) {
            self.weighted_sums(weights, values, stride, sums);
        }
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

/// Tiles leave four of 32 registers for weights and taps.
#[inline]
fn conv2d_here<X: Code, F: Finish>(
    token: Token,
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
        (_, 0..=4) if bytes => tiles::<Narrow, X, F, 32, 0, 0>,
        (_, 0..=4) => tiles::<Wide, X, F, 32, 0, 0>,
        (false, _) => pairs,
        (true, 17..) if shape.width <= 7 => tiles::<Narrow, X, F, 7, 2, 0>,
        // More pixels have to know how far apart they are.
        (true, 17..) => match apart {
            4 => tiles::<Narrow, X, F, 14, 2, 4>,
            8 => tiles::<Narrow, X, F, 14, 2, 8>,
            _ => tiles::<Narrow, X, F, 7, 2, 0>,
        },
        (true, _) => match apart {
            _ if shape.width <= 14 => tiles::<Narrow, X, F, 14, 1, 0>,
            4 => tiles::<Narrow, X, F, 28, 1, 4>,
            8 => tiles::<Narrow, X, F, 28, 1, 8>,
            12 => tiles::<Narrow, X, F, 28, 1, 12>,
            _ => tiles::<Narrow, X, F, 14, 1, 0>,
        },
    };
    intrinsic!(run(token, convolution, finish, scratch, output));
}

/// Each in a function of its own: none shares registers with another.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn tiles<Q: Products<Token>, X: Code, F: Finish, const P: usize, const B: usize, const A: usize>(
    token: Token,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    conv2d::run::<_, Q, X, F, P, B, A>(token, convolution, finish, scratch, output);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn pairs<X: Code, F: Finish>(
    token: Token,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    conv2d_pairs::direct::<_, X, F, MANY_PIXELS>(token, convolution, finish, scratch, output);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn enlarged<X: Code, F: Finish>(
    token: Token,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    winograd::run::<_, X, F, ENLARGED_PIXELS>(token, convolution, finish, scratch, output);
}

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

/// See [`Vector::Scale`].
pub(super) struct Scale {
    shift: __m128i,
    /// Of even and of odd lanes.
    multipliers: [__m512i; 2],
    offset: __m512i,
}

impl Vector for Token {
    const LANES: usize = 16;
    type Lanes = __m512i;
    type Scale = Scale;
    type Narrow = Narrow;
    type Wide = Wide;

    #[inline(always)]
    fn load(self, values: &[i32]) -> __m512i {
        bytemuck::must_cast(whole::<_, 16>(values))
    }

    #[inline(always)]
    fn widen(self, values: &[i8]) -> __m512i {
        intrinsic!(_mm512_cvtepi8_epi32(bytemuck::must_cast(whole::<_, 16>(values))))
    }

    #[inline(always)]
    fn store(self, lanes: __m512i, output: &mut [i32]) {
        keep::<_, 16>(output, bytemuck::must_cast(lanes));
    }

    #[inline(always)]
    fn saturate(self, lanes: __m512i, output: &mut [i8]) {
        keep::<_, 16>(output, bytemuck::must_cast(intrinsic!(_mm512_cvtsepi32_epi8(lanes))));
    }

    #[inline(always)]
    fn splat(self, value: i32) -> __m512i {
        intrinsic!(_mm512_set1_epi32(value))
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn multiply(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn shift_right(self, lanes: __m512i, bits: u32) -> __m512i {
        intrinsic!(_mm512_sra_epi32(lanes, _mm_cvtsi32_si128(bits as i32)))
    }

    /// Even and odd lanes apart, in 64 bits. The zero point is added with the half of what is rounded off.
    #[inline(always)]
    fn scale(self, shift: u32, multipliers: __m512i, zero_point: i32) -> Scale {
        Scale {
            shift: intrinsic!(_mm_cvtsi32_si128(shift as i32)),
            multipliers: [multipliers, intrinsic!(_mm512_srli_epi64::<32>(multipliers))],
            offset: intrinsic!(_mm512_set1_epi64((i64::from(zero_point) << 32) + (1 << 31))),
        }
    }

    #[inline(always)]
    fn requantize(self, acc: __m512i, scale: &Scale) -> __m512i {
        let even = intrinsic!(_mm512_sll_epi32(acc, scale.shift));
        let odd = intrinsic!(_mm512_srli_epi64::<32>(even));
        let even = intrinsic!(_mm512_mul_epi32(even, scale.multipliers[0]));
        let odd = intrinsic!(_mm512_mul_epi32(odd, scale.multipliers[1]));
        let even = intrinsic!(_mm512_add_epi64(even, scale.offset));
        let odd = intrinsic!(_mm512_add_epi64(odd, scale.offset));
        // The high half of each product, of even and odd lanes in turn.
        intrinsic!(_mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even))
    }

    #[inline(always)]
    fn call<W: Work>(self, work: W) -> W::Output {
        self.vectorize(work)
    }

    /// Eight permutations find bits 0 to 6 of the index in as many eighths of the table; bits 7 to 9 choose the eighth, bit 9
    /// being set where the index is negative, in the table's first half.
    #[inline(always)]
    fn look_up_all(self, table: &Table, [a, b, c, d]: [__m512i; TOGETHER], output: &mut [i8]) {
        // Packing works within quarters of 128 bits: words come as 0–3 of a, 0–3 of b, 4–7 of a and so on.
        let mut words = [intrinsic!(_mm512_packs_epi32(a, b)), intrinsic!(_mm512_packs_epi32(c, d))];
        for words in &mut words {
            *words = intrinsic!(_mm512_max_epi16(*words, _mm512_set1_epi16(-512)));
            *words = intrinsic!(_mm512_min_epi16(*words, _mm512_set1_epi16(511)));
        }
        let [low, high] = words;
        let index = intrinsic!(_mm512_permutex2var_epi8(low, bytemuck::must_cast(LOW_BYTES), high));
        let eighth = intrinsic!(_mm512_permutex2var_epi8(low, bytemuck::must_cast(HIGH_BYTES), high));
        let mut found = [index; 8];
        for (found, eighth) in found.iter_mut().zip(table.as_chunks::<128>().0) {
            let [low, high]: [__m512i; 2] = bytemuck::must_cast(*eighth);
            *found = intrinsic!(_mm512_permutex2var_epi8(low, index, high));
        }
        let bits = [
            intrinsic!(_mm512_movepi8_mask(index)),
            intrinsic!(_mm512_test_epi8_mask(eighth, _mm512_set1_epi8(1))),
            intrinsic!(_mm512_test_epi8_mask(eighth, _mm512_set1_epi8(2))),
        ];
        // From eight to four, to two, to one.
        let [a, b, c, d, e, f, g, h] = found;
        let mut pairs = [a, c, e, g];
        for (low, high) in pairs.iter_mut().zip([b, d, f, h]) {
            *low = intrinsic!(_mm512_mask_blend_epi8(bits[0], *low, high));
        }
        let [a, b, c, d] = pairs;
        let low = intrinsic!(_mm512_mask_blend_epi8(bits[1], a, b));
        let high = intrinsic!(_mm512_mask_blend_epi8(bits[1], c, d));
        keep::<_, 64>(output, bytemuck::must_cast(intrinsic!(_mm512_mask_blend_epi8(bits[2], high, low))));
    }
}

/// Where the low bytes of four vectors' lanes are, after packing to two vectors of words.
const LOW_BYTES: [u8; 64] = bytes_of_words(0);
/// The high bytes.
const HIGH_BYTES: [u8; 64] = bytes_of_words(1);

const fn bytes_of_words(byte: usize) -> [u8; 64] {
    let mut places = [0; 64];
    let mut lane = 0;
    while lane < 64 {
        let (vector, lane_of) = (lane / 16, lane % 16);
        let word = vector / 2 * 32 + lane_of / 4 * 8 + vector % 2 * 4 + lane_of % 4;
        places[lane] = (2 * word + byte) as u8;
        lane += 1;
    }
    places
}

impl Pairs for Token {
    /// Each byte into the upper half of 16 bits, and shifted down from there.
    #[inline(always)]
    fn halves(self, step: &[[i8; DEPTH]]) -> [__m512i; 2] {
        let bytes = bytemuck::must_cast(whole::<_, 16>(step));
        let mut halves = [bytes; 2];
        for (half, places) in halves.iter_mut().zip(const { [places::<16>(0), places(2)] }) {
            *half = intrinsic!(_mm512_shuffle_epi8(*half, bytemuck::must_cast(places)));
            *half = intrinsic!(_mm512_srai_epi16::<8>(*half));
        }
        halves
    }

    #[inline(always)]
    fn subtract(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn add_halves(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi16(a, b))
    }

    #[inline(always)]
    fn subtract_halves(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_sub_epi16(a, b))
    }

    #[inline(always)]
    fn add_pairs(self, sums: __m512i, weights: __m512i, taps: [i16; 2]) -> __m512i {
        let taps = intrinsic!(_mm512_set1_epi32(bytemuck::must_cast(taps)));
        intrinsic!(_mm512_dpwssd_epi32(sums, taps, weights))
    }
}

/// VPDPBUSD, whose first operand is unsigned: activations + 128.
pub(super) struct Narrow;

impl Products<Token> for Narrow {
    type Element = u8;
    const OFFSET: i16 = 128;
    type Weights = __m512i;
    type Sums = __m512i;

    #[inline(always)]
    fn element(value: i16) -> u8 {
        value as u8 ^ 0x80
    }

    #[inline(always)]
    fn zero(_: Token) -> __m512i {
        intrinsic!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn weights(token: Token, step: &[i8]) -> __m512i {
        match step.first_chunk::<64>() {
            Some(step) => bytemuck::must_cast(*step),
            None => Self::zero(token),
        }
    }

    #[inline(always)]
    fn multiply_add(_: Token, sums: __m512i, weights: __m512i, taps: [u8; DEPTH]) -> __m512i {
        let taps = intrinsic!(_mm512_set1_epi32(i32::from_le_bytes(taps)));
        intrinsic!(_mm512_dpbusd_epi32(sums, taps, weights))
    }

    #[inline(always)]
    fn pixels(token: Token, taps: &[[u8; DEPTH]]) -> __m512i {
        match taps.first_chunk::<16>() {
            Some(taps) => bytemuck::must_cast(*taps),
            None => Self::zero(token),
        }
    }

    #[inline(always)]
    fn multiply_add_pixels(_: Token, sums: __m512i, pixels: __m512i, weights: [i8; DEPTH]) -> __m512i {
        let weights = intrinsic!(_mm512_set1_epi32(bytemuck::must_cast(weights)));
        intrinsic!(_mm512_dpbusd_epi32(sums, pixels, weights))
    }

    #[inline(always)]
    fn total(_: Token, sums: __m512i) -> __m512i {
        sums
    }
}

/// VPDPWSSD: each lane has half of a channel's products.
pub(super) struct Wide;

impl Products<Token> for Wide {
    type Element = i16;
    const OFFSET: i16 = 0;
    type Weights = [__m512i; 2];
    type Sums = [__m512i; 2];

    #[inline(always)]
    fn element(value: i16) -> i16 {
        value
    }

    #[inline(always)]
    fn zero(_: Token) -> [__m512i; 2] {
        [intrinsic!(_mm512_setzero_si512()); 2]
    }

    #[inline(always)]
    fn weights(token: Token, step: &[i8]) -> [__m512i; 2] {
        let Some(step) = step.first_chunk::<64>() else { return Self::zero(token) };
        let step = intrinsic!(_mm512_loadu_epi8(step.as_ptr()));
        let [low, high] = [intrinsic!(_mm512_castsi512_si256(step)), intrinsic!(_mm512_extracti64x4_epi64::<1>(step))];
        [intrinsic!(_mm512_cvtepi8_epi16(low)), intrinsic!(_mm512_cvtepi8_epi16(high))]
    }

    #[inline(always)]
    fn multiply_add(_: Token, sums: [__m512i; 2], weights: [__m512i; 2], taps: [i16; DEPTH]) -> [__m512i; 2] {
        let taps = intrinsic!(_mm512_set1_epi64(bytemuck::must_cast(taps)));
        [
            intrinsic!(_mm512_dpwssd_epi32(sums[0], taps, weights[0])),
            intrinsic!(_mm512_dpwssd_epi32(sums[1], taps, weights[1])),
        ]
    }

    #[inline(always)]
    fn pixels(token: Token, taps: &[[i16; DEPTH]]) -> [__m512i; 2] {
        match taps.first_chunk::<16>() {
            Some(taps) => bytemuck::must_cast(*taps),
            None => Self::zero(token),
        }
    }

    #[inline(always)]
    fn multiply_add_pixels(
        token: Token,
        sums: [__m512i; 2],
        pixels: [__m512i; 2],
        weights: [i8; DEPTH],
    ) -> [__m512i; 2] {
        Self::multiply_add(token, sums, pixels, weights.map(i16::from))
    }

    #[inline(always)]
    fn total(token: Token, sums: [__m512i; 2]) -> __m512i {
        let mut halves = [intrinsic!(_mm256_setzero_si256()); 2];
        for (half, sums) in halves.iter_mut().zip(sums) {
            let odd = intrinsic!(_mm512_srli_epi64::<32>(sums));
            *half = intrinsic!(_mm512_cvtepi64_epi32(token.add(sums, odd)));
        }
        let low = intrinsic!(_mm512_castsi256_si512(halves[0]));
        intrinsic!(_mm512_inserti64x4::<1>(low, halves[1]))
    }
}

impl Floats for Token {
    const LANES: usize = 16;
    type Lanes = __m512;

    #[inline(always)]
    fn load<T: Real>(self, values: &[T]) -> __m512 {
        match T::floats(values) {
            Some(values) => bytemuck::must_cast(whole::<f32, 16>(values)),
            None => {
                let halves: &[u16] = bytemuck::try_cast_slice(values).unwrap_or_default();
                intrinsic!(_mm512_cvtph_ps(bytemuck::must_cast(whole::<u16, 16>(halves))))
            }
        }
    }

    #[inline(always)]
    fn store(self, lanes: __m512, output: &mut [f32]) {
        keep::<_, 16>(output, bytemuck::must_cast(lanes));
    }

    #[inline(always)]
    fn finish<const B: usize>(self, lanes: [__m512; B], to: &mut impl FinishFloat, pixel: usize, channel: usize) {
        let mut sums = [[0.0; 16]; B];
        sums.iter_mut().zip(lanes).for_each(|(sums, lanes)| *sums = bytemuck::must_cast(lanes));
        to.finish(pixel, channel, sums);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn fused(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, sum))
    }

    #[inline(always)]
    fn add_product(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(sum, _mm512_mul_ps(a, b)))
    }
}
