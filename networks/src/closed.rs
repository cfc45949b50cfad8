//! Denoisers that are exactly right: of Gaussians and of mixtures of them, whose optimal ε is known in closed form.
//!
//! Every pixel is a draw of its own, its channels the dimensions: all convolutions are 1×1. With x_t = a·x_0 + σ·ε and c =
//! a²·v + σ²,
//!
//! ```text
//! N(m, S), S = U Λ Uᵀ:       ε = σ·U (a²Λ + σ²I)⁻¹ Uᵀ (x − a·m)
//! Σ_k w_k·N(m_k, v·I):       ε = σ/c·(x − a·Σ_k p_k·m_k),  p = softmax(log w_k + a/c·m_k·x − a²|m_k|²/2c)
//! ∇ log p(k | x_t) of these: a/c·(m_k − Σ_j p_j·m_j)
//! ```
//!
//! (Song & Ermon 2019's score of a Gaussian, −(x − a·m)/c, times −σ.) Gains and shifts by step come from a table of the
//! time index: functions that are piecewise linear in t, by ReLUs.

use std::collections::BTreeMap;

use grano_codegen::forward::NoiseSchedule;
use grano_codegen::graph::{
    Activation, Add, Builder, ChannelBias, Conv2d, Embedding, Function, Graph, LABEL, Linear, ScaleShift, Sinusoid,
    Softmax, T, X,
};
use grano_codegen::model::{CLASSIFIER, DENOISER, Header, Network};
use grano_codegen::schedule::{Level, Prediction};
use grano_codegen::{Error, Result};

use crate::calibrate::{self, Inputs, Part, scattered};

/// In place of log 0: what a class that was not asked for is moved down by.
const NEVER: f32 = -200.0;

/// Pixels that are independent draws of one distribution.
#[derive(Clone, Debug)]
pub enum Data {
    /// N(mean, S) with S = Σ_i variance_i·u_i·u_iᵀ.
    Gaussian {
        /// An element a channel.
        mean: Vec<f64>,
        /// Orthonormal: u_i is row i.
        axes: Vec<Vec<f64>>,
        /// Along each axis.
        variances: Vec<f64>,
    },
    /// Σ_k w_k·N(m_k, v·I), with a class a component and a classifier.
    Mixture {
        /// They sum to 1.
        weights: Vec<f64>,
        /// m_k.
        means: Vec<Vec<f64>>,
        /// v.
        variance: f64,
    },
}

impl Data {
    /// D.
    #[must_use]
    pub fn channels(&self) -> usize {
        match self {
            Self::Gaussian { mean, .. } => mean.len(),
            Self::Mixture { means, .. } => means[0].len(),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::Gaussian { .. } => 0,
            Self::Mixture { weights, .. } => weights.len(),
        }
    }
}

/// A graph with the values of its parameters.
struct Net {
    builder: Builder,
    values: BTreeMap<String, Vec<f32>>,
    /// By time index.
    levels: Vec<Level>,
}

impl Net {
    fn new(data: &Data, sides: [usize; 2], schedule: &NoiseSchedule) -> Result<Self> {
        let alpha_bars = schedule.alpha_bars()?;
        let finer = std::iter::once(1.0).chain(alpha_bars.iter().copied());
        let levels = alpha_bars.iter().zip(finer).map(|(&alpha_bar, finer)| Level { alpha_bar, finer }).collect();
        let builder = Builder::new([data.channels(), sides[0], sides[1]], data.classes());
        let mut net = Self { builder, values: BTreeMap::new(), levels };
        net.basis();
        Ok(net)
    }

