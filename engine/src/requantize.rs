//! From a 32-bit sum to 8 bits, or 12: the one definition of rounding in int8 networks.
//!
//! The real factor `sum's scale ÷ output's scale` is `multiplier · 2^(shift − 32)`. The sum is shifted up first, so
//! that one rounding of the high half of a 64-bit product remains: SMMULR on a Cortex-M4, VQRDMULH with half the
//! multiplier on Helium and NEON. Ties go up (towards +∞). Pictures' CRCs rest on this; it never changes.

/// `⌊(acc · 2^shift · multiplier + 2³¹) / 2³²⌋`.
///
/// `multiplier` is even and in `(0, 2³¹)`; `|acc · 2^shift| ≤ 2³¹ − 1`, so that the result is within ±2³⁰. Higher bits
/// of the shifted sum are lost.
#[must_use]
#[inline]
pub const fn requantize(acc: i32, shift: u32, multiplier: i32) -> i32 {
    let product = acc.wrapping_shl(shift) as i64 * multiplier as i64;
    ((product + (1 << 31)) >> 32) as i32
}

/// `value` held to −128 … 127.
#[must_use]
#[inline]
pub const fn saturate(value: i32) -> i8 {
    if value < -128 {
        -128
    } else if value > 127 {
        127
    } else {
        value as i8
    }
}

/// Entries of an activation's [`Table`].
pub const TABLE_LEN: usize = 1024;

/// An activation from a requantised sum of 10 bits to int8: entry `i` holds its value at `i − 512`.
///
/// Ten bits, because an activation's argument has a wider range than its value: from eight, the argument's rounding
/// would lose more than the value's.
pub type Table = [i8; TABLE_LEN];

/// The entry for `index`, which is held to −512 … 511.
#[must_use]
#[inline]
pub const fn look_up(table: &Table, index: i32) -> i8 {
    let entry = index + TABLE_LEN as i32 / 2;
    if entry < 0 {
        table[0]
    } else if entry < TABLE_LEN as i32 {
        table[entry as usize]
    } else {
        table[TABLE_LEN - 1]
    }
}

/// Steps of a fine code in one of int8's. Fine codes have 12 bits, −2048 to 2047, in int16: a map of them is 16 times as
/// fine as one of int8, and its convolutions' sums stay in int32 for more than 4,000 taps.
pub const FINE: i32 = 16;
/// Fine codes go from −2048 to 2047.
pub const FINE_HALF: i32 = 128 * FINE;
/// Knots of a [`FineTable`], less one.
const INTERVALS: usize = 256;
/// Indices from one knot of a [`FineTable`] to the next.
pub const FINE_INTERVAL: i32 = 64;
/// Indices of a [`FineTable`] go from −8192 to 8191.
pub const FINE_INDEX_HALF: i32 = FINE_INTERVAL * INTERVALS as i32 / 2;

/// An activation from a requantised sum of 14 bits to a fine code: knot `i` holds its value at `64·i − 8192`, and lines
/// join the knots.
pub type FineTable = [i16; INTERVALS + 1];

/// The fine code for `index`, which is held to −8192 … 8191: `a + ⌊((b − a)·part + 32) / 64⌋` between knots `a` and `b`.
#[must_use]
#[inline]
pub const fn interpolate(table: &FineTable, index: i32) -> i32 {
    let place = index.saturating_add(FINE_INDEX_HALF);
    let place = if place < 0 { 0 } else { place as usize };
    let last = INTERVALS * FINE_INTERVAL as usize - 1;
    between_knots(table, if place > last { last } else { place })
}

/// [`interpolate`] at a place that counts from the first knot, below 2¹⁴.
#[must_use]
#[inline(always)]
pub(crate) const fn between_knots(table: &FineTable, place: usize) -> i32 {
    let (knot, part) = (place / FINE_INTERVAL as usize % INTERVALS, (place % FINE_INTERVAL as usize) as i32);
    let (a, b) = (table[knot] as i32, table[knot + 1] as i32);
    a + (((b - a) * part + FINE_INTERVAL / 2) >> FINE_INTERVAL.ilog2())
}

/// How a convolution's sums become int8: a factor a channel, one shift, one zero point.
#[derive(Clone, Copy, Debug)]
pub struct Requantize<'a> {
    /// See [`requantize`].
    pub shift: u32,
    /// One an output channel; see [`requantize`].
    pub multipliers: &'a [i32],
    /// Of the output, −128 to 127; or of the table's index where a table follows, −512 to 511. With
    /// [`crate::epilogue::FineEpilogue`] −2048 to 2047 and −8192 to 8191.
    pub zero_point: i32,
}

