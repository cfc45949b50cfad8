//! The update rules: what a step computes.

use super::Prediction;
use super::prediction::Level;

/// The variance of the noise that an ancestral step adds (Ho et al. 2020, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// β̃, the posterior's: right when x_0 is one point. diffusers clamps it at 1e-20 (for a logarithm
    /// that is not taken here); only its zero, on the last step, is below that, and stays zero.
    FixedSmall,
    /// β of the (longer) step: right when x_0 is N(0, I). As in diffusers, a last step that does not stand
    /// at t = 0 still adds it; [`super::SamplerSpec::warnings`] says so.
    FixedLarge,
}

/// What DDIM takes for ε after x̂0 has been clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epsilon {
    /// What the network's output says.
    Kept,
    /// The ε that leads from the clipped x̂0 to x (diffusers' `use_clipped_model_output`): under guidance the kept
    /// one carries along what was clipped away, and x grows past what the network knows.
    Recomputed,
}

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// A draw from q(x_prev | x, x̂0) (Ho et al. 2020, eq. 7).
    Ancestral {
        /// Of the noise.
        variance: Variance,
    },
    /// Song et al. 2021, eq. 12.
    Ddim {
        /// 0 (deterministic) to 1 (the variance of ancestral sampling).
        eta: f64,
        /// What stands for ε after clipping.
        epsilon: Epsilon,
    },
    /// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): a line through this step's x̂0 and the last one's.
    Dpm,
    /// A draw from q(x_prev | x̂0), with noise that owes nothing to x (Song et al. 2023, algorithm 1): for consistency
    /// models, whose x̂0 is a picture at any t.
    Consistency,
    /// Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1): steps x ← x + α/2·s(x) + √α·z at each of falling noise
    /// levels, α = `step`·σ². The last evaluation gives x̂0, the picture without the noise that the last level leaves
    /// (Jolicoeur-Martineau et al. 2020, section 3.1).
    Langevin {
        /// α/σ², above 0, below 2; Song & Ermon take 0.2.
        step: f64,
        /// Steps a level.
        each: usize,
    },
    /// Predictor–corrector (Song et al. 2021, algorithm 5): at each time index a corrector's step, then an ancestral one with
    /// variance β̃.
    Corrected {
        /// The corrector's signal-to-noise ratio.
        snr: f64,
    },
}

/// One step; the documentation of [`super`] has the formulas.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the coefficients' meaning is their place in the formulas")]
pub struct Row {
    /// Time index, `0..T`.
    pub t: usize,
    pub c_in: f64,
    pub k0: f64,
    pub k1: f64,
    pub a: f64,
    pub b: f64,
    pub c: f64,
    pub d: f64,
    pub e: f64,
    /// a_t, the picture's part in x as the step finds it.
    pub signal: f64,
    /// σ_t, the standard deviation of the noise there.
    pub sigma: f64,
    /// A corrector's signal-to-noise ratio; 0 of other steps.
    pub snr: f64,
}

impl Row {
    /// c_in, k0, k1, a, b, c, d, e, signal, sigma and snr.
    #[must_use]
    pub fn coefficients(&self) -> [f64; 11] {
        let Self { t: _, c_in, k0, k1, a, b, c, d, e, signal, sigma, snr } = *self;
        [c_in, k0, k1, a, b, c, d, e, signal, sigma, snr]
    }

    /// Followed by `ratio` times x plus noise of standard deviation `sigma`, which leads back to more noise.
    pub(super) fn then(self, ratio: f64, sigma: f64) -> Self {
        let [a, b, c, d, e] = [self.a, self.b, self.c, self.d, self.e].map(|part| ratio * part);
        Self { a, b, c: c.hypot(sigma), d, e, ..self }
    }
}

/// From where to where a step goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Time index.
    pub t: usize,
    /// ᾱ there.
    pub alpha_bar: f64,
    /// ᾱ_{t−1} of the schedule.
    pub finer: f64,
    /// ᾱ where the step goes; above `alpha_bar`, 1 for the picture.
    pub alpha_bar_previous: f64,
    /// ᾱ where the step before stood; none for the first.
    pub alpha_bar_before: Option<f64>,
}

impl Method {
    /// Evaluations at each time index.
    #[must_use]
    pub fn evaluations_each(self) -> usize {
        match self {
            Self::Langevin { each, .. } => each,
            Self::Corrected { .. } => 2,
            _ => 1,
        }
    }

