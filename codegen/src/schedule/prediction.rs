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
}

impl Prediction {
    /// `[k0, k1]` of x̂0 = k0·x − k1·out at `alpha_bar`.
    #[must_use]
    pub fn x0(self, alpha_bar: f64) -> [f64; 2] {
        let (signal, sigma) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        match self {
            Self::Epsilon => [1.0 / signal, sigma / signal],
            Self::Velocity => [signal, sigma],
        }
    }

    /// `[p, q]` of ε = p·x + q·out at `alpha_bar`.
    #[must_use]
    pub fn epsilon(self, alpha_bar: f64) -> [f64; 2] {
        match self {
            Self::Epsilon => [0.0, 1.0],
            Self::Velocity => [(1.0 - alpha_bar).sqrt(), alpha_bar.sqrt()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_and_noise_are_found_again() {
        let (x0, epsilon) = (0.3, -1.7);
        for alpha_bar in [0.999, 0.5, 1e-4] {
            let (signal, sigma) = (f64::sqrt(alpha_bar), f64::sqrt(1.0 - alpha_bar));
            let x = signal * x0 + sigma * epsilon;
            for (prediction, out) in
                [(Prediction::Epsilon, epsilon), (Prediction::Velocity, signal * epsilon - sigma * x0)]
            {
                let ([k0, k1], [p, q]) = (prediction.x0(alpha_bar), prediction.epsilon(alpha_bar));
                assert!((k0 * x - k1 * out - x0).abs() < 1e-12, "{prediction:?}, {alpha_bar}");
                assert!((p * x + q * out - epsilon).abs() < 1e-12, "{prediction:?}, {alpha_bar}");
            }
        }
    }
}