    /// The ramps max(t − j, 0), j = 0..T − 1, of which every function of the time index is a sum.
    fn basis(&mut self) {
        let ramps = self.levels.len().max(2) - 1;
        // The second wave is so long that its sine is t/√MAX_PERIOD, nearly: ramps begin at its very values.
        const MAX_PERIOD: f64 = 1e10;
        self.builder.node("wave", Sinusoid { dim: 4, max_period: MAX_PERIOD }, &[T]);
        self.linear("ramps", "wave", ramps);
        self.builder.node("basis", Activation { function: Function::Relu }, &["ramps"]);
        let gain = MAX_PERIOD.sqrt() as f32;
        self.set("ramps.weight", (0..ramps).flat_map(|_| [0.0, gain, 0.0, 0.0]).collect());
        self.set("ramps.bias", (0..ramps).map(|j| -(self.clock(j) as f32)).collect());
    }

    /// The ramps' own time, almost t.
    fn clock(&self, t: usize) -> f64 {
        let omega = (-0.5 * 1e10_f64.ln()).exp();
        f64::from((t as f64 * omega).sin() as f32) * 1e5
    }

    fn set(&mut self, name: &str, values: Vec<f32>) {
        self.values.insert(name.into(), values);
    }

    fn linear(&mut self, name: &str, input: &str, out_features: usize) {
        self.builder.node(name, Linear { out_features }, &[input]);
    }

    /// A vector of the time index.
    fn table(&mut self, name: &str, of: impl Fn(Level) -> Vec<f64>) {
        let rows: Vec<Vec<f64>> = self.levels.iter().map(|&level| of(level)).collect();
        let (len, ramps) = (rows[0].len(), rows.len().max(2) - 1);
        self.linear(name, "basis", len);
        let slope = |i: usize, j: usize| match rows.get(j + 1) {
            Some(next) => (next[i] - rows[j][i]) / (self.clock(j + 1) - self.clock(j)),
            None => 0.0,
        };
        let bend = |i: usize, j: usize| slope(i, j) - j.checked_sub(1).map_or(0.0, |j| slope(i, j));
        let weight = (0..len).flat_map(|i| (0..ramps).map(move |j| (i, j))).map(|(i, j)| bend(i, j) as f32).collect();
        self.set(&format!("{name}.weight"), weight);
        self.set(&format!("{name}.bias"), rows[0].iter().map(|&v| v as f32).collect());
    }

    /// x·gain + shift, both of the time index.
    fn modulate(&mut self, name: &str, input: &str, of: impl Fn(Level) -> [Vec<f64>; 2]) {
        let (scale, shift) = (format!("{name}.scale"), format!("{name}.shift"));
        self.table(&scale, |level| of(level)[0].iter().map(|gain| gain - 1.0).collect());
        self.table(&shift, |level| of(level)[1].clone());
        self.builder.node(name, ScaleShift {}, &[input, &scale, &shift]);
    }

    /// A matrix, `rows[out][in]`.
    fn matrix(&mut self, name: &str, input: &str, rows: &[Vec<f64>]) {
        self.builder.node(name, Conv2d { out_channels: rows.len(), ..Conv2d::same(1) }, &[input]);
        self.set(&format!("{name}.weight"), rows.iter().flatten().map(|&v| v as f32).collect());
        self.set(&format!("{name}.bias"), vec![0.0; rows.len()]);
    }

    /// p of a mixture: `logits`, and their softmax, `p`.
    fn shares(&mut self, weights: &[f64], means: &[Vec<f64>], variance: f64) {
        self.matrix("dots", X, means);
        let (weights, squares): (Vec<f64>, Vec<f64>) =
            (weights.to_vec(), means.iter().map(|mean| mean.iter().map(|v| v * v).sum()).collect());
        self.modulate("logits", "dots", |level| {
            let (a, c) = (level.alpha_bar.sqrt(), level.alpha_bar * variance + 1.0 - level.alpha_bar);
            let shift = |(weight, square): (&f64, &f64)| weight.ln() - a * a * square / (2.0 * c);
            [vec![a / c; weights.len()], weights.iter().zip(&squares).map(shift).collect()]
        });
    }

    fn finish(self, outputs: &[&str]) -> Result<Network> {
        let graph: Graph = self.builder.finish_all(outputs)?;
        let mut values = self.values;
        let parameters = graph.parameters()?.into_iter().map(|parameter| {
            let value = values.remove(&parameter.name);
            let value = value.ok_or_else(|| Error::Model(format!("no values for `{}`", parameter.name)))?;
            Ok((parameter.name, value))
        });
        Ok(Network { parameters: parameters.collect::<Result<_>>()?, graph })
    }
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).collect()).collect()
}

