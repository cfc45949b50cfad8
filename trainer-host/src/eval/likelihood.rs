//! The variational bound on −log p(x_0) in bits per dimension (Ho et al. 2020, eqs. 5 to 12), of pictures the training
//! never saw.
//!
//! With the papers' t = 1..T, ᾱ and β of the model's own schedule (no skipped steps), a picture of D bytes brought to
//! [−1, 1] by v = byte/127.5 − 1, and the ancestral sampler's variances β̃_t (eq. 7):
//!
//! ```text
//! bound = L_T + Σ_{t=2..T} L_{t−1} + L_0                              nats; / (D·ln 2) for bits per dimension
//! L_T     = KL(N(√ᾱ_T·x_0, 1 − ᾱ_T) ‖ N(0, 1))                        exact
//! L_{t−1} = a_t²·|x_0 − x̂0(x_t)|² / (2·β̃_t)                           eq. 8; a_t = √ᾱ_{t−1}·β_t/(1 − ᾱ_t), eq. 7
//! L_0     = −Σ_d log ∫_{bin of x_0,d} N(x; x̂0(x_1)_d, σ_1²) dx         eq. 13: bins v ± 1/255, those of bytes 0 and
//!                                                                     255 open to ∓∞; exact normal CDF
//! ```
//!
//! - x̂0 is what the network's output stands for; it is **not clipped**, and there is no guidance. Labels are withheld
//!   unless asked for.
//! - β̃_1 is 0, so σ_1² needs a choice: β̃_2, as the public code of that paper takes for "fixed small". With σ_1² = β_1
//!   instead, L_0 is given beside it.
//! - L_0 takes one ε a picture, without bias. Of t = 2..T each picture gets one from each of K equal parts (those that
//!   differ by rounding count by their length), uniformly, with one ε each: the sum of the parts' lengths times their
//!   terms is without bias too.
//! - t and ε depend on the seed and the picture's number alone, so that all networks see the same ones. Pictures are
//!   independent: standard errors are the pictures' deviation over √n, those of differences the differences'.

use grano::noise::{Gaussian, Noise, Philox};
use grano_codegen::schedule::Table;
use rand_core::Rng;
use serde::Serialize;

use super::interval::Mean;
use super::normal::log_interval;

/// The forward process, and the ancestral sampler of all T steps against which it is held.
pub struct Process {
    alpha_bars: Vec<f64>,
    /// `ancestral-T`, t rising from 0; index t holds the papers' t + 1.
    table: Table,
    /// K.
    strata: usize,
    seed: u64,
}

/// A question to the network: its output for `x` at time index `t`.
pub struct Query {
    /// Time index, `0..T`.
    pub t: usize,
    /// The network's input.
    pub x: Vec<f32>,
}

/// A network: its outputs for some queries.
pub type Ask<'a, E> = dyn FnMut(&[Query]) -> Result<Vec<Vec<f32>>, E> + 'a;

/// The bound's parts for one picture, in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// L_T.
    pub prior: f64,
    /// L_0 with σ_1² = β̃_2.
    pub reconstruction: f64,
    /// L_0 with σ_1² = β_1.
    pub reconstruction_beta: f64,
    /// An estimate of the sum of L_{t−1} over each part of t = 2..T.
    pub strata: Vec<f64>,
}

/// The bound over pictures, bits per dimension.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// In all.
    pub total: Mean,
    /// L_T.
    pub prior: Mean,
    /// Σ L_{t−1}.
    pub denoising: Mean,
    /// L_0, σ_1² = β̃_2.
    pub reconstruction: Mean,
    /// L_0, σ_1² = β_1, not part of the total.
    pub reconstruction_beta: Mean,
    /// Mean of one L_{t−1} in each part of t = 2..T.
    pub by_time: Vec<f64>,
    /// Of every picture, for differences.
    pub pictures: Vec<f64>,
}

impl Terms {
    /// All of them, in order.
    pub fn to_row(&self) -> Vec<f64> {
        let mut row = vec![self.prior, self.reconstruction, self.reconstruction_beta];
        row.extend(&self.strata);
        row
    }

    /// From [`Self::to_row`].
    pub fn from_row(row: &[f64]) -> Self {
        Self { prior: row[0], reconstruction: row[1], reconstruction_beta: row[2], strata: row[3..].to_vec() }
    }
}

impl Process {
    /// `table` is the sampler `ancestral-T`; T − 1 ≥ `strata` ≥ 1.
    pub fn new(alpha_bars: Vec<f64>, mut table: Table, strata: usize, seed: u64) -> Self {
        table.rows.reverse();
        Self { alpha_bars, table, strata, seed }
    }

    /// First time indices of the parts of `1..T`, and T.
    pub fn bounds(&self) -> Vec<usize> {
        let (times, strata) = (self.alpha_bars.len() - 1, self.strata);
        (0..=strata).map(|k| 1 + k.max(times * k * k / (strata * strata))).collect()
    }

