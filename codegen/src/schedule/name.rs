//! Samplers by name: `ddim-20`, `ancestral-100-large`.

use std::str::FromStr;

use super::{Epsilon, Method, SamplerSpec, Spacing, Variance};
use crate::error::{Error, Result};
use crate::limits::quoted;

impl FromStr for SamplerSpec {
    type Err = Error;

    /// `ddim-STEPS`, `ddim-STEPS-etaETA`, `dpm-STEPS`, `ancestral-STEPS` (β̃), `ancestral-STEPS-large` (β) or
    /// `consistency-STEPS`: a rule as [`Method::named`] reads it, with the steps after its first word. x̂0 clipped to 1;
    /// centred spacing, but trailing for consistency models, which are made to begin at pure noise.
    fn from_str(name: &str) -> Result<Self> {
        let wrong = || {
            Error::Model(format!(
                "sampler {}: not a name of the form ddim-STEPS, ddim-STEPS-etaETA (0 ≤ ETA ≤ 1), dpm-STEPS, \
                 ancestral-STEPS, ancestral-STEPS-large or consistency-STEPS; examples: ddim-20, ddim-20-eta0.5, dpm-10, \
                 ancestral-100, ancestral-100-large, consistency-2",
                quoted(name)
            ))
        };
        let mut words = name.splitn(3, '-');
        let (kind, steps, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
        let rule = rest.map_or_else(|| kind.to_string(), |rest| format!("{kind}-{rest}"));
        let method = Method::named(&rule).ok_or_else(wrong)?;
        let steps = steps.filter(|steps| steps.bytes().all(|b| b.is_ascii_digit()));
        let steps = steps.and_then(|steps| steps.parse().ok()).filter(|steps| *steps > 0).ok_or_else(wrong)?;
        let spacing = if method == Method::Consistency { Spacing::Trailing } else { Spacing::Centred };
        Ok(Self { name: name.into(), method, steps, spacing, clip: Some(1.0) })
    }
}

impl Method {
    /// The rule called `ddim`, `ddim-etaETA`, `dpm`, `ancestral`, `ancestral-large` or `consistency`; with DDIM, ε is
    /// recomputed.
    #[must_use]
    pub fn named(rule: &str) -> Option<Self> {
        let ddim = |eta| Self::Ddim { eta, epsilon: Epsilon::Recomputed };
        match rule {
            "ddim" => Some(ddim(0.0)),
            "dpm" => Some(Self::Dpm),
            "ancestral" => Some(Self::Ancestral { variance: Variance::FixedSmall }),
            "ancestral-large" => Some(Self::Ancestral { variance: Variance::FixedLarge }),
            "consistency" => Some(Self::Consistency),
            _ => {
                let eta = rule.strip_prefix("ddim-eta")?;
                let plain = eta.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                eta.parse().ok().filter(|eta| plain && *eta <= 1.0).map(ddim)
            }
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
        ] {
            let expected = SamplerSpec { name: name.into(), method, steps, spacing, clip: Some(1.0) };
            assert_eq!(name.parse::<SamplerSpec>().unwrap(), expected);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_grammar() {
        let names = "|ddim|ddim-|ddim-0|ddim-+5|ddim--5|ddim-20-|ddim-20 |DDIM-20|dpm|dpm-20-eta0.5|ddim-99999999999999999999\
                     |ddim-20-eta|ddim-20-eta1.5|ddim-20-eta-1|ddim-20-etaNaN|ddim-20-large\
                     |ancestral-x|ancestral-20-eta0.5|ancestral-100-large-2|consistency|consistency-2-eta0.5";
        for name in names.split('|') {
            let error = name.parse::<SamplerSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && error.contains("ancestral-100-large"), "{error}");
        }
    }
}