impl Requantize<'_> {
    /// Channel `channel`'s sum as int8, through the table if there is one.
    #[must_use]
    #[inline]
    pub fn apply(&self, acc: i32, channel: usize, table: Option<&Table>) -> i8 {
        let multiplier = self.multipliers.get(channel).copied().unwrap_or_default();
        let index = requantize(acc, self.shift, multiplier) + self.zero_point;
        match table {
            Some(table) => look_up(table, index),
            None => saturate(index),
        }
    }

    /// Whether the parameters are in range for `channels` channels and indices from −`half` to `half` − 1.
    pub(crate) const fn is_valid(&self, channels: usize, half: i32) -> bool {
        let mut valid =
            self.multipliers.len() == channels && self.shift < 32 && self.zero_point >= -half && self.zero_point < half;
        let mut channel = 0;
        while channel < self.multipliers.len() {
            valid = valid && is_multiplier(self.multipliers[channel]);
            channel += 1;
        }
        valid
    }
}

/// Whether [`requantize`] takes it.
pub(crate) const fn is_multiplier(multiplier: i32) -> bool {
    multiplier > 0 && multiplier % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF: i32 = 1 << 30; // with shift 1: a factor of ½

    #[test]
    fn ties_go_up() {
        let halves = [-3, -2, -1, 0, 1, 2, 3].map(|acc| requantize(acc, 1, HALF));
        assert_eq!(halves, [-1, -1, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn extremes() {
        let largest = i32::MAX - 1;
        assert_eq!(requantize(i32::MAX, 0, largest), (1 << 30) - 1);
        assert_eq!(requantize(i32::MIN, 0, largest), -(1 << 30) + 1);
        assert_eq!(requantize(1, 31, 2), -1, "bit 31 is the sign");
        assert_eq!([-1000, -129, -128, 127, 128, 1000].map(saturate), [-128, -128, -128, 127, 127, 127]);
    }

    #[test]
    fn table_starts_at_minus_512_and_holds_its_ends() {
        let table: Table = core::array::from_fn(|i| (i as i32 / 4 - 128) as i8);
        for index in -512..512i32 {
            assert_eq!(i32::from(look_up(&table, index)), index.div_euclid(4));
        }
        assert_eq!([i32::MIN / 2, -513, 512, i32::MAX / 2].map(|index| look_up(&table, index)), [-128, -128, 127, 127]);
    }

    #[test]
    fn lines_join_a_fine_tables_knots() {
        let table: FineTable = core::array::from_fn(|knot| [-2048, 2047, 100][knot % 3]);
        assert_eq!([-8192, -8128, -8064].map(|index| interpolate(&table, index)), [-2048, 2047, 100]);
        assert_eq!([-8160, -8191].map(|index| interpolate(&table, index)), [0, -1984]);
        assert_eq!(interpolate(&table, 8191), -2048 + ((4095 * 63 + 32) >> 6));
        assert_eq!([i32::MIN, i32::MAX].map(|index| interpolate(&table, index)), [-2048, interpolate(&table, 8191)]);
    }

    #[test]
    fn validity() {
        let good = Requantize { shift: 3, multipliers: &[2, i32::MAX - 1], zero_point: -128 };
        assert!(good.is_valid(2, 128));
        assert!(!good.is_valid(1, 128));
        assert!(Requantize { zero_point: -300, ..good }.is_valid(2, 512));
        assert!(!Requantize { multipliers: &[2, 3], ..good }.is_valid(2, 128));
        assert!(!Requantize { multipliers: &[2, 0], ..good }.is_valid(2, 128));
        assert!(!Requantize { shift: 32, ..good }.is_valid(2, 128));
        assert!(!Requantize { zero_point: 128, ..good }.is_valid(2, 128));
        assert_eq!(good.apply(5, 9, None), -128, "a channel without a multiplier gives the zero point");
    }

    proptest! {
        #[test]
        fn equals_the_formula(acc in any::<i32>(), shift in 0u32..31, multiplier in 1i32..1 << 30) {
            let (acc, multiplier) = (acc >> shift, multiplier * 2);
            let product = (i128::from(acc) << shift) * i128::from(multiplier);
            let expected = (product + (1 << 31)).div_euclid(1 << 32);
            prop_assert_eq!(i128::from(requantize(acc, shift, multiplier)), expected);
        }

        /// What VQRDMULH computes: the doubled product of the shifted sum and half the multiplier.
        #[test]
        fn equals_doubling_multiply(acc in any::<i32>(), half in 1i32..1 << 30) {
            let doubled = (2 * i64::from(acc) * i64::from(half) + (1 << 31)) >> 32;
            prop_assert_eq!(i64::from(requantize(acc, 0, 2 * half)), doubled);
        }
    }
}