    /// The parts of the bound for picture number `i`, bytes `[H, W, C]`. `network` is asked once.
    ///
    /// # Errors
    /// Those of the network.
    pub fn terms<E>(&self, i: u64, picture: &[u8], network: &mut Ask<'_, E>) -> Result<Terms, E> {
        let x0: Vec<f64> = picture.iter().map(|&byte| f64::from(byte) / 127.5 - 1.0).collect();
        let mut rng = Philox::new(self.seed, i);
        let bounds = self.bounds();
        let draw = |part: &[usize]| part[0] + ((u64::from(rng.next_u32()) * (part[1] - part[0]) as u64) >> 32) as usize;
        let times: Vec<usize> = std::iter::once(0).chain(bounds.windows(2).map(draw)).collect();
        let mut noise = Gaussian(rng);
        let noisy: Vec<Vec<f32>> = times.iter().map(|&t| self.diffuse(&x0, t, &mut noise)).collect();
        let query = |(&t, x): (&usize, &Vec<f32>)| {
            let c_in = self.table.rows[t].c_in as f32;
            Query { t, x: x.iter().map(|x| c_in * x).collect() }
        };
        let queries: Vec<Query> = times.iter().zip(&noisy).map(query).collect();
        let outputs = network(&queries)?;

        let estimate = |at: usize| {
            let row = &self.table.rows[times[at]];
            let x0 = |(&x, &out): (&f32, &f32)| row.k0 * f64::from(x) - row.k1 * f64::from(out);
            noisy[at].iter().zip(&outputs[at]).map(x0).collect::<Vec<f64>>()
        };
        let strata = bounds.windows(2).enumerate().map(|(k, part)| {
            let row = &self.table.rows[times[k + 1]];
            let error: f64 = estimate(k + 1).iter().zip(&x0).map(|(guess, x0)| (guess - x0).powi(2)).sum();
            (part[1] - part[0]) as f64 * row.a * row.a * error / (2.0 * row.c * row.c)
        });
        let strata = strata.collect();
        let first = estimate(0);
        Ok(Terms {
            prior: x0.iter().map(|x0| prior(*x0, self.alpha_bars[self.alpha_bars.len() - 1])).sum(),
            reconstruction: reconstruction(picture, &first, self.table.rows[1].c),
            reconstruction_beta: reconstruction(picture, &first, (1.0 - self.alpha_bars[0]).sqrt()),
            strata,
        })
    }

    /// x_t = √ᾱ·x_0 + √(1 − ᾱ)·ε.
    fn diffuse(&self, x0: &[f64], t: usize, noise: &mut impl Noise) -> Vec<f32> {
        let (signal, sigma) = (self.alpha_bars[t].sqrt(), (1.0 - self.alpha_bars[t]).sqrt());
        let mut epsilon = vec![0.0; x0.len()];
        noise.fill(&mut epsilon);
        x0.iter().zip(epsilon).map(|(x0, epsilon)| (signal * x0 + sigma * f64::from(epsilon)) as f32).collect()
    }

    /// The bound over pictures of `len` bytes.
    pub fn bound(&self, pictures: &[Terms], len: usize) -> Bound {
        let bits = 1.0 / (len as f64 * std::f64::consts::LN_2);
        let mean = |term: &dyn Fn(&Terms) -> f64| Mean::of(pictures.iter().map(|terms| bits * term(terms)));
        let denoising = |terms: &Terms| terms.strata.iter().sum::<f64>();
        let total = |terms: &Terms| terms.prior + denoising(terms) + terms.reconstruction;
        let bounds = self.bounds();
        let at = |(k, part): (usize, &[usize])| mean(&|terms| terms.strata[k]).mean / (part[1] - part[0]) as f64;
        Bound {
            total: mean(&total),
            prior: mean(&|terms| terms.prior),
            denoising: mean(&denoising),
            reconstruction: mean(&|terms| terms.reconstruction),
            reconstruction_beta: mean(&|terms| terms.reconstruction_beta),
            by_time: bounds.windows(2).enumerate().map(at).collect(),
            pictures: pictures.iter().map(|terms| bits * total(terms)).collect(),
        }
    }
}

impl Bound {
    /// How much more bits per dimension this takes than another network on the same pictures, t and ε.
    pub fn above(&self, other: &Self) -> Mean {
        Mean::of(self.pictures.iter().zip(&other.pictures).map(|(a, b)| a - b))
    }
}

/// KL(N(√ᾱ·x_0, 1 − ᾱ) ‖ N(0, 1)).
fn prior(x0: f64, alpha_bar: f64) -> f64 {
    0.5 * (alpha_bar * x0 * x0 - alpha_bar - (-alpha_bar).ln_1p())
}

