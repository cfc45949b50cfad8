//! Gaussian noise that is the same to the bit on every chip: Philox for the bits, Box–Muller for the shape.

use core::convert::Infallible;

use rand_core::{Rng, TryRng, utils};

use crate::real::cos_sin;

/// Values of noise that are drawn at once: even, so that [`Gaussian`] throws away no value but an odd map's last.
pub(crate) const CHUNK: usize = 32;

/// A source of noise.
pub trait Noise {
    /// Fills `z` with independent draws from N(0, 1).
    fn fill(&mut self, z: &mut [f32]);
}

impl<N: Noise + ?Sized> Noise for &mut N {
    fn fill(&mut self, z: &mut [f32]) {
        (**self).fill(z);
    }
}

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a counter through ten rounds
/// of a keyed mixing: no state but a position, and independent streams without jumping ahead.
///
/// The seed is the key; the counter's low half is the position, its high half the stream. Words come in the order of
/// the reference implementation, Random123.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    /// Words of the block that have been given out.
    used: usize,
}

impl Philox {
    /// Stream `stream` of seed `seed`. Picture number i of a seed uses stream i.
    #[must_use]
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, 0, stream as u32, (stream >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }
}

/// The ten rounds. Constants: the paper's section 4.3; the key's steps are the golden ratio and √3 − 1.
fn philox([mut k0, mut k1]: [u32; 2], [mut c0, mut c1, mut c2, mut c3]: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let low = u64::from(c0) * 0xd251_1f53;
        let high = u64::from(c2) * 0xcd9e_8d57;
        (c0, c1) = ((high >> 32) as u32 ^ c1 ^ k0, high as u32);
        (c2, c3) = ((low >> 32) as u32 ^ c3 ^ k1, low as u32);
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    [c0, c1, c2, c3]
}

impl TryRng for Philox {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if let Some(word) = self.block.get(self.used) {
            self.used += 1;
            return Ok(*word);
        }
        self.block = philox(self.key, self.counter);
        let [low, high, ..] = &mut self.counter;
        let carry;
        (*low, carry) = low.overflowing_add(1);
        *high = high.wrapping_add(carry.into());
        self.used = 1;
        Ok(self.block[0])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

/// Box and Muller's transform (1958) of any generator: of each two words n₁, n₂
///
/// ```text
/// u₁ = (n₁ + 1) · 2⁻³² in (0, 1],  u₂ = ⌊n₂ / 2⁸⌋ · 2⁻²⁴ in [0, 1)
/// z₀ = √(−2 ln u₁) · cos 2πu₂,  z₁ = √(−2 ln u₁) · sin 2πu₂
/// ```
///
/// in f32: |z| ≤ 6.67. Where an odd number of values is wanted, the last z₁ is thrown away.
///
/// A picture's CRC rests on these bits. The logarithm is `libm`'s: versions 0.2.7 to 0.2.16 give the same bits for every
/// u₁. `cargo test -p grano noise` finds out whether a later version does; where it does not, `cargo update -p libm
/// --precise 0.2.16` brings the pictures back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaussian<R>(
    /// The generator.
    pub R,
);

impl<R: Rng> Noise for Gaussian<R> {
    fn fill(&mut self, z: &mut [f32]) {
        for pair in z.chunks_mut(2) {
            let radius = radius(self.0.next_u32());
            let values = cos_sin(self.0.next_u32() >> 8).map(|direction| radius * direction);
            pair.iter_mut().zip(values).for_each(|(z, value)| *z = value);
        }
    }
}

/// √(−2 ln u₁) of u₁ = (word + 1) · 2⁻³².
#[inline(always)]
fn radius(word: u32) -> f32 {
    crate::isa::sqrt(-2.0 * libm::logf((word as f32 + 1.0) * (1.0 / 4_294_967_296.0)))
}

/// A map of noise, of which a chunk is kept. Chunks lie at multiples of [`CHUNK`], so that the values are those of one
/// [`Noise::fill`] of the map, and do not depend on the strips.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<N> {
    noise: N,
    z: [f32; CHUNK],
    /// Values of the map that have been drawn.
    drawn: usize,
}

