//! Attention on int8 maps: what its loops are given, and the definition.

use super::{Isa, MAX_ROWS, Work};
use crate::conditioning::at;
use crate::real::floor;
use crate::requantize::{requantize, saturate};
use crate::shape::Shape;

/// Entries of the exponential's table.
pub const EXP_LEN: usize = 512;

/// `EXP[i]` ≈ peak · e^(−i · δ); the code generator chooses peak and δ.
pub type ExpTable = [i16; EXP_LEN];

/// Attention over all positions, ready to run on queries that lie in the output; see [`crate::kernel::AttentionInt8`].
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Of all maps.
    pub(crate) shape: Shape,
    /// Channels of a head, at least 1.
    pub(crate) width: usize,
    /// Of the queries.
    pub(crate) zero_point: i32,
    /// Of scores' requantisation.
    pub(crate) shift: u32,
    /// The same.
    pub(crate) multiplier: i32,
    /// The exponential; falls from its first entry.
    pub(crate) exp: &'a ExpTable,
    /// Through the sum of a row's weights: its factor.
    pub(crate) ratio: f32,
    /// Of the output, in 1/256.
    pub(crate) offset: i32,
    /// A map.
    pub(crate) keys: &'a [i8],
    /// A map.
    pub(crate) values: &'a [i8],
}

impl Attention<'_> {
    /// Positions of the maps.
    #[inline(always)]
    pub(crate) const fn positions(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// What a row's weighted sums are multiplied by, `total` being the sum of its weights.
    #[inline(always)]
    pub(crate) fn factor(&self, total: i32) -> i32 {
        floor(self.ratio / total as f32 + 0.5)
    }
}

/// 32-bit words of the definition's scratch: `rows` rows of scores, as many rows of one head, all of one head's keys.
pub(super) const fn scratch_words(rows: usize, positions: usize, width: usize) -> usize {
    rows * (positions + width) + (positions * width).div_ceil(4)
}

/// See [`Isa::attention`].
#[inline(always)]
pub(super) fn run<I: Isa>(attention: &Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
    const { assert!(I::ROWS > 0 && I::ROWS <= MAX_ROWS, "so many rows have a place each") };
    let (channels, width, positions) = (attention.shape.channels, attention.width, attention.positions());
    let Some((scores, rest)) = scratch.split_at_mut_checked(I::ROWS * positions) else { return };
    let Some((words, rest)) = rest.split_at_mut_checked(I::ROWS * width) else { return };
    let keys: &mut [i8] = bytemuck::try_cast_slice_mut(rest).unwrap_or_default();
    let Some(keys) = keys.get_mut(..positions * width) else { return };
    for first in (0..channels).step_by(width) {
        // Keys side by side, so that scores are weighted sums as well.
        for (position, pixel) in attention.keys.chunks_exact(channels.max(1)).enumerate() {
            let pixel = pixel.get(first..first + width).unwrap_or_default();
            for (keys, key) in keys.chunks_exact_mut(positions.max(1)).zip(pixel) {
                if let Some(place) = keys.get_mut(position) {
                    *place = *key;
                }
            }
        }
        let values = attention.values.get(first..).unwrap_or_default();
        for rows in output.chunks_mut((I::ROWS * channels).max(1)) {
            // One row's lengths are known to the compiler then.
            let count = if I::ROWS == 1 { 1 } else { rows.len() / channels.max(1) };
            let (scores, words) = (&mut scores[..count * positions], &mut words[..count * width]);
            for (queries, row) in words.chunks_exact_mut(width.max(1)).zip(rows.chunks_exact(channels.max(1))) {
                let row = row.get(first..first + width).unwrap_or_default();
                queries.iter_mut().zip(row).for_each(|(query, q)| *query = i32::from(*q) - attention.zero_point);
            }
            I::weighted_rows(count, words, keys, positions, scores);
            let mut factors = [0; MAX_ROWS];
            for (factor, scores) in factors.iter_mut().zip(scores.chunks_exact_mut(positions.max(1))) {
                *factor = attention.factor(I::vectorize(Softmax { attention, scores }));
            }
            I::weighted_rows(count, scores, values, channels, words);
            let rows = rows.chunks_exact_mut(channels.max(1)).zip(words.chunks_exact(width.max(1))).zip(factors);
            for ((row, sums), factor) in rows {
                let row = row.get_mut(first..first + width).unwrap_or_default();
                I::vectorize(Normalise { sums, factor, offset: attention.offset, row });
            }
        }
    }
}

/// Scores become weights; their sum.
struct Softmax<'a> {
    attention: &'a Attention<'a>,
    scores: &'a mut [i32],
}

impl Work for Softmax<'_> {
    type Output = i32;

    #[inline(always)]
    fn run(self) -> i32 {
        let Self { attention: Attention { shift, multiplier, exp, .. }, scores } = self;
        let largest = scores.iter().fold(i32::MIN, |a, &b| if a > b { a } else { b });
        for score in &mut *scores {
            *score = requantize(largest.wrapping_sub(*score), *shift, *multiplier);
        }
        let mut total = 0i32;
        for score in scores {
            *score = i32::from(at(*exp, *score as usize));
            total = total.wrapping_add(*score);
        }
        total
    }
}

/// A row of weighted sums, divided by the weights' sum.
struct Normalise<'a> {
    sums: &'a [i32],
    factor: i32,
    offset: i32,
    row: &'a mut [i8],
}

impl Work for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, sum) in self.row.iter_mut().zip(self.sums) {
            let scaled = ((i64::from(*sum) * i64::from(self.factor)) >> 32) as i32;
            *out = saturate(scaled.saturating_add(self.offset) >> 8);
        }
    }
}
