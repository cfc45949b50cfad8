//! Which time indices a sampler visits.

/// Which time indices out of `0..T` the n steps visit (Lin et al. 2023, table 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Multiples of ⌊T/n⌋, plus `offset`: ends at `offset`, starts below T − 1.
    Leading {
        /// Added to every time index.
        offset: usize,
    },
    /// T − 1, then down by T/n, rounded: starts where training ended.
    Trailing,
    /// n points from T − 1 to 0, both met, rounded.
    Linspace,
    /// The middles of n equal parts of `0..T`: ⌊(i + ½)·T/n⌋. Where ᾱ nearly vanishes at T − 1, as on the
    /// cosine schedule, x̂0 there is the network's rounding error times 20,000; half a part earlier it is an
    /// estimate, and the last step stands closer to the picture.
    Centred,
    /// These n time indices, falling.
    Listed(Vec<usize>),
}

impl Spacing {
    /// `steps` time indices, falling, for T = `train_steps`.
    ///
    /// # Errors
    /// The reason: no steps, more than T, an offset that leads past T − 1, or a list of another length, out of order
    /// or past T − 1.
    pub fn time_indices(&self, steps: usize, train_steps: usize) -> Result<Vec<usize>, String> {
        let (n, total) = (steps, train_steps);
        if !(1..=total).contains(&n) {
            return Err(format!("{n} steps; the model was trained with T = {total}, give 1 to {total}"));
        }
        // Rounding goes to even as numpy's does, and the products are formed in its order, because ties occur.
        Ok(match self {
            Self::Leading { offset } => {
                let stride = total / n;
                let room = total - 1 - (n - 1) * stride;
                if *offset > room {
                    return Err(format!("an offset of {offset} leads past T = {total}; at most {room}"));
                }
                (0..n).rev().map(|i| i * stride + offset).collect()
            }
            Self::Trailing => {
                let start = total as f64;
                let stride = (start - start / n as f64) - start;
                (0..n).map(|i| (start + i as f64 * stride).round_ties_even() as usize - 1).collect()
            }
            Self::Centred => (0..n).rev().map(|i| (2 * i + 1) * total / (2 * n)).collect(),
            Self::Linspace if n == 1 => vec![0],
            Self::Linspace => {
                let stride = (total - 1) as f64 / (n - 1) as f64;
                (0..n).rev().map(|i| (i as f64 * stride).round_ties_even() as usize).collect()
            }
            Self::Listed(times) => {
                if times.len() != n {
                    return Err(format!("{n} steps, but {} time indices", times.len()));
                }
                if let Some(t) = times.iter().find(|t| **t >= total) {
                    return Err(format!("time index {t}; the model was trained with T = {total}"));
                }
                if let Some(pair) = times.windows(2).find(|pair| pair[0] <= pair[1]) {
                    return Err(format!("time index {} after {}; they must fall", pair[1], pair[0]));
                }
                times.clone()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacings_meet_their_ends() {
        let times = |spacing: &Spacing, steps| spacing.time_indices(steps, 1000);
        assert_eq!(times(&Spacing::Leading { offset: 0 }, 4).unwrap(), [750, 500, 250, 0]);
        assert_eq!(times(&Spacing::Leading { offset: 1 }, 4).unwrap(), [751, 501, 251, 1]);
        assert_eq!(times(&Spacing::Trailing, 4).unwrap(), [999, 749, 499, 249]);
        assert_eq!(times(&Spacing::Centred, 4).unwrap(), [875, 625, 375, 125]);
        assert_eq!(times(&Spacing::Linspace, 4).unwrap(), [999, 666, 333, 0]);
        let all: Vec<usize> = (0..1000).rev().collect();
        for spacing in [Spacing::Leading { offset: 0 }, Spacing::Trailing, Spacing::Linspace, Spacing::Centred] {
            assert_eq!(times(&spacing, 1000).unwrap(), all);
            assert_eq!(times(&spacing, 1).unwrap().len(), 1);
        }
        let error = times(&Spacing::Leading { offset: 250 }, 4).unwrap_err();
        assert!(error.contains("at most 249"), "{error}");
        let error = times(&Spacing::Trailing, 1001).unwrap_err();
        assert!(error.contains("give 1 to 1000"), "{error}");
    }

    #[test]
    fn lists_are_checked() {
        let listed = |times: &[usize]| Spacing::Listed(times.to_vec()).time_indices(2, 1000);
        assert_eq!(listed(&[999, 0]).unwrap(), [999, 0]);
        for (times, words) in
            [(&[1000, 0][..], "index 1000"), (&[7, 7], "7 after 7"), (&[7, 9], "9 after 7"), (&[7], "2 steps, but 1")]
        {
            let error = listed(times).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
