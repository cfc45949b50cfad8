//! Samplers, guidance, inverse problems and likelihoods against exact answers, by denoisers that are exactly right.
//!
//! A map of 64×64 pixels is 4096 independent draws. Of n draws a variance is known to √(2/n): with 12,288 to 1.3 %.

use std::path::Path;
use std::sync::Arc;

use grano::guidance::Classifier;
use grano::hooks::{At, Guide, Observe, WithMap};
use grano::inverse::{Boxes, Ddnm, Known, Replace};
use grano::network::Layers;
use grano::{Gaussian, Hooks, Noise, Philox, Request, Shape};
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::load::parse;
use grano_codegen::runtime::{Begin, OwnedTable, Runtime};
use grano_codegen::schedule::{Prediction, SamplerSpec};
use grano_codegen::score::Score;
use grano_codegen::{Build, Precision, Target};
use grano_networks::closed::{self, Data};

const SIDES: [usize; 2] = [64, 64];
const PIXELS: usize = SIDES[0] * SIDES[1];
const COSINE: NoiseSchedule = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 1000 };
const PREDICTIONS: [Prediction; 4] = [Prediction::Epsilon, Prediction::Velocity, Prediction::X0, Prediction::Mean];
const ONCE: Request = Request { label: None, guidance: 1.0 };

/// Three dimensions, turned: axes by Rodrigues' half turn about (1, 2, 3).
fn correlated() -> Data {
    let n = [1.0, 2.0, 3.0].map(|v: f64| v / 14f64.sqrt());
    let axis = |i: usize| (0..3).map(|j| 2.0 * n[i] * n[j] - if i == j { 1.0 } else { 0.0 }).collect();
    Data::Gaussian { mean: vec![0.3, -0.2, 0.1], axes: (0..3).map(axis).collect(), variances: vec![0.3, 0.1, 0.05] }
}

fn isotropic(channels: usize, mean: f64, variance: f64) -> Data {
    let axis = |i: usize| (0..channels).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
    let axes = (0..channels).map(axis).collect();
    Data::Gaussian { mean: vec![mean; channels], axes, variances: vec![variance; channels] }
}

fn mixture() -> Data {
    let means = vec![vec![-0.5, 0.2], vec![0.4, 0.5], vec![0.3, -0.6]];
    Data::Mixture { weights: vec![0.5, 0.3, 0.2], means, variance: 0.02 }
}

fn runtime(data: &Data, schedule: &NoiseSchedule, prediction: Prediction, sampler: &str) -> Runtime {
    build(data, schedule, prediction, sampler, Precision::F32, &[schedule.steps / 2])
}

fn build(
    data: &Data,
    schedule: &NoiseSchedule,
    prediction: Prediction,
    sampler: &str,
    precision: Precision,
    times: &[usize],
) -> Runtime {
    let bytes = closed::model(data, SIDES, schedule.clone(), prediction, times).unwrap();
    let model = Arc::new(parse(&bytes, Path::new("made up")).unwrap());
    Build::of(model).target(Target::Portable).precision(precision).samplers([sampler]).runtime().unwrap()
}

/// A sampler without a clip, which would cut the Gaussians' tails.
fn unclipped(runtime: &Runtime, sampler: &str) -> OwnedTable {
    let spec = SamplerSpec { clip: None, ..sampler.parse().unwrap() };
    let header = runtime.header();
    runtime.own(&spec.table(&header.schedule, header.prediction).unwrap()).unwrap()
}

/// Pixels of so many pictures, by channel.
struct Draws {
    channels: Vec<Vec<f64>>,
}

impl Draws {
    fn push(&mut self, x: &[f32]) {
        let channels = self.channels.len();
        x.iter().enumerate().for_each(|(i, &v)| self.channels[i % channels].push(v.into()));
    }

    fn mean(&self, channel: usize) -> f64 {
        mean(&self.channels[channel])
    }

