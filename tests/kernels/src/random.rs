//! Numbers that look random and are the same everywhere.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 32 bits.
    pub const fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits >> 32) as u32
    }

    /// A whole number from 0 to `n` − 1; 0 where there is none.
    pub const fn below(&mut self, n: usize) -> usize {
        ((self.bits() as u64 * n as u64) >> 32) as usize
    }

    /// A whole number from `low` to `high`, both included.
    pub const fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Once in `n` times.
    pub const fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Fills with values of all sizes; now and then with the largest and smallest, or with one of them alone.
    pub fn fill<T: Copy>(&mut self, values: &mut [T], extremes: [T; 2], value: impl Fn(u32) -> T) {
        let [kind, low] = [self.below(8), self.below(2)];
        for out in values {
            let [least, most] = extremes;
            *out = match kind {
                0 => {
                    if low == 0 {
                        least
                    } else {
                        most
                    }
                }
                1 => {
                    if self.one_in(2) {
                        least
                    } else {
                        most
                    }
                }
                _ => value(self.bits()),
            };
        }
    }

    /// [`Self::fill`] for int8.
    pub fn fill_bytes(&mut self, values: &mut [i8]) {
        self.fill(values, [i8::MIN, i8::MAX], |bits| (bits >> 24) as i8);
    }

    /// The same for weights, which are no −128.
    pub fn fill_weights(&mut self, weights: &mut [i8]) {
        self.fill(weights, [-i8::MAX, i8::MAX], |bits| ((bits >> 24) as i8).max(-i8::MAX));
    }
}
