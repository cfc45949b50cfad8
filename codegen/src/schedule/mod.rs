//! Samplers as tables: which time indices are visited, and what each step computes.
//!
//! With a = √ᾱ and σ = √(1−ᾱ), one row stands for
//!
//! ```text
//! out = network(c_in·x, t)
//! x̂0  = clip(k0·x − k1·out)
//! x   = a·x̂0 + b·x + c·z + d·x̂0' + e·out        z ~ N(0, I), x̂0' of the step before
//! ```
//!
//! A corrector's row computes something else, see [`grano::schedule`]. k0 and k1 say what the network predicts
//! ([`Prediction`]). Rows equal the steps of diffusers 0.42.1, `DDPMScheduler`, `DDIMScheduler` (`set_alpha_to_one`),
//! `DPMSolverMultistepScheduler` (`dpmsolver++`, order 2, `midpoint`, `final_sigmas_type` zero) and `LCMScheduler`
//! (without its mix of x̂0 and x), with these conventions:
//! - the step after t goes to the next time index of the list, but for DDIM to t − ⌊T/n⌋, which differs from the list
//!   where n does not divide T (but not with centred spacing or a list of its own, which diffusers' DDIM does not
//!   have); before index 0, ᾱ is 1;
//! - ancestral sampling adds noise wherever t > 0, DDIM wherever η > 0, consistency sampling but for the last step;
//! - DPM-Solver++'s first step, which has no x̂0', and its last, where ᾱ becomes 1, are of first order.

mod method;
mod name;
mod prediction;
mod spacing;
mod travel;

use method::Step;
pub use method::{Epsilon, Method, Row, Variance};
pub use prediction::{Level, Prediction};
pub use spacing::Spacing;
pub use travel::Travel;

use crate::error::{Error, Result};
use crate::forward::NoiseSchedule;

/// A sampler, independent of any model; parsed from a name such as `ddim-20`.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerSpec {
    /// By which users choose it.
    pub name: String,
    /// The update rule.
    pub method: Method,
    /// n, evaluations of the network (twice as many with guidance), without those that time travel adds.
    pub steps: usize,
    /// The time indices.
    pub spacing: Spacing,
    /// |x̂0| is held to this; above 0.
    pub clip: Option<f64>,
    /// Where stretches of time are run several times.
    pub travel: Option<Travel>,
}

/// A sampler for one noise schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The sampler's name.
    pub name: String,
    /// |x̂0| is held to this.
    pub clip: Option<f64>,
    /// In the order in which they are run: t falls, but for time travel.
    pub rows: Vec<Row>,
}

impl Table {
    /// Whether a step draws on x̂0 of the step before, which must then be kept.
    #[must_use]
    pub fn is_multistep(&self) -> bool {
        self.rows.iter().any(|row| row.d != 0.0)
    }
}

/// Below this many steps noise of variance β ruins pictures: FID 183 at 20 steps on CIFAR-10, against 24.5
/// with β̃ and 11.65 with DDIM (xyfJASON, Diffusion-Models-Implementations).
const FEWEST_STEPS_WITH_LARGE_VARIANCE: usize = 100;

impl SamplerSpec {
    /// The time indices in the order in which they are first visited, falling, for T = `train_steps`.
    ///
    /// # Errors
    /// As [`Spacing::time_indices`], naming the sampler; and when the evaluations are no multiple of those at each index.
    pub fn time_indices(&self, train_steps: usize) -> Result<Vec<usize>> {
        let each = self.method.evaluations_each();
        if !self.steps.is_multiple_of(each) {
            return Err(self.wrong(format!("{} evaluations; give a multiple of {each}", self.steps)));
        }
        self.spacing.time_indices(self.steps / each, train_steps).map_err(|reason| self.wrong(reason))
    }

    /// Evaluations of the network, those of time travel among them.
    #[must_use]
    pub fn evaluations(&self) -> usize {
        self.travel.map_or(1, |travel| travel.times).saturating_mul(self.steps)
    }