    fn covariance(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.mean(i), self.mean(j));
        let products = self.channels[i].iter().zip(&self.channels[j]).map(|(x, y)| (x - a) * (y - b));
        products.sum::<f64>() / self.channels[i].len() as f64
    }

    /// The pixels for which something holds.
    fn filter(&self, holds: impl Fn(&[f64]) -> bool) -> Self {
        let pixel = |i: usize| self.channels.iter().map(|channel| channel[i]).collect::<Vec<f64>>();
        let kept: Vec<Vec<f64>> = (0..self.channels[0].len()).map(pixel).filter(|pixel| holds(pixel)).collect();
        Self { channels: (0..self.channels.len()).map(|c| kept.iter().map(|pixel| pixel[c]).collect()).collect() }
    }

    fn len(&self) -> usize {
        self.channels[0].len()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn draws(runtime: &Runtime, sampler: &str, count: usize, request: Request) -> Draws {
    draws_with(runtime, sampler, count, request, |_| Hooks::<()>::default())
}

fn draws_with<G: Guide, O: Observe>(
    runtime: &Runtime,
    sampler: &str,
    count: usize,
    request: Request,
    hooks: impl Fn(usize) -> Hooks<G, O>,
) -> Draws {
    let (mut painter, table) = (runtime.painter().unwrap(), unclipped(runtime, sampler));
    let mut draws = Draws { channels: vec![Vec::new(); painter.shape().channels] };
    for i in 0..count {
        let noise = Gaussian(Philox::new(1, i as u64));
        draws.push(painter.draw_with(Begin::Noise, &table, noise, request, &mut hooks(i), &mut |_| {}).unwrap());
    }
    draws
}

fn observing<O>(observe: O) -> Hooks<(), O> {
    Hooks { guide: (), observe, watch: () }
}

/// Memory for correctors.
fn with_map(channels: usize) -> Hooks<(), WithMap<(), Vec<f32>>> {
    observing(WithMap { observe: (), map: vec![0.0; channels * PIXELS] })
}

/// Means to `tolerance` of a standard deviation, covariances to that of the variances.
fn assert_gaussian(draws: &Draws, data: &Data, tolerance: f64, what: &str) {
    let Data::Gaussian { mean, axes, variances } = data else { panic!("a Gaussian") };
    let exact = |i: usize, j: usize| axes.iter().zip(variances).map(|(u, v)| u[i] * u[j] * v).sum::<f64>();
    for (i, mean) in mean.iter().enumerate() {
        let error = (draws.mean(i) - mean) / exact(i, i).sqrt();
        assert!(error.abs() < tolerance, "{what}: mean of {i} off by {error} deviations");
        for j in 0..=i {
            let (drawn, exact_ij) = (draws.covariance(i, j), exact(i, j));
            let error = (drawn - exact_ij) / (exact(i, i) * exact(j, j)).sqrt();
            assert!(error.abs() < tolerance, "{what}: covariance {i}, {j} is {drawn}, not {exact_ij}");
        }
    }
}

#[test]
fn every_sampler_draws_a_correlated_gaussian() {
    let data = correlated();
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-1000");
    for (sampler, tolerance) in [
        ("ancestral-1000", 0.05),
        ("ddim-500", 0.05),
        ("ddim-500-eta0.5", 0.05),
        ("dpm-100", 0.04),
        ("ancestral-250-travel50x2", 0.08),
    ] {
        assert_gaussian(&draws(&runtime, sampler, 3, ONCE), &data, tolerance, sampler);
    }
    let corrected = draws_with(&runtime, "pc-1000-snr0.1", 3, ONCE, |_| with_map(3));
    assert_gaussian(&corrected, &data, 0.05, "pc-1000-snr0.1");
}

/// The variance that discretised Langevin dynamics end with, in the words of Song & Ermon 2019, algorithm 1, on x/a with
/// noise σ/a, for N(0, v): s(x) = −x/(v + σ²).
fn langevin_variance(levels: &[f64], each: usize, step: f64, v: f64) -> f64 {
    let first = levels[0];
    // x_T ~ N(0, 1) is N(0, 1 + σ²) on this scale.
    let mut variance = 1.0 + first * first;
    for (i, sigma) in levels.iter().enumerate() {
        let alpha = step * sigma * sigma;
        for j in 0..each {
            if i + 1 == levels.len() && j + 1 == each {
                // The last evaluation is the mean of x_0 for this x.
                return variance * (v / (v + sigma * sigma)).powi(2);
            }
            variance = variance * (1.0 - alpha / 2.0 / (v + sigma * sigma)).powi(2) + alpha;
        }
    }
    variance
}

#[test]
fn langevin_dynamics_are_the_algorithm() {
    let data = isotropic(3, 0.0, 0.3);
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-1000");
    let alpha_bars = COSINE.alpha_bars().unwrap();
    for (steps, each, step, from_truth) in [(500, 5, 0.2, 0.25), (10_000, 10, 0.1, 0.05)] {
        let name = format!("langevin-{steps}-each{each}-step{step}");
        let spec: SamplerSpec = name.parse().unwrap();
        let sigma = |t: usize| ((1.0 - alpha_bars[t]) / alpha_bars[t]).sqrt();
        let levels: Vec<f64> = spec.time_indices(1000).unwrap().into_iter().map(sigma).collect();
        let expected = langevin_variance(&levels, each, step, 0.3);
        assert!((expected / 0.3 - 1.0).abs() < from_truth, "{name}: {expected}");
        assert_gaussian(&draws(&runtime, &name, 1, ONCE), &isotropic(3, 0.0, expected), 0.05, &name);
    }
}

#[test]
fn predictions_are_rows_and_draw_the_same() {
    let data = mixture();
    let picture = |prediction: Prediction, schedule: &NoiseSchedule| {
        let runtime = runtime(&data, schedule, prediction, "ddim-50-eta0.5");
        draws(&runtime, "ddim-50-eta0.5", 1, Request { label: Some(1), guidance: 1.5 }).channels.concat()
    };
    for kind in [ScheduleKind::DDPM_LINEAR, ScheduleKind::Cosine] {
        let schedule = NoiseSchedule { kind, steps: 200 };
        let [epsilon, others @ ..] = PREDICTIONS.map(|prediction| picture(prediction, &schedule));
        for (other, prediction) in others.iter().zip(&PREDICTIONS[1..]) {
            let distances = epsilon.iter().zip(other).map(|(a, b)| (a - b).abs());
            let largest = distances.fold(0.0, f64::max);
            // Of a mean, x̂0 is a difference that grows with σ²/β; f32 keeps 1e-4 of it.
            assert!(largest < 2e-2, "{prediction:?}: {largest}");
        }
    }
}

/// Components by the nearest mean. Their variance, 0.02, is that of noise at t = 90: the steps below it are few, and variances
/// come out 3 % too small in 1000 steps, 10 % in 100, as a recursion in f64 does: their weights, means and variances.
fn assert_mixture(draws: &Draws, data: &Data, expected: &[f64], tolerance: f64, what: &str) {
    let Data::Mixture { means, variance, .. } = data else { panic!("a mixture") };
    let distance = |pixel: &[f64], mean: &[f64]| pixel.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum::<f64>();
    let nearest = |pixel: &[f64]| {
        (0..means.len()).min_by(|&i, &j| distance(pixel, &means[i]).total_cmp(&distance(pixel, &means[j])))
    };
    for (k, (mean, weight)) in means.iter().zip(expected).enumerate() {
        let component = draws.filter(|pixel| nearest(pixel) == Some(k));
        let share = component.len() as f64 / draws.len() as f64;
        assert!((share - weight).abs() < 0.03, "{what}: weight {k} is {share}, not {weight}");
        if *weight < 0.01 {
            continue;
        }
        for (channel, mean) in mean.iter().enumerate() {
            let (drawn, spread) = (component.mean(channel), component.covariance(channel, channel));
            assert!((drawn - mean).abs() < 0.03, "{what}: mean {k}, {channel} is {drawn}, not {mean}");
            let error = spread / variance - 1.0;
            assert!(error.abs() < tolerance, "{what}: variance {k}, {channel} is {spread}, not {variance}");
        }
    }
}

#[test]
fn a_mixture_keeps_its_weights() {
    let (data, weights) = (mixture(), [0.5, 0.3, 0.2]);
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-1000");
    for (sampler, tolerance) in [("ancestral-1000", 0.1), ("ddim-500", 0.1), ("dpm-50", 0.12)] {
        assert_mixture(&draws(&runtime, sampler, 3, ONCE), &data, &weights, tolerance, sampler);
    }
    assert_mixture(&draws_with(&runtime, "pc-1000", 3, ONCE, |_| with_map(2)), &data, &weights, 0.1, "pc-1000");
    // The steps are too large for the components' own width, see `langevin_dynamics_are_the_algorithm`.
    let langevin = draws(&runtime, "langevin-4000-each8-step0.1", 1, ONCE);
    assert_mixture(&langevin, &data, &weights, 0.2, "langevin");
    for (label, expected) in [(0, [1.0, 0.0, 0.0]), (2, [0.0, 0.0, 1.0])] {
        let request = Request { label: Some(label), guidance: 1.0 };
        assert_mixture(&draws(&runtime, "ancestral-500", 2, request), &data, &expected, 0.12, "a class");
    }
}

/// The gradient of log p(y | x_t) is the difference of two scores: so the guided sampler is classifier-free guidance, value by
/// value, whatever the scale and whatever the network predicts.
#[test]
fn a_classifier_guides_as_the_labelled_denoiser_does() {
    let data = mixture();
    for prediction in [Prediction::Epsilon, Prediction::Velocity, Prediction::X0] {
        let runtime = runtime(&data, &COSINE, prediction, "ddim-100");
        let classifier = runtime.network("classifier").unwrap();
        for (label, scale) in [(0, 1.0), (1, 1.0), (2, 2.5), (1, 0.0)] {
            let guided = draws_with(&runtime, "ddim-100", 1, ONCE, |_| {
                let network: &dyn Layers = &classifier;
                let guide = Classifier::new(network, 1, label, scale, vec![0.0; 2 * PIXELS]);
                Hooks { guide, observe: (), watch: () }
            });
            let free = draws(&runtime, "ddim-100", 1, Request { label: Some(label), guidance: scale });
            let pairs = guided.channels.iter().flatten().zip(free.channels.iter().flatten());
            let far = pairs.filter(|(a, b)| (*a - *b).abs() > 2e-2).count();
            // Where two components are equally near, rounding may decide.
            assert!(far < PIXELS / 200, "{prediction:?}, class {label}, scale {scale}: {far} values differ");
        }
        if prediction == Prediction::Epsilon {
            let guided = draws_with(&runtime, "ddim-100", 2, ONCE, |_| {
                let guide = Classifier::new(&classifier, 1, 2, 1.0, vec![0.0; 2 * PIXELS]);
                Hooks { guide, observe: (), watch: () }
            });
            assert_mixture(&guided, &data, &[0.0, 0.0, 1.0], 0.15, "scale 1");
        }
    }
}

/// A picture of y in every known place: pixels of even number, or channel 0 alone.
fn constant(channels: usize, y: f32) -> Vec<f32> {
    vec![y; channels * PIXELS]
}

#[test]
fn inpainting_an_independent_gaussian_leaves_the_rest_as_it_is() {
    let (data, picture) = (isotropic(1, 0.1, 0.1), constant(1, 0.7));
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-500");
    // Every second pixel.
    let bits = vec![0b0101_0101; PIXELS / 8];
    let known = Known { bits: &bits, picture: &picture, channels: 1 };
    let check = |draws: &Draws, what: &str| {
        let (seen, hidden): (Vec<_>, Vec<_>) = draws.channels[0].iter().enumerate().partition(|(i, _)| i % 2 == 0);
        assert!(seen.iter().all(|(_, v)| (**v - 0.7).abs() < 1e-6), "{what}");
        let hidden = Draws { channels: vec![hidden.into_iter().map(|(_, v)| *v).collect()] };
        assert_gaussian(&hidden, &data, 0.04, what);
    };
    check(&draws_with(&runtime, "ancestral-500", 8, ONCE, |_| observing(known)), "DDNM");
    let replace = |i: usize| {
        let observe = Replace::new(known, Gaussian(Philox::new(7, i as u64)));
        Hooks { guide: (), observe, watch: () }
    };
    check(&draws_with(&runtime, "ancestral-500", 8, ONCE, replace), "replacement");
}

/// Of means of boxes y, an independent Gaussian's pixels have the posterior mean y and the variance v·(1 − 1/k²).
#[test]
fn super_resolution_of_an_independent_gaussian_is_the_exact_posterior() {
    let data = isotropic(1, 0.1, 0.03);
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-1000");
    let shape = Shape { height: SIDES[0], width: SIDES[1], channels: 1 };
    let hooks = |_| {
        let a = Boxes { shape, side: 4 };
        let y = vec![0.2; a.measured().len()];
        observing(Ddnm { a, y, map: vec![0.0; PIXELS] })
    };
    let drawn = draws_with(&runtime, "ancestral-1000", 6, ONCE, hooks);
    // The last step holds pixels to −1 to 1, some 5 deviations away.
    let posterior = isotropic(1, 0.2, 0.03 * (1.0 - 1.0 / 16.0));
    assert_gaussian(&drawn, &posterior, 0.05, "boxes");
}

/// One channel of a correlated Gaussian is known. DDNM is not the exact posterior: its mean and variance are those of its own
/// recursion, and the mean is not far from the exact one.
#[test]
fn ddnm_of_a_correlated_gaussian_is_its_recursion() {
    // S = [[v, r], [r, v]]
    let (v, r, y) = (0.1, 0.06, 0.5);
    let half = 0.5_f64.sqrt();
    let axes = vec![vec![half, half], vec![half, -half]];
    let data = Data::Gaussian { mean: vec![0.0; 2], axes, variances: vec![v + r, v - r] };
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ancestral-500");

    /// Channel 0 is known.
    struct First(f32);

    impl Observe for First {
        fn x0(&mut self, _: &At<'_>, first: usize, x0: &mut [f32]) {
            x0.iter_mut().enumerate().filter(|(i, _)| (first + i).is_multiple_of(2)).for_each(|(_, x0)| *x0 = self.0);
        }
    }

    let drawn = draws_with(&runtime, "ancestral-500", 8, ONCE, |_| observing(First(y as f32)));
    assert!(drawn.channels[0].iter().all(|x| (x - y).abs() < 1e-6));
    // Mean, variance and covariance of (x_1, x_2), by q(x_s | x_t, x̂0) (Ho et al. 2020, eq. 7).
    let alpha_bars = COSINE.alpha_bars().unwrap();
    let times = "ancestral-500".parse::<SamplerSpec>().unwrap().time_indices(1000).unwrap();
    let (mut m, mut s) = ([0.0; 2], [[1.0, 0.0], [0.0, 1.0]]);
    for (i, &t) in times.iter().enumerate() {
        let (now, next) = (alpha_bars[t], times.get(i + 1).map_or(1.0, |&t| alpha_bars[t]));
        let (beta, rest) = (1.0 - now / next, 1.0 - now);
        let (of_x0, of_x) = (next.sqrt() * beta / rest, (now / next).sqrt() * (1.0 - next) / rest);
        // E[x_0 | x_t] = a·S·(a²S + σ²)⁻¹ x_t, of which the second row counts.
        let a = now.sqrt();
        let gain = |variance: f64| a * variance / (now * variance + rest);
        let row = [0.5 * (gain(v + r) - gain(v - r)), 0.5 * (gain(v + r) + gain(v - r))];
        let matrix = [[of_x, 0.0], [of_x0 * row[0], of_x0 * row[1] + of_x]];
        m = [of_x * m[0] + of_x0 * y, matrix[1][0] * m[0] + matrix[1][1] * m[1]];
        let times =
            |a: [[f64; 2]; 2], b: [[f64; 2]; 2]| [0, 1].map(|i| [0, 1].map(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]));
        let turned = [[matrix[0][0], matrix[1][0]], [matrix[0][1], matrix[1][1]]];
        s = times(times(matrix, s), turned);
        let noise = beta * (1.0 - next) / rest;
        (s[0][0], s[1][1]) = (s[0][0] + noise, s[1][1] + noise);
    }
    let (mean, variance) = (drawn.mean(1), drawn.covariance(1, 1));
    assert!((mean - m[1]).abs() < 0.01 && (variance / s[1][1] - 1.0).abs() < 0.04, "{mean} {variance}: {m:?} {s:?}");
    let (exact_mean, exact_variance) = (r / v * y, v - r * r / v);
    println!(
        "hidden channel: mean {mean:.3}, exact {exact_mean:.3}; variance {variance:.4}, exact {exact_variance:.4}"
    );
    assert!(0.5 * exact_mean < mean && mean < exact_mean, "{mean}, {exact_mean}");
}

