//! Sums of f32 in one order, whatever the strips that the terms come in.

/// A sum of sums of 32 terms: the order is that of the terms, so that every chip gets the same bits, and the error stays
/// below 2⁻²⁴ times (32 + the number of terms / 32) of the sum of magnitudes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    total: f32,
    part: f32,
    terms: u32,
}

impl Sum {
    /// Of no terms.
    pub const NONE: Self = Self { total: 0.0, part: 0.0, terms: 0 };

    /// Adds a term.
    #[inline]
    pub fn add(&mut self, term: f32) {
        self.part += term;
        self.terms += 1;
        if self.terms.is_multiple_of(32) {
            self.total += self.part;
            self.part = 0.0;
        }
    }

    /// The sum.
    #[must_use]
    pub fn value(self) -> f32 {
        self.total + self.part
    }

    /// How many terms there are.
    #[must_use]
    pub const fn terms(self) -> u32 {
        self.terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_are_accurate() {
        let (mut sum, mut exact) = (Sum::default(), 0.0_f64);
        for i in 0..100_000 {
            let term = 0.1 + (i % 7) as f32;
            sum.add(term);
            exact += f64::from(term);
        }
        assert!((f64::from(sum.value()) / exact - 1.0).abs() < 1e-5);
        assert_eq!(sum.terms(), 100_000);
    }
}
