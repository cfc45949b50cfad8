//! The forward process q(x_t | x_0) = N(a_t·x_0, σ_t²·I), with a_t = √ᾱ_t and σ_t = √(1−ᾱ_t).
//!
//! Time runs over `0..steps` as in the public implementations: index t holds β_{t+1} of the papers,
//! so that index 0 is the least noisy step and ᾱ "before" index 0 is 1.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::MOST_TIMES;

/// The least β: σ_t = √(1−ᾱ_t) and the distances between steps, which samplers divide by, must not vanish beside 1.
pub const LEAST_BETA: f64 = 1e-9;
/// The least ᾱ: samplers divide by a_t = √ᾱ_t. The cosine schedule of 1000 steps ends at 2.4e-9.
pub const LEAST_ALPHA_BAR: f64 = 1e-24;

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
    /// The variance-exploding process x_0 + σ_t·ε, σ_t geometric from `sigma_min` to `sigma_max`, both reached (Song & Ermon
    /// 2019; Song et al. 2021). It is that of ᾱ_t = 1/(1 + σ_t²), whose x is smaller by √ᾱ_t: grano samples on that scale, and
    /// the network reads x/√ᾱ_t.
    Exploding {
        /// σ at index 0.
        sigma_min: f64,
        /// σ at index T−1.
        sigma_max: f64,
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
    /// When there are no steps or more than [`MOST_TIMES`], when a β is not in [[`LEAST_BETA`], 1), or when so little is left
    /// of the picture that ᾱ falls below [`LEAST_ALPHA_BAR`].
    pub fn betas(&self) -> Result<Vec<f64>> {
        let steps = self.steps;
        if !(1..=MOST_TIMES).contains(&steps) {
            return Err(Error::Model(format!("noise schedule: {steps} steps; give 1 to {MOST_TIMES}")));
        }
        let betas: Vec<f64> = match self.kind {
            ScheduleKind::Exploding { sigma_min, sigma_max } => {
                if !(sigma_min > 0.0 && sigma_max > sigma_min && sigma_max.is_finite()) {
                    return Err(Error::Model(format!(
                        "noise schedule: σ from {sigma_min} to {sigma_max}; give sigma_min above 0 and a larger sigma_max"
                    )));
                }
                let spread = libm::log(sigma_max / sigma_min) / (steps.max(2) - 1) as f64;
                let variance = |t: usize| (sigma_min * libm::exp(spread * t as f64)).powi(2);
                let before = |t: usize| t.checked_sub(1).map_or(0.0, variance);
                // 1 − ᾱ_t/ᾱ_{t−1}
                (0..steps).map(|t| (variance(t) - before(t)) / (1.0 + variance(t))).collect()
            }
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
        let mut alpha_bar = 1.0;
        for (t, beta) in betas.iter().enumerate() {
            if !(LEAST_BETA..1.0).contains(beta) {
                return Err(Error::Model(format!(
                    "noise schedule: β[{t}] = {beta}; give beta_start and beta_end in [{LEAST_BETA:e}, 1)"
                )));
            }
            alpha_bar *= 1.0 - beta;
            if alpha_bar < LEAST_ALPHA_BAR {
                return Err(Error::Model(format!(
                    "noise schedule: ᾱ[{t}] = {alpha_bar:e}, less than {LEAST_ALPHA_BAR:e}: nothing is left of the picture; give fewer steps or smaller β"
                )));
            }
        }
        Ok(betas)
    }

    /// Whether the network reads x_0 + σ·ε.
    #[must_use]
    pub fn is_exploding(&self) -> bool {
        matches!(self.kind, ScheduleKind::Exploding { .. })
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
        for steps in [0, MOST_TIMES + 1, usize::MAX] {
            assert!(NoiseSchedule { kind: ScheduleKind::Cosine, steps }.betas().is_err());
        }
        for beta in [0.0, -0.1, 1e-12, 1.0, f64::NAN, f64::INFINITY] {
            let kind = ScheduleKind::Linear { beta_start: beta, beta_end: beta };
            let error = NoiseSchedule { kind, steps: 2 }.betas().unwrap_err().to_string();
            assert!(error.contains("β[0]"), "{error}");
        }
        for (sigma_min, sigma_max) in [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (f64::NAN, 1.0), (0.1, f64::INFINITY)] {
            let kind = ScheduleKind::Exploding { sigma_min, sigma_max };
            let error = NoiseSchedule { kind, steps: 2 }.betas().unwrap_err().to_string();
            assert!(error.contains("sigma_min above 0"), "{error}");
        }
        let long = NoiseSchedule { kind: ScheduleKind::DDPM_LINEAR, steps: 50_000 }.betas().unwrap_err().to_string();
        assert!(long.contains("nothing is left"), "{long}");
        for steps in [1, 2, 1000, MOST_TIMES] {
            NoiseSchedule { kind: ScheduleKind::Cosine, steps }.betas().unwrap();
        }
    }
}