/// Bounds of a Gaussian's pictures, by the formulas: −log of each term's expectation over the noise.
#[test]
fn likelihoods_are_those_of_a_gaussian() {
    let v = 0.09;
    let data = isotropic(1, 0.0, v);
    let (budget, alpha_bars) = (100, COSINE.alpha_bars().unwrap());
    for precision in [Precision::F32, Precision::Int8] {
        let times: Vec<usize> = [0, 2, 5, 10, 20, 50, 100, 200, 400, 600, 800, 999].to_vec();
        let runtime = build(&data, &COSINE, Prediction::Epsilon, "ancestral-1000", precision, &times);
        let score = Score::new(runtime.header(), budget).unwrap();
        let table = runtime.own(score.table()).unwrap();
        let mut painter = runtime.painter().unwrap();
        let mut z = vec![0.0; PIXELS];
        Gaussian(Philox::new(9, 9)).fill(&mut z);
        let bytes: Vec<u8> = z.iter().map(|z| grano::picture::to_u8(z * v.sqrt() as f32)).collect();
        let scored = score.run(&mut painter, &table, &bytes, None).unwrap();
        let square = mean(&bytes.iter().map(|&b| f64::from(grano::picture::from_u8(b)).powi(2)).collect::<Vec<_>>());
        for (row, error) in score.table().rows.iter().zip(&scored.errors) {
            // x_0 − x̂0 = σ²/c·x_0 − a·v·σ/c·ε
            let (now, rest) = (alpha_bars[row.t], 1.0 - alpha_bars[row.t]);
            let c = now * v + rest;
            let expected = (rest / c).powi(2) * square + now * v * v * rest / (c * c);
            let off = f64::from(*error) / expected - 1.0;
            // x̂0 is a difference, divided by a: where a is small, codes of 8 bits leave nothing of it.
            let most = match precision {
                Precision::F32 => 0.1,
                _ if now < 0.05 => f64::INFINITY,
                _ => 0.6,
            };
            assert!(off.abs() < most, "t = {}: {error}, not {expected}", row.t);
        }
        let expected = bound(v, &bytes);
        // A part of time is taken for its middle.
        let most = if precision == Precision::F32 { 0.05 } else { 0.5 };
        let off = scored.bits - expected;
        assert!(off.abs() < most, "{}: {} bits, not {expected}", precision.name(), scored.bits);
        // No bound is below the entropy of the Gaussian's bytes but by chance; T = 1000 keeps it near.
        let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E * v * 127.5 * 127.5).log2();
        assert!((entropy - 0.05..entropy + 1.0).contains(&expected), "{expected} bits, entropy {entropy}");
    }
}

