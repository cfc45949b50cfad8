//! What to draw, and why it may be refused.

use core::fmt;

/// What to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// The class; none for whatever the noise holds.
    pub label: Option<usize>,
    /// How far to go from the unlabelled prediction u towards the labelled one c and beyond: u + guidance · (c − u)
    /// (Ho and Salimans 2022). 1 is c itself and costs one evaluation a step instead of two; without a label it
    /// plays no part.
    pub guidance: f32,
}

/// Why a picture is not begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleError {
    /// Labels are `0..classes`.
    UnknownLabel {
        /// That was asked for.
        label: usize,
        /// That the network knows.
        classes: usize,
    },
    /// The guidance is infinite or not a number.
    Guidance(f32),
    /// The table draws on x̂0 of the step before, and the network was generated without a sampler that does.
    Multistep,
    /// Guidance other than 1 takes a second evaluation, and the model was generated without the memory for it.
    WithoutGuidance {
        /// That was asked for.
        guidance: f32,
    },
    /// The table has a corrector's rows, and the observer has no map for x̂0.
    Corrector,
    /// The table draws on the network's output but through x̂0, and the observer has a map for x̂0 alone.
    DrawsOnOutput,
    /// The given x, or an observer's map, is not as long as the network's map.
    WrongLength {
        /// Elements of the network's map.
        expected: usize,
        /// Elements that were given.
        got: usize,
    },
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLabel { label, classes } => write!(f, "label {label}: the network knows {classes} classes"),
            Self::Guidance(guidance) => write!(f, "guidance {guidance}: give a finite number"),
            Self::Multistep => {
                write!(f, "a multistep sampler: the network keeps no estimate; generate it with such a sampler")
            }
            Self::WithoutGuidance { guidance } => {
                write!(
                    f,
                    "guidance {guidance}: the model was generated without guidance; generate it with, or ask for 1"
                )
            }
            Self::Corrector => write!(f, "a corrector needs all of x̂0: give an observer with a map"),
            Self::DrawsOnOutput => {
                write!(
                    f,
                    "the sampler draws on the network's output itself, which an observer with a map cannot follow"
                )
            }
            Self::WrongLength { expected, got } => write!(f, "x has {got} elements, the network's map {expected}"),
        }
    }
}

impl core::error::Error for SampleError {}

impl Request {
    /// Whether it takes two evaluations a step.
    pub(crate) fn is_guided(self) -> bool {
        self.label.is_some() && self.guidance != 1.0
    }

    /// Whether a network of `classes` classes can do it.
    pub(crate) fn check(self, classes: usize) -> Result<(), SampleError> {
        if let Some(label) = self.label.filter(|label| *label >= classes) {
            return Err(SampleError::UnknownLabel { label, classes });
        }
        if self.guidance.is_finite() { Ok(()) } else { Err(SampleError::Guidance(self.guidance)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn labels_are_known_and_guidance_is_finite() {
        let check = |label, guidance| Request { label, guidance }.check(4).map_err(|error| error.to_string());
        assert_eq!(check(Some(3), -2.0), Ok(()));
        assert_eq!(check(None, 0.0), Ok(()));
        assert_eq!(check(Some(4), 1.0).unwrap_err(), "label 4: the network knows 4 classes");
        assert_eq!(check(Some(0), f32::NAN).unwrap_err(), "guidance NaN: give a finite number");
        assert_eq!(check(None, f32::INFINITY).unwrap_err(), "guidance inf: give a finite number");
        assert_eq!(check(None, f32::NEG_INFINITY).unwrap_err(), "guidance -inf: give a finite number");
        let without = SampleError::WithoutGuidance { guidance: 3.0 }.to_string();
        assert_eq!(without, "guidance 3: the model was generated without guidance; generate it with, or ask for 1");
        let wrong = SampleError::WrongLength { expected: 6, got: 5 };
        assert!(SampleError::Multistep.to_string().contains("multistep sampler"));
        assert_eq!(wrong.to_string(), "x has 5 elements, the network's map 6");
    }
}