    /// The coefficients of every step, in f64, for a network of such predictions.
    ///
    /// # Errors
    /// As [`Self::time_indices`] and [`NoiseSchedule::betas`]; when a number of the method, the clip or a coefficient is out
    /// of range.
    pub fn table(&self, schedule: &NoiseSchedule, prediction: Prediction) -> Result<Table> {
        self.check()?;
        let alpha_bars = schedule.alpha_bars()?;
        let times = self.time_indices(schedule.steps)?;
        let step = |i: usize| {
            let t = times[i];
            let previous = match (self.method, &self.spacing) {
                (Method::Ddim { .. }, Spacing::Leading { .. } | Spacing::Trailing | Spacing::Linspace) => {
                    t.checked_sub(schedule.steps / self.steps)
                }
                _ => times.get(i + 1).copied(),
            };
            Step {
                t,
                alpha_bar: alpha_bars[t],
                finer: t.checked_sub(1).map_or(1.0, |t| alpha_bars[t]),
                alpha_bar_previous: previous.map_or(1.0, |t| alpha_bars[t]),
                alpha_bar_before: i.checked_sub(1).map(|i| alpha_bars[times[i]]),
            }
        };
        let mut rows = Vec::new();
        for visit in travel::visits(times.len(), self.travel) {
            let step = step(visit.index);
            let mut at = self.method.rows(&step, prediction);
            if let (Some(back), Some(last)) = (visit.back, at.last_mut()) {
                let ratio = alpha_bars[times[back]] / step.alpha_bar_previous;
                *last = last.then(ratio.sqrt(), (1.0 - ratio).sqrt());
            }
            rows.append(&mut at);
        }
        if schedule.is_exploding() {
            // The network reads x_0 + σ·ε, with σ² = (1 − ᾱ)/ᾱ.
            rows.iter_mut().for_each(|row| row.c_in = 1.0 / row.signal);
        }
        self.finite(rows)
    }

    /// The way back of a deterministic sampler, from picture to noise (Song et al. 2021, section 4.3): the step to time
    /// index t is that of DDIM from there, undone with the network's output at t for the x before it.
    ///
    /// # Errors
    /// As [`Self::table`], when the sampler is not `ddim-STEPS`, and when the network predicts the picture or a mean: the
    /// last step then forgets x.
    pub fn encoder(&self, schedule: &NoiseSchedule, prediction: Prediction) -> Result<Table> {
        if !matches!(self.method, Method::Ddim { eta: 0.0, .. }) || self.travel.is_some() {
            return Err(self.wrong("only a deterministic sampler can be undone; give ddim-STEPS".into()));
        }
        if !matches!(prediction, Prediction::Epsilon | Prediction::Velocity) {
            return Err(self.wrong("only networks that predict epsilon or velocity can be undone".into()));
        }
        let decoder = Self { clip: None, ..self.clone() }.table(schedule, prediction)?;
        let undo = |row: &Row| {
            // x_next = gain·x − loss·out
            let (gain, loss) = (row.a * row.k0 + row.b, row.a * row.k1 - row.e);
            Row { a: 0.0, b: 1.0 / gain, e: loss / gain, ..*row }
        };
        let rows = decoder.rows.iter().rev().map(undo).collect();
        Self { clip: None, ..self.clone() }.finite(rows)
    }

    /// That the numbers are in range.
    fn check(&self) -> Result<()> {
        match self.method {
            Method::Ddim { eta, .. } if !(0.0..=1.0).contains(&eta) => {
                return Err(self.wrong(format!("η = {eta}; give 0 to 1")));
            }
            Method::Langevin { step, each } if !(step > 0.0 && step < 2.0) || each == 0 => {
                return Err(
                    self.wrong(format!("{each} steps of {step}·σ² each; give at least one, above 0 and below 2"))
                );
            }
            Method::Corrected { snr } if !(snr > 0.0 && snr <= 1.0) => {
                return Err(self.wrong(format!("a signal-to-noise ratio of {snr}; give one above 0, up to 1")));
            }
            _ => {}
        }
        if let Some(clip) = self.clip
            && !(clip as f32 > 0.0 && (clip as f32).is_finite())
        {
            return Err(self.wrong(format!("x̂0 clipped to {clip}; give a number above 0, or no clip")));
        }
        match self.travel {
            Some(Travel { length, times }) if length == 0 || times == 0 => {
                Err(self.wrong(format!("{times} times {length} steps; give at least one")))
            }
            Some(_) if self.method == Method::Dpm => {
                Err(self.wrong("a multistep sampler cannot go back in time; give another".into()))
            }
            _ => Ok(()),
        }
    }