    /// The rows at a time index.
    pub(super) fn rows(self, step: &Step, prediction: Prediction) -> Vec<Row> {
        let (signal, sigma) = (step.alpha_bar.sqrt(), (1.0 - step.alpha_bar).sqrt());
        match self {
            Self::Langevin { step: alpha, each } => {
                // x + α/2·s + √α·z with s = (a·x̂0 − x)/σ² and α in units of σ².
                let ancestral = Self::Ancestral { variance: Variance::FixedSmall }.row(step, prediction);
                let stay = Row { a: 0.5 * alpha * signal, b: 1.0 - 0.5 * alpha, c: alpha.sqrt() * sigma, ..ancestral };
                let last = match step.alpha_bar_previous {
                    1.0 => Row { a: 1.0, b: 0.0, c: 0.0, ..ancestral },
                    // Algorithm 1 runs on x/a: from level to level x/a stays.
                    next => stay.then(next.sqrt() / signal, 0.0),
                };
                std::iter::repeat_n(stay, each - 1).chain([last]).collect()
            }
            Self::Corrected { snr } => {
                let predictor = Self::Ancestral { variance: Variance::FixedSmall }.row(step, prediction);
                // Algorithm 5: α_t of the schedule's own step.
                let snr = snr * (step.alpha_bar / step.finer).sqrt();
                vec![Row { a: 0.0, b: 1.0, c: 0.0, snr, ..predictor }, predictor]
            }
            _ => vec![self.row(step, prediction)],
        }
    }

    /// The row of a step of one evaluation.
    pub(super) fn row(self, step: &Step, prediction: Prediction) -> Row {
        let Step { t, alpha_bar, finer, alpha_bar_previous, alpha_bar_before } = *step;
        let (signal, sigma) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let alpha = alpha_bar / alpha_bar_previous;
        let beta = 1.0 - alpha;
        let posterior = (1.0 - alpha_bar_previous) / (1.0 - alpha_bar) * beta;
        let level = Level { alpha_bar, finer };
        let [k0, k1] = prediction.x0(level);
        let row = Row { t, c_in: 1.0, k0, k1, a: 0.0, b: 0.0, c: 0.0, d: 0.0, e: 0.0, signal, sigma, snr: 0.0 };
        match self {
            Self::Ancestral { variance } => {
                let variance = match variance {
                    _ if t == 0 => 0.0,
                    Variance::FixedSmall => posterior,
                    Variance::FixedLarge => beta,
                };
                let a = alpha_bar_previous.sqrt() * beta / (1.0 - alpha_bar);
                let b = alpha.sqrt() * (1.0 - alpha_bar_previous) / (1.0 - alpha_bar);
                Row { a, b, c: variance.sqrt(), ..row }
            }
            Self::Ddim { eta, epsilon } => {
                let c = eta * posterior.sqrt();
                // Zero in real numbers for η = 1 towards ᾱ = 1: rounding must not take it below.
                let direction = (1.0 - alpha_bar_previous - c * c).max(0.0).sqrt();
                let a = alpha_bar_previous.sqrt();
                match epsilon {
                    Epsilon::Kept => {
                        let [of_x, of_out] = prediction.epsilon(level);
                        Row { a, b: direction * of_x, c, e: direction * of_out, ..row }
                    }
                    Epsilon::Recomputed => Row { a: a - direction * signal / sigma, b: direction / sigma, c, ..row },
                }
            }
            Self::Dpm => {
                let b = (1.0 - alpha_bar_previous).sqrt() / sigma;
                // a_previous·(1 − exp(−h)), in a form without the infinite h of the last step.
                let gain = alpha_bar_previous.sqrt() - b * signal;
                // D1's share: 1/(2r), r the ratio of the steps before and now in λ = ln(a/σ).
                let share = match alpha_bar_before {
                    Some(before) if alpha_bar_previous < 1.0 => {
                        let lambda = |alpha_bar: f64| 0.5 * libm::log(alpha_bar / (1.0 - alpha_bar));
                        let (now, last) = (lambda(alpha_bar), lambda(before));
                        0.5 * (lambda(alpha_bar_previous) - now) / (now - last)
                    }
                    _ => 0.0,
                };
                Row { a: gain * (1.0 + share), b, d: -gain * share, ..row }
            }
            Self::Consistency => Row { a: alpha_bar_previous.sqrt(), c: (1.0 - alpha_bar_previous).sqrt(), ..row },
            // Several evaluations: see `rows`.
            Self::Langevin { .. } | Self::Corrected { .. } => row,
        }
    }
}
