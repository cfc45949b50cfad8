//! What attention works in.

#[cfg(target_arch = "arm")]
use super::layout::GROUP;
use super::layout::{CHANNELS, PIXELS, STEP, TILE};

/// Four rows of one head at a time: keys are the loops' channels in the first product, values' channels in the second.
///
/// Keys lie as weights of as many channels as there are positions, of a head's channels in steps of sixteen; values, the
/// other way round, as weights of a head's channels, of positions in steps of sixteen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Positions.
    pub positions: usize,
    /// Channels of a head.
    pub width: usize,
}

impl Layout {
    /// Pairs of keys, and steps of the first product.
    pub const fn scores(&self) -> [usize; 2] {
        [self.positions.div_ceil(CHANNELS), self.width.div_ceil(STEP)]
    }

    /// Pairs of a head's channels, and steps of the second product.
    pub const fn sums(&self) -> [usize; 2] {
        [self.width.div_ceil(CHANNELS), self.positions.div_ceil(STEP)]
    }

    /// 32-bit words of keys, values, queries, what scores start from, scores, weights, zeros, and sums.
    pub const fn parts(&self) -> [usize; 8] {
        let ([keys, key_steps], [channels, value_steps]) = (self.scores(), self.sums());
        [
            keys * key_steps * CHANNELS * STEP / 4,
            channels * value_steps * CHANNELS * STEP / 4,
            key_steps * PIXELS * STEP / 4,
            keys * TILE,
            keys * TILE,
            value_steps * PIXELS * STEP / 2,
            channels * TILE,
            channels * TILE,
        ]
    }

    /// 32-bit words of all scratch.
    pub const fn scratch_words(&self) -> usize {
        let (parts, mut words, mut index) = (self.parts(), 0, 0);
        while index < parts.len() {
            words += parts[index];
            index += 1;
        }
        words
    }
}

/// Where the first of a step's sixteen weights of channel 0 lies, among those of so many pairs and steps, and how far the
/// next pair's are, in bytes.
#[cfg(target_arch = "arm")]
pub(super) const fn place([pairs, steps]: [usize; 2], step: usize) -> [usize; 2] {
    let first = step / GROUP * GROUP;
    let group = if steps - first < GROUP { steps - first } else { GROUP };
    [(first * pairs + step - first) * CHANNELS * STEP, group * CHANNELS * STEP]
}
