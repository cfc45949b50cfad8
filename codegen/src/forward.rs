//! The forward process q(x_t | x_0) = N(a_t·x_0, σ_t²·I), with a_t = √ᾱ_t and σ_t = √(1−ᾱ_t).
//!
//! Time runs over `0..steps` as in the public implementations: index t holds β_{t+1} of the papers,
//! so that index 0 is the least noisy step and ᾱ "before" index 0 is 1.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A variance schedule β over `steps` time indices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseSchedule {
    /// How β is laid out over time.
    #[serde(flatten)]
    pub kind: ScheduleKind,
    /// T, the number of time indices.
    pub steps: usize,
}

/// The shape of a variance schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleKind {
    /// β evenly spaced from `beta_start` to `beta_end`, both reached (Ho et al. 2020, section 4).
    Linear {
        /// β at index 0.
        beta_start: f64,
        /// β at index T−1.
        beta_end: f64,
    },
    /// ᾱ(t) ∝ cos²((t/T + 0.008)/1.008 · π/2), β at most 0.999 (Nichol & Dhariwal 2021, eq. 17).
    Cosine,
}

impl ScheduleKind {
    /// β from 1e-4 to 0.02, as in DDPM.
    pub const DDPM_LINEAR: Self = Self::Linear { beta_start: 1e-4, beta_end: 0.02 };
}

impl NoiseSchedule {
    /// β per time index, in (0, 1).
    ///
    /// # Errors
    /// When there are no steps, or a β leaves (0, 1).
    pub fn betas(&self) -> Result<Vec<f64>> {
        let steps = self.steps;
        if !(1..=100_000).contains(&steps) {
            return Err(Error::Model(format!("noise schedule: {steps} steps; give 1 to 100000")));
        }
        let betas: Vec<f64> = match self.kind {
            ScheduleKind::Linear { beta_start, beta_end } => (0..steps)
                .map(|t| beta_start + (beta_end - beta_start) * t as f64 / (steps.max(2) - 1) as f64)
                .collect(),
            ScheduleKind::Cosine => {
                let alpha_bar = |t: usize| {
                    let angle = (t as f64 / steps as f64 + 0.008) / 1.008 * core::f64::consts::FRAC_PI_2;
                    let cosine = libm::cos(angle);
                    cosine * cosine
                };
                (0..steps).map(|t| (1.0 - alpha_bar(t + 1) / alpha_bar(t)).min(0.999)).collect()
            }
        };
        match betas.iter().position(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            Some(t) => Err(Error::Model(format!("noise schedule: β[{t}] = {} is not in (0, 1)", betas[t]))),
            None => Ok(betas),
        }
    }

    /// ᾱ per time index: the running product of 1 − β.
    ///
    /// # Errors
    /// As [`Self::betas`].
    pub fn alpha_bars(&self) -> Result<Vec<f64>> {
        let mut product = 1.0;
        Ok(self
            .betas()?
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_meets_both_ends_and_cosine_is_capped() {
        let linear = NoiseSchedule { kind: ScheduleKind::DDPM_LINEAR, steps: 1000 }.betas().unwrap();
        assert_eq!((linear[0], linear[999]), (1e-4, 0.02));
        let cosine = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 1000 };
        assert_eq!(cosine.betas().unwrap()[999], 0.999);
        let alpha_bars = cosine.alpha_bars().unwrap();
        assert!(alpha_bars.windows(2).all(|pair| pair[1] < pair[0]));
        assert!((alpha_bars[499] - 0.494).abs() < 1e-3, "{}", alpha_bars[499]);
    }

    #[test]
    fn bad_schedules_are_refused() {
        let bad = NoiseSchedule { kind: ScheduleKind::Linear { beta_start: 0.5, beta_end: 1.5 }, steps: 10 };
        assert!(bad.betas().unwrap_err().to_string().contains("β[5]"));
        assert!(NoiseSchedule { kind: ScheduleKind::Cosine, steps: 0 }.betas().is_err());
    }
}
