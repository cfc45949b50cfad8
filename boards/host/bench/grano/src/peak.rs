//! The most int8 multiplications that the core can do: a loop of its best dot-product instruction on registers.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_setzero_si256, _mm256_xor_si256, _mm512_dpbusd_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
};
use std::hint::black_box;

use anyhow::{Result, bail};
use grano_bench_protocol::protocol::Runner;

/// Multiplications of one evaluation's maps of the reference U-Net, and of its sampler's twenty.
const MACS: usize = 40_071_808;
const EVALUATIONS: usize = 20;

/// The loop of this core.
pub struct Peak {
    /// Its name.
    pub instruction: &'static str,
    /// Does that many multiplications.
    run: fn(usize),
}

impl Peak {
    /// Finds the instruction.
    ///
    /// # Errors
    /// When the core has none of those that are known.
    pub fn new() -> Result<Self> {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return Ok(Self { instruction: "vpdpbusd, 512 bits", run: avx512_vnni });
        }
        if is_x86_feature_detected!("avx2") {
            return Ok(Self { instruction: "vpmaddubsw + vpmaddwd, 256 bits", run: avx2 });
        }
        bail!("neither AVX-512 VNNI nor AVX2")
    }
}

impl Runner for Peak {
    fn evaluate(&mut self) -> Result<Vec<f32>> {
        (self.run)(MACS);
        Ok(Vec::new())
    }

    fn picture(&mut self) -> Result<Vec<f32>> {
        (self.run)(EVALUATIONS * MACS);
        Ok(Vec::new())
    }
}

fn avx512_vnni(macs: usize) {
    /// Sums that are under way at once: at least the instruction's latency times its throughput.
    const CHAINS: usize = 12;
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn run(macs: usize) -> [__m512i; CHAINS] {
        let (a, b) = black_box((_mm512_set1_epi8(1), _mm512_set1_epi8(2)));
        let mut sums = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..macs / (64 * CHAINS) {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        sums
    }
    #[expect(unsafe_code, reason = "the features are found at run time")]
    // SAFETY: `Peak::new` names this function only where both features are there.
    black_box(unsafe { run(macs) });
}

fn avx2(macs: usize) {
    /// Fewer than the sixteen registers, with a weight each: the products must differ, lest they be computed once.
    const CHAINS: usize = 4;
    #[target_feature(enable = "avx2")]
    fn run(macs: usize) -> [__m256i; CHAINS] {
        let (mut a, ones) = black_box((_mm256_set1_epi8(1), _mm256_set1_epi16(1)));
        let weights: [_; CHAINS] = black_box([2, 3, 5, 7].map(|weight| _mm256_set1_epi8(weight)));
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..macs / (32 * CHAINS) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, weight), ones));
            }
            a = _mm256_xor_si256(a, ones);
        }
        sums
    }
    #[expect(unsafe_code, reason = "the features are found at run time")]
    // SAFETY: `Peak::new` names this function only where the feature is there.
    black_box(unsafe { run(macs) });
}