/// The expected bound of N(0, v), bits per dimension, over the noise: all T terms (Ho et al. 2020, eqs. 5 to 13).
fn bound(v: f64, bytes: &[u8]) -> f64 {
    let alpha_bars = COSINE.alpha_bars().unwrap();
    let x0: Vec<f64> = bytes.iter().map(|&byte| f64::from(byte) / 127.5 - 1.0).collect();
    let square = mean(&x0.iter().map(|x| x * x).collect::<Vec<_>>());
    let last = alpha_bars[alpha_bars.len() - 1];
    let prior = 0.5 * (last * square + (1.0 - last) - 1.0 - (1.0 - last).ln());
    let term = |t: usize| {
        // KL of two Gaussians of variance β̃: the squared distance of their means / 2β̃.
        let (now, before) = (alpha_bars[t], alpha_bars[t - 1]);
        let (beta, rest) = (1.0 - now / before, 1.0 - now);
        let c = now * v + rest;
        let error = (rest / c).powi(2) * square + now * v * v * rest / (c * c);
        before * (beta / rest).powi(2) * error / (2.0 * beta * (1.0 - before) / rest)
    };
    let denoising: f64 = (1..alpha_bars.len()).map(term).sum();
    // x̂0 = a·v/c·(a·x_0 + σ·ε), ε by the midpoint rule.
    let (now, next) = (alpha_bars[0], alpha_bars[1]);
    let c = now * v + 1.0 - now;
    let deviation = ((1.0 - next / now) * (1.0 - now) / (1.0 - next)).sqrt();
    let below = |x: f64| 0.5 * libm::erfc(-x * 0.5_f64.sqrt());
    let reconstruction = |x0: f64| -> f64 {
        let at = |i: i32| {
            let epsilon = (f64::from(i) + 0.5) / 50.0 - 6.0;
            let guess = now.sqrt() * v / c * (now.sqrt() * x0 + (1.0 - now).sqrt() * epsilon);
            let [low, high] = [-1.0, 1.0].map(|side| (x0 + side / 255.0 - guess) / deviation);
            let log = (below(high) - below(low)).max(1e-300).ln();
            -log * (-0.5 * epsilon * epsilon).exp() / std::f64::consts::TAU.sqrt() / 50.0
        };
        (0..600).map(at).sum()
    };
    let reconstruction = mean(&x0.iter().map(|&x0| reconstruction(x0)).collect::<Vec<_>>());
    (prior + denoising + reconstruction) / std::f64::consts::LN_2
}