    fn finite(&self, rows: Vec<Row>) -> Result<Table> {
        let is_finite = |row: &Row| row.coefficients().into_iter().all(|v| (v as f32).is_finite());
        if let Some(row) = rows.iter().find(|row| !is_finite(row)) {
            return Err(self.wrong(format!("a coefficient at t = {} leaves f32: {row:?}", row.t)));
        }
        Ok(Table { name: self.name.clone(), clip: self.clip, rows })
    }

    /// What a build should tell its user about this sampler and its `table`, a line each; most have nothing.
    #[must_use]
    pub fn warnings(&self, table: &Table) -> Vec<String> {
        let mut warnings = Vec::new();
        let (name, steps) = (&self.name, self.steps);
        if self.method == (Method::Ancestral { variance: Variance::FixedLarge })
            && steps < FEWEST_STEPS_WITH_LARGE_VARIANCE
        {
            warnings.push(format!(
                "sampler `{name}`: noise of variance β ruins pictures in few steps; take at least \
                 {FEWEST_STEPS_WITH_LARGE_VARIANCE} steps, ancestral-{steps} or ddim-{steps}"
            ));
        }
        if let Some(&Row { t, c, .. }) = table.rows.last()
            && c > 0.0
        {
            warnings.push(format!(
                "sampler `{name}`: the last step, at t = {t}, adds noise of standard deviation {c:.4} to the picture \
                 (diffusers does the same); leading spacing without an offset, or T steps, ends at t = 0"
            ));
        }
        warnings
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Model(format!("sampler `{}`: {reason}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::ScheduleKind;

    const SCHEDULES: [NoiseSchedule; 2] = [
        NoiseSchedule { kind: ScheduleKind::DDPM_LINEAR, steps: 1000 },
        NoiseSchedule { kind: ScheduleKind::Cosine, steps: 1000 },
    ];

    const PREDICTIONS: [Prediction; 4] = [Prediction::Epsilon, Prediction::Velocity, Prediction::X0, Prediction::Mean];

    fn spec(name: &str) -> SamplerSpec {
        name.parse().unwrap()
    }

    fn close(x: f64, y: f64) -> bool {
        (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0)
    }

    #[test]
    fn a_list_steps_from_entry_to_entry() {
        let times = vec![957, 400, 3];
        for method in ["ddim", "ancestral", "dpm"].map(|rule| Method::named(rule).unwrap()) {
            let listed = SamplerSpec { method, steps: 3, spacing: Spacing::Listed(times.clone()), ..spec("ddim-3") };
            let rows = listed.table(&SCHEDULES[1], Prediction::Epsilon).unwrap().rows;
            let alpha_bars = SCHEDULES[1].alpha_bars().unwrap();
            assert_eq!(rows.iter().map(|row| row.t).collect::<Vec<_>>(), times);
            for (row, (previous, before)) in rows.iter().zip([
                (alpha_bars[400], None),
                (alpha_bars[3], Some(alpha_bars[957])),
                (1.0, Some(alpha_bars[400])),
            ]) {
                let step = Step {
                    t: row.t,
                    alpha_bar: alpha_bars[row.t],
                    finer: alpha_bars[row.t - 1],
                    alpha_bar_previous: previous,
                    alpha_bar_before: before,
                };
                assert_eq!(*row, method.row(&step, Prediction::Epsilon));
            }
        }
    }

    #[test]
    fn ranges_are_checked() {
        for clip in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                SamplerSpec { clip: Some(clip), ..spec("ddim-5") }.table(&SCHEDULES[0], Prediction::Epsilon).is_err()
            );
        }
        for eta in [-0.1, 1.1, f64::NAN] {
            let method = Method::Ddim { eta, epsilon: Epsilon::Kept };
            assert!(SamplerSpec { method, ..spec("ddim-5") }.table(&SCHEDULES[0], Prediction::Epsilon).is_err());
        }
    }

    /// Ho et al. 2020, eqs. 7, 10 and 11: μ = (x − β/√(1−ᾱ)·ε)/√α and β̃ = (1−ᾱ_prev)/(1−ᾱ)·β.
    #[test]
    fn ancestral_rows_are_the_posterior() {
        for schedule in SCHEDULES {
            let (betas, alpha_bars) = (schedule.betas().unwrap(), schedule.alpha_bars().unwrap());
            let small = spec("ancestral-1000").table(&schedule, Prediction::Epsilon).unwrap();
            let large = spec("ancestral-1000-large").table(&schedule, Prediction::Epsilon).unwrap();
            for (row, large) in small.rows.iter().zip(&large.rows) {
                let (beta, alpha_bar) = (betas[row.t], alpha_bars[row.t]);
                let alpha = 1.0 - beta;
                assert!(close(row.a * row.k0 + row.b, 1.0 / alpha.sqrt()));
                assert!(close(row.a * row.k1, beta / (1.0 - alpha_bar).sqrt() / alpha.sqrt()));
                let previous = if row.t == 0 { 1.0 } else { alpha_bars[row.t - 1] };
                assert!(close(row.c * row.c, (1.0 - previous) / (1.0 - alpha_bar) * beta));
                assert!(close(large.c * large.c, if row.t == 0 { 0.0 } else { beta }));
                assert_eq!(Row { c: 0.0, ..*row }, Row { c: 0.0, ..*large });
            }
        }
    }

    /// Given the true x_0 and ε, x_t = a_t·x_0 + σ_t·ε must go to x_prev with the marginal q(x_prev | x_0), so that
    /// the last step gives x_0 itself. Holds for every rule but variance β.
    #[test]
    fn rows_keep_the_marginals() {
        let names =
            ["ancestral-20", "ancestral-1000", "ddim-20", "ddim-20-eta0.5", "ddim-50-eta1", "dpm-12", "consistency-4"];
        for ((schedule, name), prediction) in SCHEDULES
            .iter()
            .flat_map(|schedule| names.map(|name| (schedule, name)))
            .flat_map(|pair| PREDICTIONS.map(|prediction| (pair, prediction)))
        {
            let alpha_bars = schedule.alpha_bars().unwrap();
            for epsilon in [Epsilon::Kept, Epsilon::Recomputed] {
                let mut spec = spec(name);
                if let Method::Ddim { eta, .. } = spec.method {
                    spec.method = Method::Ddim { eta, epsilon };
                }
                let rows = spec.table(schedule, prediction).unwrap().rows;
                for (i, row) in rows.iter().enumerate() {
                    let (signal, sigma) = (alpha_bars[row.t].sqrt(), (1.0 - alpha_bars[row.t]).sqrt());
                    let previous = rows.get(i + 1).map_or(1.0, |next| alpha_bars[next.t]);
                    let next = |x0: f64, epsilon: f64| {
                        let x = signal * x0 + sigma * epsilon;
                        let out = match prediction {
                            Prediction::Epsilon => epsilon,
                            Prediction::Velocity => signal * epsilon - sigma * x0,
                            Prediction::X0 => x0,
                            Prediction::Mean => {
                                let finer = row.t.checked_sub(1).map_or(1.0, |t| alpha_bars[t]);
                                let alpha = alpha_bars[row.t] / finer;
                                (x - (1.0 - alpha) / sigma * epsilon) / alpha.sqrt()
                            }
                        };
                        assert!(close(row.k0 * x - row.k1 * out, x0), "{name} {row:?}");
                        (row.a + row.d) * x0 + row.b * x + row.e * out
                    };
                    let (of_picture, of_noise) = (next(1.0, 0.0), next(0.0, 1.0));
                    assert!(close(of_picture, previous.sqrt()), "{name} {row:?}");
                    assert!(close(of_noise * of_noise + row.c * row.c, 1.0 - previous), "{name} {row:?}");
                }
                let last = rows.last().unwrap();
                assert!(
                    close(last.a, 1.0) && [last.b, last.c, last.d, last.e].iter().all(|x| x.abs() < 1e-12),
                    "{last:?}"
                );
            }
        }
    }

    /// Song et al. 2021, section 4.1. Without clipping ε may stand for x̂0 and x, so only the sums agree.
    #[test]
    fn ddim_with_eta_1_is_ancestral() {
        for schedule in SCHEDULES {
            let ancestral = spec("ancestral-50").table(&schedule, Prediction::Epsilon).unwrap();
            let ddim = spec("ddim-50-eta1").table(&schedule, Prediction::Epsilon).unwrap();
            for (p, q) in ancestral.rows.iter().zip(&ddim.rows) {
                assert!(close(p.a * p.k0 + p.b, q.a * q.k0 + q.b), "x: {p:?} {q:?}");
                assert!(close(p.a * p.k1 - p.e, q.a * q.k1 - q.e), "out: {p:?} {q:?}");
                assert!(close(p.c, q.c), "z: {p:?} {q:?}");
            }
        }
    }

    /// Lu et al. 2022, algorithm 2 with λ = ln(a/σ), h and r as there.
    #[test]
    fn dpm_rows_are_the_second_order_multistep() {
        for schedule in SCHEDULES {
            let alpha_bars = schedule.alpha_bars().unwrap();
            let lambda = |t: usize| (alpha_bars[t] / (1.0 - alpha_bars[t])).ln() / 2.0;
            let table = spec("dpm-8").table(&schedule, Prediction::Epsilon).unwrap();
            assert!(
                table.is_multistep() && !spec("ddim-8").table(&schedule, Prediction::Epsilon).unwrap().is_multistep()
            );
            for [before, row, next] in table.rows.array_windows() {
                let h = lambda(next.t) - lambda(row.t);
                let r = (lambda(row.t) - lambda(before.t)) / h;
                let gain = -alpha_bars[next.t].sqrt() * (-h).exp_m1();
                assert!(close(row.a, gain * (1.0 + 0.5 / r)) && close(row.d, -gain * 0.5 / r), "{row:?}");
            }
            let ddim = spec("ddim-8").table(&schedule, Prediction::Epsilon).unwrap();
            assert_eq!([table.rows[0], table.rows[7]], [ddim.rows[0], ddim.rows[7]], "first order is DDIM");
        }
    }

    /// A row as parts of x_0, ε and fresh noise, of x = a·x_0 + σ·ε and a network that predicts ε.
    fn parts(row: &Row) -> [f64; 3] {
        let of_estimate = row.a + row.d;
        [of_estimate + row.b * row.signal, row.b * row.sigma + row.e, row.c]
    }

    /// Algorithm 1 of Song & Ermon 2019 on x/a, whose noise has σ/a: x/a + α/2·s + √α·z with s = −ε/(σ/a), α = step·(σ/a)².
    #[test]
    fn langevin_rows_are_the_algorithm() {
        for schedule in SCHEDULES {
            let table = spec("langevin-60-each3-step0.3").table(&schedule, Prediction::Epsilon).unwrap();
            assert_eq!(table.rows.len(), 60);
            for (i, row) in table.rows.iter().enumerate().take(59) {
                let next = &table.rows[i + 1];
                assert_eq!(row.t == next.t, i % 3 < 2);
                let sigma = row.sigma / row.signal;
                let alpha = 0.3 * sigma * sigma;
                let [of_picture, of_epsilon, of_noise] = parts(row);
                let to = next.signal;
                assert!(close(of_picture, to), "{row:?}");
                assert!(close(of_epsilon, to * (sigma - 0.5 * alpha / sigma)), "{row:?}");
                assert!(close(of_noise, to * alpha.sqrt()), "{row:?}");
            }
            assert_eq!(parts(&table.rows[59]), [1.0, 0.0, 0.0], "the last is a picture");
        }
    }

    #[test]
    fn a_corrector_stands_before_every_predictor() {
        let table = spec("pc-20-snr0.2").table(&SCHEDULES[0], Prediction::Velocity).unwrap();
        let ancestral = spec("ancestral-10").table(&SCHEDULES[0], Prediction::Velocity).unwrap();
        for (pair, row) in table.rows.chunks(2).zip(&ancestral.rows) {
            let beta = SCHEDULES[0].betas().unwrap()[row.t];
            assert_eq!(pair[1], *row);
            assert!(close(pair[0].snr, 0.2 * (1.0 - beta).sqrt()) && row.snr == 0.0);
            assert_eq!((pair[0].t, pair[0].k0, pair[0].signal), (row.t, row.k0, row.signal));
        }
    }

    /// The marginals of every row lead to those of the next, forwards and back.
    #[test]
    fn time_travel_keeps_the_marginals() {
        for name in ["ancestral-6-travel2x3", "ddim-7-travel3x2", "ddim-6-eta0.5-travel6x2", "ddim-5-travel1x4"] {
            let spec = spec(name);
            let rows = spec.table(&SCHEDULES[1], Prediction::Epsilon).unwrap().rows;
            assert_eq!(rows.len(), spec.evaluations());
            for (i, row) in rows.iter().enumerate() {
                let [of_picture, of_epsilon, of_noise] = parts(row);
                let (signal, variance) = rows.get(i + 1).map_or((1.0, 0.0), |next| (next.signal, next.sigma.powi(2)));
                assert!(close(of_picture, signal), "{name}, step {i}: {row:?}");
                assert!(close(of_epsilon.powi(2) + of_noise.powi(2), variance), "{name}, step {i}: {row:?}");
            }
        }
        let times = |name: &str| -> Vec<usize> {
            spec(name).table(&SCHEDULES[1], Prediction::Epsilon).unwrap().rows.iter().map(|row| row.t).collect()
        };
        assert_eq!(times("ddim-4-travel2x2"), [875, 625, 875, 625, 375, 125, 375, 125]);
        assert_eq!(times("ddim-4-travel3x2"), [875, 625, 375, 875, 625, 375, 125, 125]);
        assert!(spec("dpm-4-travel2x2").table(&SCHEDULES[1], Prediction::Epsilon).is_err());
    }

    #[test]
    fn an_encoder_undoes_each_step_of_its_decoder() {
        for prediction in [Prediction::Epsilon, Prediction::Velocity] {
            let spec = SamplerSpec { clip: None, ..spec("ddim-12") };
            let (decoder, encoder) =
                (spec.table(&SCHEDULES[1], prediction).unwrap(), spec.encoder(&SCHEDULES[1], prediction).unwrap());
            let step = |row: &Row, x: f64, out: f64| row.a * (row.k0 * x - row.k1 * out) + row.b * x + row.e * out;
            for (down, up) in decoder.rows.iter().zip(encoder.rows.iter().rev()) {
                assert!(close(step(up, step(down, 0.7, -0.4), -0.4), 0.7), "{prediction:?} {down:?}");
            }
        }
        for prediction in [Prediction::X0, Prediction::Mean] {
            assert!(spec("ddim-12").encoder(&SCHEDULES[1], prediction).is_err(), "{prediction:?}");
        }
        for name in ["ddim-12-eta0.5", "dpm-12", "ancestral-12", "ddim-12-travel2x2"] {
            assert!(spec(name).encoder(&SCHEDULES[1], Prediction::Epsilon).is_err(), "{name}");
        }
    }

    /// A network of x_0 + σ·ε is the one of a·x_0 + √(1 − a²)·ε with its input divided by a.
    #[test]
    fn exploding_variance_is_a_factor_of_the_input() {
        let kind = ScheduleKind::Exploding { sigma_min: 0.01, sigma_max: 50.0 };
        let schedule = NoiseSchedule { kind, steps: 100 };
        let rows = spec("ddim-100").table(&schedule, Prediction::Epsilon).unwrap().rows;
        for row in &rows {
            let sigma = 0.01 * f64::powf(5000.0, row.t as f64 / 99.0);
            assert!(
                ((row.c_in * row.sigma) / sigma - 1.0).abs() < 1e-6 && close(row.c_in * row.signal, 1.0),
                "{row:?}"
            );
        }
    }

    #[test]
    fn risky_samplers_warn() {
        let warnings = |name: &str| spec(name).warnings(&spec(name).table(&SCHEDULES[1], Prediction::Epsilon).unwrap());
        for name in ["ddim-20", "ddim-20-eta0.5", "ancestral-20", "ancestral-1000-large"] {
            assert_eq!(warnings(name), [""; 0], "{name}");
        }
        let few = warnings("ancestral-20-large");
        assert!(few[0].contains("ddim-20") && few[1].contains("t = 25"), "{few:?}");
        assert!(warnings("ancestral-100-large")[0].contains("t = 5,"));
    }
}
