//! Samplers by name: `ddim-20`, `ancestral-100-large`, `pc-100-snr0.16`.

use std::str::FromStr;

use super::{Epsilon, Method, SamplerSpec, Spacing, Travel, Variance};
use crate::error::{Error, Result};
use crate::limits::quoted;

/// What a name may be, for messages.
const GRAMMAR: &str = "ddim-STEPS, ddim-STEPS-etaETA (0 ≤ ETA ≤ 1), dpm-STEPS, ancestral-STEPS, \
     ancestral-STEPS-large, langevin-STEPS-eachE-stepA, pc-STEPS-snrR or consistency-STEPS; any but dpm with time travel, \
     …-travelLxN";

impl FromStr for SamplerSpec {
    type Err = Error;

    /// A rule as [`Method::named`] reads it, with the steps after its first word, and, at the end, `-travelLxN`, see
    /// [`Travel`]. x̂0 clipped to 1; centred spacing, but trailing for consistency models, which are made to begin at pure
    /// noise.
    fn from_str(name: &str) -> Result<Self> {
        let wrong = || {
            Error::Model(format!(
                "sampler {}: not a name of the form {GRAMMAR}; examples: ddim-20, ddim-20-eta0.5, dpm-10, ancestral-100, \
                 ancestral-100-large, langevin-500-each5, pc-100-snr0.16, ancestral-50-travel5x2, consistency-2",
                quoted(name)
            ))
        };
        let (rest, travel) = match name.rsplit_once("-travel") {
            Some((rest, travel)) => (rest, Some(Travel::named(travel).ok_or_else(wrong)?)),
            None => (name, None),
        };
        let mut words = rest.splitn(3, '-');
        let (kind, steps, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
        let rule = rest.map_or_else(|| kind.to_string(), |rest| format!("{kind}-{rest}"));
        let method = Method::named(&rule).ok_or_else(wrong)?;
        let steps = steps.and_then(count).ok_or_else(wrong)?;
        let spacing = if method == Method::Consistency { Spacing::Trailing } else { Spacing::Centred };
        Ok(Self { name: name.into(), method, steps, spacing, clip: Some(1.0), travel })
    }
}

/// A number above 0, of digits alone.
fn count(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&count| plain && count > 0)
}

/// A number of digits and a point.
fn real(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|_| plain)
}

impl Travel {
    /// `LxN`: stretches of L time indices, each N times.
    fn named(text: &str) -> Option<Self> {
        let (length, times) = text.split_once('x')?;
        Some(Self { length: count(length)?, times: count(times)? })
    }
}

impl Method {
    /// The rule called `ddim`, `ddim-etaETA`, `dpm`, `ancestral`, `ancestral-large`, `consistency`, `langevin`, with
    /// `-eachE` steps a level and `-stepA` times σ², or `pc`, with `-snrR`; with DDIM, ε is recomputed.
    #[must_use]
    pub fn named(rule: &str) -> Option<Self> {
        let ddim = |eta| Self::Ddim { eta, epsilon: Epsilon::Recomputed };
        let mut words = rule.split('-');
        let kind = words.next()?;
        let options: Vec<&str> = words.collect();
        match (kind, &options[..]) {
            ("ddim", []) => Some(ddim(0.0)),
            ("ddim", [eta]) => real(eta.strip_prefix("eta")?).filter(|eta| *eta <= 1.0).map(ddim),
            ("dpm", []) => Some(Self::Dpm),
            ("ancestral", []) => Some(Self::Ancestral { variance: Variance::FixedSmall }),
            ("ancestral", ["large"]) => Some(Self::Ancestral { variance: Variance::FixedLarge }),
            ("consistency", []) => Some(Self::Consistency),
            ("langevin", options) => {
                let (each, step) = match options {
                    [] => (None, None),
                    [only] if only.starts_with("each") => (Some(only), None),
                    [only] => (None, Some(only)),
                    [each, step] => (Some(each), Some(step)),
                    _ => return None,
                };
                let each = each.map_or(Some(5), |each| count(each.strip_prefix("each")?))?;
                let step = step.map_or(Some(0.2), |step| real(step.strip_prefix("step")?))?;
                (step > 0.0 && step < 2.0).then_some(Self::Langevin { step, each })
            }
            ("pc", []) => Some(Self::Corrected { snr: 0.16 }),
            ("pc", [snr]) => {
                let snr = real(snr.strip_prefix("snr")?)?;
                (snr > 0.0 && snr <= 1.0).then_some(Self::Corrected { snr })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        let ddim = |eta| Method::Ddim { eta, epsilon: Epsilon::Recomputed };
        let ancestral = |variance| Method::Ancestral { variance };
        for (name, method, steps, spacing) in [
            ("ddim-20", ddim(0.0), 20, Spacing::Centred),
            ("ddim-20-eta0.5", ddim(0.5), 20, Spacing::Centred),
            ("ddim-1-eta1", ddim(1.0), 1, Spacing::Centred),
            ("dpm-8", Method::Dpm, 8, Spacing::Centred),
            ("ancestral-1000", ancestral(Variance::FixedSmall), 1000, Spacing::Centred),
            ("ancestral-100-large", ancestral(Variance::FixedLarge), 100, Spacing::Centred),
            ("consistency-2", Method::Consistency, 2, Spacing::Trailing),
            ("langevin-500", Method::Langevin { step: 0.2, each: 5 }, 500, Spacing::Centred),
            ("langevin-500-each10", Method::Langevin { step: 0.2, each: 10 }, 500, Spacing::Centred),
            ("langevin-500-step0.1", Method::Langevin { step: 0.1, each: 5 }, 500, Spacing::Centred),
            ("langevin-500-each4-step0.1", Method::Langevin { step: 0.1, each: 4 }, 500, Spacing::Centred),
            ("pc-100", Method::Corrected { snr: 0.16 }, 100, Spacing::Centred),
            ("pc-100-snr0.05", Method::Corrected { snr: 0.05 }, 100, Spacing::Centred),
        ] {
            let expected = SamplerSpec { name: name.into(), method, steps, spacing, clip: Some(1.0), travel: None };
            let back = SamplerSpec {
                name: format!("{name}-travel5x2"),
                travel: Some(Travel { length: 5, times: 2 }),
                ..expected.clone()
            };
            assert_eq!(back.name.parse::<SamplerSpec>().unwrap(), back);
            assert_eq!(name.parse::<SamplerSpec>().unwrap(), expected);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_grammar() {
        let names = "|ddim|ddim-|ddim-0|ddim-+5|ddim--5|ddim-20-|ddim-20 |DDIM-20|dpm|dpm-20-eta0.5|ddim-99999999999999999999\
                     |ddim-20-eta|ddim-20-eta1.5|ddim-20-eta-1|ddim-20-etaNaN|ddim-20-large\
                     |langevin|langevin-0|langevin-50-each|langevin-50-each0|langevin-50-step0|langevin-50-step2|langevin-50-stepx\
                     |langevin-50-step0.1-each5|langevin-50-each5-step0.1-x|pc|pc-4-snr|pc-4-snr0|pc-4-snr1.5|pc-4-snr-1\
                     |ddim-5-travel|ddim-5-travel2|ddim-5-travel0x2|ddim-5-travel2x0|ddim-5-travel2x2x2|ddim-5-travel2x-2\
                     |ddim-travel2x2|ddim-5-travel2x2-eta0.5|ancestral-x|ancestral-20-eta0.5|ancestral-100-large-2|consistency|consistency-2-eta0.5";
        for name in names.split('|') {
            let error = name.parse::<SamplerSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && error.contains("ancestral-100-large"), "{error}");
        }
    }
}