/// x_0 to x_T and back: of a linear denoiser, too.
#[test]
fn encoding_is_undone_by_decoding() {
    let data = correlated();
    let runtime = runtime(&data, &COSINE, Prediction::Epsilon, "ddim-500");
    let z: Vec<f32> = {
        let mut z = vec![0.0; 3 * PIXELS];
        Gaussian(Philox::new(3, 3)).fill(&mut z);
        z
    };
    // Channels last, from channels first.
    let first = closed::picture(&data, &z, 0);
    let x0: Vec<f32> = (0..z.len()).map(|i| first[i % 3 * PIXELS + i / 3]).collect();
    let spec: SamplerSpec = "ddim-500".parse().unwrap();
    let header = runtime.header();
    let encoder = runtime.own(&spec.encoder(&header.schedule, header.prediction).unwrap()).unwrap();
    let mut painter = runtime.painter().unwrap();
    let noise = || Gaussian(Philox::new(0, 0));
    let none = &mut Hooks::<()>::default();
    let encoded = painter.draw_with(Begin::At(&x0), &encoder, noise(), ONCE, none, &mut |_| {}).unwrap().to_vec();
    let mut draws = Draws { channels: vec![Vec::new(); 3] };
    draws.push(&encoded);
    assert_gaussian(&draws, &isotropic(3, 0.0, 1.0), 0.06, "x_T");
    let decoded =
        painter.draw_with(Begin::At(&encoded), &unclipped(&runtime, "ddim-500"), noise(), ONCE, none, &mut |_| {});
    let errors = decoded.unwrap().iter().zip(&x0).map(|(a, b)| f64::from(a - b).powi(2));
    let error = (errors.sum::<f64>() / x0.len() as f64).sqrt();
    assert!(error < 0.02, "{error}");
}

#[test]
fn int8_draws_nearly_the_same() {
    let data = correlated();
    let times: Vec<usize> = (0..20).map(|i| 25 + 50 * i).collect();
    let runtime = build(&data, &COSINE, Prediction::Epsilon, "ddim-20-eta0.5", Precision::Int8, &times);
    let f32 = build(&data, &COSINE, Prediction::Epsilon, "ddim-20-eta0.5", Precision::F32, &times);
    let [int8, f32] = [&runtime, &f32].map(|runtime| draws(runtime, "ddim-20-eta0.5", 4, ONCE));
    for i in 0..3 {
        let (drawn, expected) = (int8.covariance(i, i), f32.covariance(i, i));
        assert!((int8.mean(i) - f32.mean(i)).abs() < 0.02, "mean {i}");
        assert!((drawn / expected - 1.0).abs() < 0.15, "variance {i}: {drawn}, in f32 {expected}");
    }
}
