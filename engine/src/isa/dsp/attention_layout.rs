//! What attention works in.

/// Rows that are computed together.
pub(super) const ROWS: usize = 4;
/// Keys, or channels of values, that are computed together.
pub(super) const COLUMNS: usize = 2;
/// Taps of a step: the bytes of a word.
pub(super) const STEP: usize = 4;

/// Four rows of one head at a time.
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
        [self.positions.div_ceil(COLUMNS), self.width.div_ceil(STEP)]
    }

    /// Pairs of a head's channels, and steps of the second product.
    pub const fn sums(&self) -> [usize; 2] {
        [self.width.div_ceil(COLUMNS), self.positions.div_ceil(STEP)]
    }

    /// 32-bit words of keys and values, `[pairs][steps][2]` each; queries and weights, `[steps][2][4 rows]` each; scores,
    /// which sums take the place of, `[pairs][4 rows][2]`.
    pub const fn parts(&self) -> [usize; 5] {
        let ([keys, key_steps], [channels, value_steps]) = (self.scores(), self.sums());
        let most = if keys > channels { keys } else { channels };
        [
            keys * key_steps * COLUMNS,
            channels * value_steps * COLUMNS,
            key_steps * 2 * ROWS,
            value_steps * 2 * ROWS,
            most * ROWS * COLUMNS,
        ]
    }

    /// 32-bit words of all scratch.
    pub const fn scratch_words(&self) -> usize {
        let [keys, values, queries, weights, scores] = self.parts();
        keys + values + queries + weights + scores
    }
}