impl<N: Noise> Chunks<N> {
    /// Before the first.
    pub(crate) const fn new(noise: N) -> Self {
        Self { noise, z: [0.0; CHUNK], drawn: 0 }
    }

    /// Before the first of another map.
    pub(crate) fn restart(&mut self) {
        self.drawn = 0;
    }

    /// From element `first` to the end of its chunk, in a map of `len`; strips come in order.
    pub(crate) fn at(&mut self, first: usize, len: usize) -> &[f32] {
        while self.drawn <= first {
            let (chunk, _) = self.z.split_at_mut(CHUNK.min(len - self.drawn));
            self.noise.fill(chunk);
            self.drawn += CHUNK;
        }
        self.z.get(first % CHUNK..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    /// `kat_vectors` of Random123 1.14, lines `philox4x32 10`.
    #[test]
    fn known_answers() {
        let zeros = philox([0; 2], [0; 4]);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox([u32::MAX; 2], [u32::MAX; 4]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn words_come_block_by_block() {
        let mut rng = Philox::new(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e);
        let words: Vec<u32> = (0..10).map(|_| rng.next_u32()).collect();
        let blocks = (0..3).flat_map(|i| philox([0xa409_3822, 0x299f_31d0], [i, 0, 0x1319_8a2e, 0x0370_7344]));
        assert_eq!(words, blocks.take(10).collect::<Vec<u32>>());
    }

    #[test]
    fn counter_carries_into_its_second_word_only() {
        let mut rng = Philox { counter: [u32::MAX, u32::MAX, 5, 6], ..Philox::new(1, 0) };
        rng.next_u32();
        assert_eq!(rng.counter, [0, 0, 5, 6]);
        let mut rng = Philox { counter: [u32::MAX, 7, 5, 6], ..Philox::new(1, 0) };
        rng.next_u32();
        assert_eq!(rng.counter, [0, 8, 5, 6]);
    }

    #[test]
    fn bytes_and_long_words_are_the_same_stream() {
        let words = [(); 4].map({
            let mut rng = Philox::new(3, 4);
            move |()| rng.next_u32()
        });
        let mut bytes = [0; 15];
        Philox::new(3, 4).fill_bytes(&mut bytes);
        assert_eq!(bytes[..], words.map(u32::to_le_bytes).concat()[..15]);
        assert_eq!(Philox::new(3, 4).next_u64(), u64::from(words[0]) | u64::from(words[1]) << 32);
    }

    fn sample(seed: u64, stream: u64, len: usize) -> Vec<f64> {
        let mut z = vec![0.0; len];
        Gaussian(Philox::new(seed, stream)).fill(&mut z);
        z.into_iter().map(f64::from).collect()
    }

    const N: usize = 1 << 20;

    /// Each moment's standard error over n draws is √(v/n), v being the variance of zᵏ: 1, 2, 15, 96 (k = 4).
    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        let z = sample(2024, 0, N);
        let moment = |k: i32| z.iter().map(|z| z.powi(k)).sum::<f64>() / N as f64;
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error = (moment(k) - expected) / (variance / N as f64).sqrt();
            assert!(error.abs() < 4.0, "moment {k} is {error} standard errors off");
        }
        assert!(z.iter().all(|z| z.abs() <= 6.67));
    }

    /// Kolmogorov–Smirnov: √n·D exceeds 1.95 once in a thousand.
    #[test]
    fn distribution_is_normal() {
        let mut z = sample(7, 1, N);
        z.sort_by(f64::total_cmp);
        let cdf = |z: f64| 0.5 * libm::erfc(-z / core::f64::consts::SQRT_2);
        let distance = z.iter().enumerate().map(|(i, z)| {
            let p = cdf(*z);
            (p - i as f64 / N as f64).abs().max(((i + 1) as f64 / N as f64 - p).abs())
        });
        let statistic = distance.fold(0.0, f64::max) * (N as f64).sqrt();
        assert!(statistic < 1.95, "{statistic}");
    }

    /// Correlations of independent draws have a standard error of 1/√n; squares are checked as Box–Muller's pairs
    /// share a radius. Lag 1 is within and between pairs, lag 2 the next pair, 28 a row, 784 a picture.
    #[test]
    fn draws_streams_and_seeds_are_uncorrelated() {
        let z = sample(1, 0, N);
        let check = |other: &[f64], name: &str| {
            let n = other.len().min(N);
            let plain = z.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / (n as f64).sqrt();
            let squares =
                z.iter().zip(other).map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / (4.0 * n as f64).sqrt();
            assert!(plain.abs() < 4.0 && squares.abs() < 4.0, "{name}: {plain} {squares}");
        };
        for lag in [1, 2, 3, 4, 28, 784] {
            check(&z[lag..], &std::format!("lag {lag}"));
        }
        check(&sample(1, 1, N), "next stream");
        check(&sample(2, 0, N), "next seed");
    }

    #[test]
    fn extremes_are_finite() {
        struct Constant(u32);
        impl TryRng for Constant {
            type Error = Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                Ok(self.0)
            }
            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                utils::next_u64_via_u32(self)
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
                utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
            }
        }
        let mut z = [0.0; 2];
        Gaussian(Constant(0)).fill(&mut z);
        assert!((z[0] - 6.660_437).abs() < 1e-5 && z[1] == 0.0, "{z:?}");
        Gaussian(Constant(u32::MAX)).fill(&mut z);
        assert_eq!(z, [0.0; 2]);
    }

