//! Values of any range to bytes, and the check that they are there.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Picture;
use super::options::{DataArgs, Range};

/// Bytes that reach no further than this are hardly pictures: 0 and 1, or 0 to 16, train a network that draws black.
const DARKEST: u8 = 32;

/// The byte of a value.
pub fn byte(value: f64, Range([black, white]): Range) -> u8 {
    ((value - black) / (white - black) * 255.0).round().clamp(0.0, 255.0) as u8
}

/// The range of an array's values, where it is plain from them: bytes, 16 bits that are used, 0 to 1, or −1 to 1.
///
/// # Errors
/// When values are not finite, or their range could be several; says what to give then.
pub fn range(name: &str, values: &[f32], kind: Kind, given: Option<Range>) -> Result<Range> {
    if let Some(i) = values.iter().position(|value| !value.is_finite()) {
        anyhow::bail!("{name}: value {i} is {}; replace what is no number, or leave these pictures out", values[i]);
    }
    if let Some(range) = given {
        return Ok(range);
    }
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let spread = |low, high| Ok(Range([low, high]));
    match kind {
        Kind::Truth => spread(0.0, 1.0),
        _ if low >= 0.0 && high <= 255.0 && high >= f32::from(DARKEST) => spread(0.0, 255.0),
        Kind::Whole if low >= 0.0 && high > 16_383.0 && high <= 65_535.0 => spread(0.0, 65_535.0),
        Kind::Real if low >= 0.0 && high <= 1.0 && high > 0.5 => spread(0.0, 1.0),
        Kind::Real if low >= -1.0 && high <= 1.0 && low < -0.5 => spread(-1.0, 1.0),
        _ => anyhow::bail!("{name}: values from {low} to {high}; say what black and white are: --range {low}..{high}"),
    }
}

/// What an array's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// False or true.
    Truth,
    /// Integers.
    Whole,
    /// Floating-point numbers.
    Real,
}

/// Least, mean and largest byte of all pictures.
///
/// # Errors
/// When they hold next to nothing: what to do is said.
pub fn check(path: &Path, args: &DataArgs, pictures: &[Picture], notes: &mut Vec<String>) -> Result<[f64; 3]> {
    let (mut low, mut high, mut sum, mut count, mut constant) = (u8::MAX, 0, 0u64, 0, 0);
    for picture in pictures {
        let (mut least, mut largest) = (u8::MAX, 0);
        for &value in &picture.pixels {
            (least, largest) = (least.min(value), largest.max(value));
            sum += u64::from(value);
        }
        count += picture.pixels.len();
        constant += usize::from(least == largest);
        (low, high) = (low.min(least), high.max(largest));
    }
    ensure!(
        high >= DARKEST || args.range.is_some(),
        "{}: all values lie between {low} and {high} of 255, nearly black; say what is white: --range 0..{}",
        path.display(),
        high.max(1)
    );
    ensure!(
        constant < pictures.len(),
        "{}: every picture is of one colour; there is nothing to learn{}",
        path.display(),
        if args.range.is_some() { " with this --range" } else { "" }
    );
    if constant > 0 {
        notes.push(format!("{constant} of {} pictures are of one colour alone", pictures.len()));
    }
    if high < 128 && args.range.is_none() {
        notes.push(format!("pictures are dark: no value is above {high} of 255; --range 0..{high} makes that white"));
    }
    Ok([low.into(), sum as f64 / count.max(1) as f64, high.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_plain_are_found_and_others_asked_for() {
        let found = |values: &[f32], kind| range("a", values, kind, None).map(|range| range.0);
        assert_eq!(found(&[0.0, 200.0], Kind::Whole).unwrap(), [0.0, 255.0]);
        assert_eq!(found(&[0.0, 60_000.0], Kind::Whole).unwrap(), [0.0, 65_535.0]);
        assert_eq!(found(&[0.0, 0.9], Kind::Real).unwrap(), [0.0, 1.0]);
        assert_eq!(found(&[-0.9, 0.9], Kind::Real).unwrap(), [-1.0, 1.0]);
        assert_eq!(found(&[0.0, 1.0], Kind::Truth).unwrap(), [0.0, 1.0]);
        for (values, kind) in [
            (&[0.0, 16.0][..], Kind::Real),
            (&[0.0, 1.0], Kind::Whole),
            (&[-5.0, 200.0], Kind::Whole),
            (&[0.0, 4095.0], Kind::Whole),
            (&[0.0, 1e6], Kind::Real),
        ] {
            assert!(found(values, kind).unwrap_err().to_string().contains("--range"), "{values:?}");
        }
        assert!(found(&[0.0, f32::NAN], Kind::Real).unwrap_err().to_string().contains("value 1 is NaN"));
        assert_eq!([-2.0, 0.0, 8.0, 16.0, 99.0].map(|value| byte(value, Range([0.0, 16.0]))), [0, 0, 128, 255, 255]);
        assert_eq!(byte(0.0, Range([1.0, 0.0])), 255, "black may be the larger value");
    }
}
