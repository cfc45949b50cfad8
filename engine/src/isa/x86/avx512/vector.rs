//! Arithmetic on vectors.

use core::arch::x86_64::*;

use super::Token;
use crate::isa::simd::{DEPTH, Floats, Pairs, Products, TOGETHER, Vector, keep, whole};
use crate::isa::x86::places;
use crate::isa::{FinishFloat, Work};
use crate::real::Real;
use crate::requantize::Table;

/// See [`Vector::Scale`].
pub struct Scale {
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
pub struct Narrow;

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
pub struct Wide;

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