    #[test]
    fn chunks_are_the_noise_of_the_whole_map() {
        for len in [1, 2, 31, 32, 33, 63, 64, 65, 100] {
            let (mut whole, mut chunked) = (Gaussian(Philox::new(5, 1)), Gaussian(Philox::new(5, 1)));
            let mut z = vec![0.0; len];
            whole.fill(&mut z);
            for stride in [1, 3, 40] {
                chunked = Gaussian(Philox::new(5, 1));
                let mut chunks = Chunks::new(&mut chunked);
                for first in (0..len).step_by(stride).chain([len - 1]) {
                    assert_eq!(chunks.at(first, len)[0], z[first], "element {first} of {len}");
                }
            }
            assert_eq!(chunked, whole, "as much was drawn");
        }
    }

    #[test]
    fn odd_lengths_drop_the_last_sine() {
        assert_eq!(sample(5, 0, 7), sample(5, 0, 8)[..7]);
        let mut noise = Gaussian(Philox::new(5, 0));
        let mut z = [0.0; 10];
        noise.fill(&mut z[..3]);
        noise.fill(&mut z[3..]);
        assert_eq!(f64::from(z[3]), sample(5, 0, 8)[4]);
    }

    /// Every radius and every direction that a word can give.
    #[test]
    fn checksums_of_all_radii_and_directions_are_frozen() {
        // From 2²⁵ on, word + 1 rounds to the words that are an f32, and at last to 2³².
        let rounded = (0x4c00_0000..0x4f80_0000).map(|bits| f32::from_bits(bits) as u32);
        let words = (0..1 << 25).chain(rounded).chain([u32::MAX]);
        assert_eq!(checksum(words.map(radius)), 0x426d_d973);
        assert_eq!(checksum((0..1 << 24).flat_map(cos_sin)), 0x9df7_487a);
    }

    /// The CRC-32 (IEEE) of the values' bits, least significant byte first.
    fn checksum(values: impl Iterator<Item = f32>) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        values.for_each(|value| crc.update(&value.to_bits().to_le_bytes()));
        crc.finalize()
    }

    /// They are within 4e-7 of a computation in double precision.
    #[test]
    fn bits_are_frozen() {
        let mut z = [0.0; 8];
        Gaussian(Philox::new(0, 0)).fill(&mut z);
        let frozen =
            [0x3f7d_bb34, 0xbf6c_b6ad, 0xbf1e_1ba1, 0xbef6_d1ad, 0xbe1d_534e, 0x3e39_2a6c, 0x3f54_ec98, 0x3e4a_2d9a];
        assert_eq!(z.map(f32::to_bits), frozen);
    }
}
