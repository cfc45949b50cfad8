//! The kinds of numbers on the command line, in one table: each is parsed and held to its range in one place, so that a
//! flag out of range is an error before anything is read or computed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Reads a number that lies in a range.
///
/// # Errors
/// Says what the number must be.
fn within<T: FromStr + PartialOrd + Display>(text: &str, range: &RangeInclusive<T>, what: &str) -> Result<T, String> {
    let value = text.trim().parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("give {what}, {} to {}", range.start(), range.end()))
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $range:expr, $what:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// Says what the number must be; NaN is in no range.
            pub fn $name(text: &str) -> Result<$type, String> {
                within(text, &$range, $what)
            }
        )*
    };
}

kinds! {
    /// A part of a whole.
    share: f64 = 0.0..=1.0, "a share";
    /// The decay of a moving average; 1 would never learn.
    decay: f64 = 0.0..=0.999_999, "a decay";
    /// A learning rate.
    rate: f64 = 1e-12..=1e6, "a learning rate";
    /// A value that must be above 0.
    positive: f64 = 1e-9..=1e9, "a number above 0";
    /// A difference, of either sign.
    difference: f64 = -1e9..=1e9, "a number";
    /// A weight of a part of a loss.
    weight: f64 = 0.0..=1e9, "a weight";
    /// A weight of classifier-free guidance.
    guidance: f64 = 0.0..=100.0, "a weight of guidance";
    /// The same in f32.
    guidance32: f32 = 0.0..=100.0, "a weight of guidance";
    /// The share of values outside either end of a range.
    outliers: f64 = 0.0..=0.49, "a share of values outside either end";
    /// A standard deviation of noise on pixels in [−1, 1].
    sigma: f64 = 0.0..=10.0, "a standard deviation";
    /// Updates of a training.
    updates: u64 = 1..=1_000_000_000, "a number of updates";
    /// Updates of which there may be none.
    updates_or_none: u64 = 0..=1_000_000_000, "a number of updates";
    /// Pictures of an update.
    batch: i64 = 1..=65_536, "a number of pictures";
    /// Pictures that are drawn or compared.
    pictures: u64 = 1..=10_000_000, "a number of pictures";
    /// The same, signed.
    pictures_signed: i64 = 1..=10_000_000, "a number of pictures";
    /// Pictures of a set whose covariance is measured.
    set: u64 = 10..=10_000_000, "a number of pictures";
    /// Pictures of which there may be none.
    pictures_or_none: u32 = 0..=10_000_000, "a number of pictures";
    /// Resamples of an interval.
    resamples: u64 = 2..=1_000_000, "a number of resamples";
    /// Time indices.
    times: usize = 1..=100_000, "a number of time indices";
    /// Evaluations of a sampler.
    evaluations: usize = 1..=1_000, "a number of evaluations";
    /// Channels of a map.
    channels: usize = 1..=4_096, "a number of channels";
    /// Blocks of a stage.
    blocks: usize = 0..=64, "a number of blocks";
    /// Pixels by which pictures are moved.
    shift: i64 = 0..=64, "a number of pixels";
    /// Threads.
    threads: usize = 1..=1_024, "a number of threads";
    /// Passes over a training set.
    epochs: i64 = 1..=10_000, "a number of passes";
    /// Networks that are trained beside.
    classifiers: u64 = 1..=64, "a number of classifiers";
    /// Hours.
    hours: f64 = 0.001..=10_000.0, "hours";
}

/// The width of a vector of sines and cosines, which come in pairs.
///
/// # Errors
/// Says what the number must be.
pub fn embedding(text: &str) -> Result<usize, String> {
    let width = within(text, &(2..=4_096), "an even width")?;
    if width % 2 == 0 { Ok(width) } else { Err("give an even width: sines and cosines come in pairs".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_out_of_range_is_refused() {
        for text in ["", "nan", "inf", "-inf", "-1", "1e99", "one", "1,5"] {
            assert!(share(text).is_err() && rate(text).is_err() && guidance32(text).is_err(), "{text}");
            assert!(batch(text).is_err() && times(text).is_err() && sigma(text).is_err(), "{text}");
        }
        assert_eq!((share("1"), share("0"), embedding("8"), blocks("0")), (Ok(1.0), Ok(0.0), Ok(8), Ok(0)));
        assert!(share("1.5").unwrap_err().contains("a share, 0 to 1"));
        assert!(embedding("7").unwrap_err().contains("even"));
        assert!(rate("0").is_err() && batch("0").is_err() && decay("1").is_err() && decay("2").is_err());
    }
}