/// The denoiser, on maps of `sides`, height and width, that predicts `prediction`.
///
/// # Errors
/// When the schedule is not sound.
pub fn denoiser(data: &Data, sides: [usize; 2], schedule: &NoiseSchedule, prediction: Prediction) -> Result<Network> {
    let mut net = Net::new(data, sides, schedule)?;
    let channels = data.channels();
    match data {
        Data::Gaussian { mean, axes, variances } => {
            net.matrix("turned", X, axes);
            let centre: Vec<f64> = axes.iter().map(|axis| axis.iter().zip(mean).map(|(u, m)| u * m).sum()).collect();
            net.modulate("white", "turned", |level| {
                let (a, sigma) = (level.alpha_bar.sqrt(), (1.0 - level.alpha_bar).sqrt());
                let gains: Vec<f64> = variances.iter().map(|v| sigma / (a * a * v + sigma * sigma)).collect();
                let shifts = gains.iter().zip(&centre).map(|(gain, m)| -gain * a * m).collect();
                [gains, shifts]
            });
            net.matrix("noise", "white", &transposed(axes));
        }
        Data::Mixture { weights, means, variance } => {
            net.shares(weights, means, *variance);
            let classes = weights.len();
            net.builder.node("class", Embedding { dim: classes }, &[LABEL]);
            let only =
                |label: usize| (0..classes).map(move |k| if label == k || label == classes { 0.0 } else { NEVER });
            net.set("class.weight", (0..=classes).flat_map(only).collect());
            net.builder.node("asked", ChannelBias {}, &["logits", "class"]);
            net.builder.node("p", Softmax {}, &["asked"]);
            net.matrix("centre", "p", &transposed(means));
            let gains = |level: Level| {
                let (a, sigma) = (level.alpha_bar.sqrt(), (1.0 - level.alpha_bar).sqrt());
                let gain = sigma / (a * a * variance + sigma * sigma);
                (gain, -gain * a)
            };
            net.modulate("of_x", X, |level| [vec![gains(level).0; channels], vec![0.0; channels]]);
            net.modulate("of_centre", "centre", |level| [vec![gains(level).1; channels], vec![0.0; channels]]);
            net.builder.node("noise", Add {}, &["of_x", "of_centre"]);
        }
    }
    // out = (ε − p·x)/q, of ε = p·x + q·out.
    if prediction != Prediction::Epsilon {
        let part = |level: Level, of: usize| {
            let [p, q] = prediction.epsilon(level);
            vec![if of == 0 { -p / q } else { 1.0 / q }; channels]
        };
        net.modulate("x.part", X, |level| [part(level, 0), vec![0.0; channels]]);
        net.modulate("noise.part", "noise", |level| [part(level, 1), vec![0.0; channels]]);
        net.builder.node("out", Add {}, &["x.part", "noise.part"]);
        return net.finish(&["out"]);
    }
    net.finish(&["noise"])
}

/// The classifier of a mixture: `logits` and `gradient`, that of the log-probability of the label.
///
/// # Errors
/// When the schedule is not sound, or the data have no classes.
pub fn classifier(data: &Data, sides: [usize; 2], schedule: &NoiseSchedule) -> Result<Network> {
    let Data::Mixture { weights, means, variance } = data else {
        return Err(Error::Model("a Gaussian has no classes".into()));
    };
    let mut net = Net::new(data, sides, schedule)?;
    let (classes, channels) = (weights.len(), data.channels());
    net.shares(weights, means, *variance);
    net.builder.node("p", Softmax {}, &["logits"]);
    net.builder.node("class", Embedding { dim: classes }, &[LABEL]);
    let one = |label: usize| (0..classes).map(move |k| if label == k { -1.0 } else { 0.0 });
    net.set("class.weight", (0..=classes).flat_map(one).collect());
    net.builder.node("excess", ChannelBias {}, &["p", "class"]);
    net.matrix("centre", "excess", &transposed(means));
    net.modulate("gradient", "centre", |level| {
        let a = level.alpha_bar.sqrt();
        [vec![-a / (a * a * variance + 1.0 - a * a); channels], vec![0.0; channels]]
    });
    net.finish(&["logits", "gradient"])
}