/// −log of the probability of a picture's bytes under N(means, deviation²), cut into bins.
fn reconstruction(picture: &[u8], means: &[f64], deviation: f64) -> f64 {
    let edge = |position: f64, mean: f64| ((position * 2.0 / 255.0 - 1.0) - mean) / deviation;
    let bin = |(&byte, &mean): (&u8, &f64)| {
        // Bin b of 0..=255 lies around 2·b/255 − 1, half a spacing, 1/255, to each side.
        let low = if byte == 0 { f64::NEG_INFINITY } else { edge(f64::from(byte) - 0.5, mean) };
        let high = if byte == 255 { f64::INFINITY } else { edge(f64::from(byte) + 0.5, mean) };
        -log_interval(low, high)
    };
    picture.iter().zip(means).map(bin).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
    use grano_codegen::schedule::{Prediction, SamplerSpec};
    use std::convert::Infallible;

    const T: usize = 12;

    fn process(strata: usize) -> Process {
        let schedule = NoiseSchedule { kind: ScheduleKind::Linear { beta_start: 0.001, beta_end: 0.5 }, steps: T };
        let spec: SamplerSpec = format!("ancestral-{T}").parse().unwrap();
        Process::new(schedule.alpha_bars().unwrap(), spec.table(&schedule, Prediction::Epsilon).unwrap(), strata, 0)
    }

    /// The bytes' probabilities sum to 1, wherever the mean lies.
    #[test]
    fn bins_fill_the_line() {
        for (mean, deviation) in [(0.0, 0.01), (-0.999, 0.002), (1.0, 0.3), (0.3, 10.0), (-5.0, 0.7), (7.0, 0.001)] {
            let sum: f64 = (0..=255).map(|byte| (-reconstruction(&[byte], &[mean], deviation)).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-10, "{mean} {deviation}: {sum}");
            let terms = (0..=255).map(|byte| reconstruction(&[byte], &[mean], deviation));
            assert!({ terms }.all(f64::is_finite), "{mean} {deviation}");
        }
    }

    /// Data N(0, 1) has the optimal network ε = √(1 − ᾱ)·x. For a picture x_0 then
    /// x_0 − x̂0 = (1 − ᾱ)·x_0 − √(ᾱ(1 − ᾱ))·ε, whose square has the mean (1 − ᾱ)²·x_0² + ᾱ(1 − ᾱ).
    #[test]
    fn a_gaussian_model_has_a_closed_form() {
        let byte = 200u8;
        let x0 = f64::from(byte) / 127.5 - 1.0;
        for strata in [1, 4, T - 1] {
            let process = process(strata);
            let mut network = |queries: &[Query]| {
                let sigma = |query: &Query| (1.0 - process.alpha_bars[query.t]).sqrt() as f32;
                Ok::<_, Infallible>(queries.iter().map(|q| q.x.iter().map(|x| sigma(q) * x).collect()).collect())
            };
            let terms = |i| process.terms(i, &[byte], &mut network).unwrap_or_else(|never| match never {});
            let all: Vec<Terms> = (0..20_000).map(terms).collect();
            let bound = process.bound(&all, 1);

            let nats = std::f64::consts::LN_2;
            let alpha_bars = &process.alpha_bars;
            let denoising: f64 = (1..T)
                .map(|t| {
                    let (now, before) = (alpha_bars[t], alpha_bars[t - 1]);
                    let beta = 1.0 - now / before;
                    let error = (1.0 - now).powi(2) * x0 * x0 + now * (1.0 - now);
                    before * (beta / (1.0 - now)).powi(2) * error / (2.0 * beta * (1.0 - before) / (1.0 - now))
                })
                .sum();
            // L_0 over ε ~ N(0, 1), x̂0 = √ᾱ·x_1, by the midpoint rule.
            let (signal, sigma) = (alpha_bars[0].sqrt(), (1.0 - alpha_bars[0]).sqrt());
            let reconstruction: f64 = (0..20_000)
                .map(|i| {
                    let epsilon = (f64::from(i) + 0.5) / 1000.0 - 10.0;
                    let density = (-0.5 * epsilon * epsilon).exp() / std::f64::consts::TAU.sqrt();
                    let mean = signal * (signal * x0 + sigma * epsilon);
                    density / 1000.0 * super::reconstruction(&[byte], &[mean], process.table.rows[1].c)
                })
                .sum();
            let near = |mean: Mean, nat: f64, what: &str| {
                let error = (mean.mean - nat / nats) / mean.standard_error;
                assert!(error.abs() < 4.0, "{what}, {strata} strata: {mean:?} against {}", nat / nats);
            };
            near(bound.denoising, denoising, "denoising");
            near(bound.reconstruction, reconstruction, "reconstruction");
            let last = alpha_bars[T - 1];
            let prior = 0.5 * (last * x0 * x0 + (1.0 - last) - 1.0 - (1.0 - last).ln());
            assert!((bound.prior.mean - prior / nats).abs() < 1e-12);
            near(bound.total, prior + denoising + reconstruction, "total");
            assert_eq!(bound.above(&bound), Mean { mean: 0.0, standard_error: 0.0 });
        }
    }

    #[test]
    fn parts_of_time_cover_it() {
        assert_eq!(process(T - 1).bounds(), (1..=T).collect::<Vec<_>>());
        assert_eq!(process(1).bounds(), [1, T]);
        assert_eq!(process(4).bounds(), [1, 2, 3, 7, 12]);
    }
}
