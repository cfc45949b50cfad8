//! What a denoiser's output stands for.

use serde::{Deserialize, Serialize};

/// What a denoiser's output is, with x = a·x0 + σ·ε, a = √ᾱ and σ = √(1−ᾱ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// ε, the noise (Ho et al. 2020).
    #[default]
    Epsilon,
    /// v = a·ε − σ·x0 (Salimans & Ho 2022, appendix D): as good a guide to x0 where there is little but noise, which
    /// is where a sampler of few steps begins.
    Velocity,
    /// x0, the picture.
    X0,
    /// μ, the mean of q(x_{t−1} | x_t, x0) = (x − β/σ·ε)/√α of the schedule's own step from t to t − 1, with α = 1 − β
    /// (Ho et al. 2020, eqs. 7 and 11): of low use where β is small beside σ², as x0 then is a difference times σ²/β.
    Mean,
}

/// Where a prediction is made.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// ᾱ_t, in (0, 1).
    pub alpha_bar: f64,
    /// ᾱ_{t−1} of the schedule; 1 at t = 0.
    pub finer: f64,
}

impl Prediction {
    /// `[k0, k1]` of x̂0 = k0·x − k1·out.
    #[must_use]
    pub fn x0(self, level: Level) -> [f64; 2] {
        let (signal, sigma) = level.scales();
        match self {
            Self::Epsilon => [1.0 / signal, sigma / signal],
            Self::Velocity => [signal, sigma],
            Self::X0 => [0.0, -1.0],
            Self::Mean => {
                let [p, q] = self.epsilon(level);
                [(1.0 - sigma * p) / signal, sigma * q / signal]
            }
        }
    }

    /// `[p, q]` of ε = p·x + q·out.
    #[must_use]
    pub fn epsilon(self, level: Level) -> [f64; 2] {
        let (signal, sigma) = level.scales();
        match self {
            Self::Epsilon => [0.0, 1.0],
            Self::Velocity => [sigma, signal],
            Self::X0 => [1.0 / sigma, -signal / sigma],
            Self::Mean => {
                let alpha = level.alpha_bar / level.finer;
                let gain = sigma / (1.0 - alpha);
                [gain, -alpha.sqrt() * gain]
            }
        }
    }
}

impl Level {
    /// a and σ.
    fn scales(self) -> (f64, f64) {
        (self.alpha_bar.sqrt(), (1.0 - self.alpha_bar).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_and_noise_are_found_again() {
        let (x0, epsilon) = (0.3, -1.7);
        for (alpha_bar, finer) in [(0.999, 1.0), (0.5, 0.6), (1e-4, 1.1e-4)] {
            let (signal, sigma) = (f64::sqrt(alpha_bar), f64::sqrt(1.0 - alpha_bar));
            let x = signal * x0 + sigma * epsilon;
            // The posterior's mean by its parts of x0 and x (Ho et al. 2020, eq. 7).
            let alpha = alpha_bar / finer;
            let (of_x0, of_x) = (f64::sqrt(finer) * (1.0 - alpha), alpha.sqrt() * (1.0 - finer));
            let mean = (of_x0 * x0 + of_x * x) / (1.0 - alpha_bar);
            for (prediction, out) in [
                (Prediction::Epsilon, epsilon),
                (Prediction::Velocity, signal * epsilon - sigma * x0),
                (Prediction::X0, x0),
                (Prediction::Mean, mean),
            ] {
                let level = Level { alpha_bar, finer };
                let ([k0, k1], [p, q]) = (prediction.x0(level), prediction.epsilon(level));
                assert!((k0 * x - k1 * out - x0).abs() < 1e-9, "{prediction:?}, {alpha_bar}");
                assert!((p * x + q * out - epsilon).abs() < 1e-9, "{prediction:?}, {alpha_bar}");
            }
        }
    }
}