/// A header for such data; the labels are `0`, `1`, ….
#[must_use]
pub fn header(data: &Data, schedule: NoiseSchedule, prediction: Prediction) -> Header {
    let mut header = calibrate::header(schedule.steps, "ddim-10");
    header.data.labels = (0..data.classes()).map(|class| class.to_string()).collect();
    Header { schedule, prediction, ..header }
}

/// Numbers of about N(0, 1): sums of twelve uniform ones.
fn normal(seed: u32, len: usize) -> Vec<f32> {
    let mut random = scattered(seed);
    (0..len).map(|_| (0..12).map(|_| random()).sum()).collect()
}

/// The model file's bytes: a denoiser, and, of a mixture, a classifier. Ranges for int8 are those of q(x_t) at `times`,
/// ascending.
///
/// # Errors
/// When the schedule is not sound.
pub fn model(
    data: &Data,
    sides: [usize; 2],
    schedule: NoiseSchedule,
    prediction: Prediction,
    times: &[usize],
) -> Result<Vec<u8>> {
    let (len, alpha_bars, classes) = (sides[0] * sides[1], schedule.alpha_bars()?, data.classes());
    let inputs = |t: usize| {
        let (a, sigma) = (alpha_bars[t].sqrt() as f32, (1.0 - alpha_bars[t]).sqrt() as f32);
        let case = |seed: u32| {
            let noise = normal(2 * seed, len * data.channels());
            let clean = picture(data, &normal(2 * seed + 1, len * data.channels()), seed as usize);
            let x = clean.iter().zip(noise).map(|(x0, z)| a * x0 + sigma * z).collect();
            Inputs { values: BTreeMap::from([(X.to_string(), x)]), label: classes }
        };
        (0..4).map(case).collect::<Vec<_>>()
    };
    let cases: Vec<_> = times.iter().map(|&t| (t, inputs(t))).collect();
    let part = |name, network| Part { name, network, cases: cases.clone(), fine: Vec::new() };
    let mut parts = vec![part(DENOISER, denoiser(data, sides, &schedule, prediction)?)];
    if classes > 0 {
        parts.push(part(CLASSIFIER, classifier(data, sides, &schedule)?));
    }
    calibrate::models(parts, header(data, schedule, prediction))
}

/// Draws of the data, `[channels, height, width]`, from as many numbers of N(0, 1); of a mixture, pixel by pixel one component
/// after another, as often as its weight says.
#[must_use]
pub fn picture(data: &Data, z: &[f32], first: usize) -> Vec<f32> {
    let (channels, pixels) = (data.channels(), z.len() / data.channels());
    let mut picture = vec![0.0; z.len()];
    for pixel in 0..pixels {
        let z = |channel: usize| f64::from(z[channel * pixels + pixel]);
        for channel in 0..channels {
            picture[channel * pixels + pixel] = match data {
                Data::Gaussian { mean, axes, variances } => {
                    let along = axes.iter().zip(variances).enumerate();
                    mean[channel] + along.map(|(i, (axis, v))| axis[channel] * v.sqrt() * z(i)).sum::<f64>()
                }
                Data::Mixture { weights, means, variance } => {
                    // The golden ratio's multiples fill [0, 1) evenly.
                    let place = ((pixel + first) as f64 * 0.618_033_988_749_895).fract();
                    let mut sum = 0.0;
                    let is_past = |weight: &f64| {
                        sum += weight;
                        sum > place
                    };
                    let component = weights.iter().position(is_past).unwrap_or(0);
                    means[component][channel] + variance.sqrt() * z(channel)
                }
            } as f32;
        }
    }
    picture
}
