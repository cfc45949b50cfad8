//! AVX-512 with VNNI.

use core::arch::x86_64::*;

use super::detect;
use crate::isa::simd::{DEPTH, Products, Vector, conv2d};
use crate::isa::{Convolution, Finish};
use crate::maps::Code;

/// Proof that the machine has AVX-512 F, BW, DQ, VL and VNNI.
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
        intrinsic!(conv2d_here(self, convolution, finish, scratch, output));
    }
}

/// Tiles leave four of 32 registers for weights and taps.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn conv2d_here<X: Code, F: Finish>(
    token: Token,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    if X::bytes(&[]).is_none() {
        return conv2d::run::<_, Wide, X, F, 7, 1>(token, convolution, finish, scratch, output);
    }
    let shape = convolution.geometry.output;
    if shape.width <= 7 && shape.channels > 32 {
        conv2d::run::<_, Narrow, X, F, 7, 4>(token, convolution, finish, scratch, output);
    } else if shape.channels > 16 {
        conv2d::run::<_, Narrow, X, F, 14, 2>(token, convolution, finish, scratch, output);
    } else {
        conv2d::run::<_, Narrow, X, F, 14, 1>(token, convolution, finish, scratch, output);
    }
}

impl Vector for Token {
    const LANES: usize = 16;
    type Lanes = __m512i;
    type Narrow = Narrow;
    type Wide = Wide;

    #[inline(always)]
    fn load(self, values: &[i32]) -> __m512i {
        let mut filled = [0; 16];
        let values = match values.first_chunk::<16>() {
            Some(values) => values,
            None => {
                filled.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
                &filled
            }
        };
        intrinsic!(_mm512_loadu_epi32(values.as_ptr()))
    }

    #[inline(always)]
    fn widen(self, values: &[i8]) -> __m512i {
        let mut filled = [0; 16];
        let values = match values.first_chunk::<16>() {
            Some(values) => values,
            None => {
                filled.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
                &filled
            }
        };
        let bytes = intrinsic!(_mm_loadu_epi8(values.as_ptr()));
        intrinsic!(_mm512_cvtepi8_epi32(bytes))
    }

    #[inline(always)]
    fn store(self, lanes: __m512i, output: &mut [i32]) {
        if let Some(output) = output.first_chunk_mut::<16>() {
            return intrinsic!(_mm512_storeu_epi32(output.as_mut_ptr(), lanes));
        }
        let mut values = [0; 16];
        intrinsic!(_mm512_storeu_epi32(values.as_mut_ptr(), lanes));
        output.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }

    #[inline(always)]
    fn saturate(self, lanes: __m512i, output: &mut [i8]) {
        let bytes = intrinsic!(_mm512_cvtsepi32_epi8(lanes));
        if let Some(output) = output.first_chunk_mut::<16>() {
            return intrinsic!(_mm_storeu_epi8(output.as_mut_ptr(), bytes));
        }
        let mut values = [0; 16];
        intrinsic!(_mm_storeu_epi8(values.as_mut_ptr(), bytes));
        output.iter_mut().zip(values).for_each(|(to, from)| *to = from);
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

    /// Even and odd lanes apart, in 64 bits.
    #[inline(always)]
    fn requantize(self, acc: __m512i, shift: u32, multipliers: __m512i) -> __m512i {
        let half = intrinsic!(_mm512_set1_epi64(1 << 31));
        let count = intrinsic!(_mm_cvtsi32_si128(shift as i32));
        let even = intrinsic!(_mm512_sll_epi32(acc, count));
        let odd = intrinsic!(_mm512_srli_epi64::<32>(even));
        let odd_multipliers = intrinsic!(_mm512_srli_epi64::<32>(multipliers));
        let even = intrinsic!(_mm512_mul_epi32(even, multipliers));
        let odd = intrinsic!(_mm512_mul_epi32(odd, odd_multipliers));
        let even = intrinsic!(_mm512_add_epi64(even, half));
        let odd = intrinsic!(_mm512_add_epi64(odd, half));
        let even = intrinsic!(_mm512_srli_epi64::<32>(even));
        intrinsic!(_mm512_mask_blend_epi32(0xaaaa, even, odd))
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
            Some(step) => intrinsic!(_mm512_loadu_epi8(step.as_ptr())),
            None => Self::zero(token),
        }
    }

    #[inline(always)]
    fn multiply_add(_: Token, sums: __m512i, weights: __m512i, taps: [u8; DEPTH]) -> __m512i {
        let taps = intrinsic!(_mm512_set1_epi32(i32::from_le_bytes(taps)));
        intrinsic!(_mm512_dpbusd_epi32(sums, taps, weights))
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
