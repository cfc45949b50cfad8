//! A model learns from a discriminator to draw better in the few steps that it has (adversarial fine-tuning, in the
//! manner of Sauer et al. 2023).
//!
//! A small network that has learnt E[x_0 | x_t] alone spends its size on pictures that nobody sees, and draws a little
//! beside the data at every step. Here it draws by its own samplers, and after each step the discriminator compares x
//! with the data at that noise level, a_s·x_0 + σ_s·ε; the model's loss is
//!
//! ```text
//! softplus(D(real) − D(x)) + λ·|v_θ(x_t, t, y) − v(x_t, t, y)|²
//! ```
//!
//! where v is what the model said before, so that it stays a denoiser and keeps its variety; the second term counts at
//! draws from q(x_t | x_0) for all t, too, with and without label. A step's gradient stays within the step, so that
//! every evaluation of the network is one of training as well: a batch of pictures is always on its way, each at its own
//! step, and moves on by one step an update.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::load::load;
use grano_codegen::schedule::{Prediction, Table};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::data::Dataset;
use crate::discriminator::{Discriminator, Pairs};
use crate::finetune::{fake_quantized, pictures_for};
use crate::network::Network;
use crate::optimize::{self, Settings, State, Task, seed_of};
use crate::process::Process;
use crate::{checkpoint, sample};

/// Refines what a model draws in few steps, against a discriminator.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("4e-4")))]
#[command(mut_arg("steps", |argument| argument.default_value("6000")))]
#[command(mut_arg("warmup", |argument| argument.default_value("200")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.995")))]
pub struct Args {
    /// The model that is refined; its guidance must be in its weights
    #[arg(long)]
    pub model: PathBuf,
    /// IDX folder, folder with one subfolder of images per class, or .npy file
    #[arg(long)]
    pub data: PathBuf,
    /// Samplers to refine; else the model's default
    #[arg(long, value_delimiter = ',')]
    pub samplers: Vec<String>,
    /// λ: how much it counts to say what the model said before
    #[arg(long, default_value_t = 10.0)]
    pub anchor: f64,
    /// Learning rate of the discriminator, constant
    #[arg(long, default_value_t = 4e-4)]
    pub discriminator_rate: f64,
    /// Draws from q(x_t | x_0) per picture that is drawn, at which only the anchor holds
    #[arg(long, default_value_t = 0.25)]
    pub diffusion: f64,
    /// Round all values to the codes that the model's int8 networks have
    #[arg(long)]
    pub int8: bool,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1)]
    pub label_dropout: f64,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Runs or resumes a refinement.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn refine(args: &Args) -> Result<()> {
    let device = Device::cuda_if_available();
    let model = load(&args.model)?;
    ensure!(
        model.header.defaults.guidance == 1.0,
        "{}: draws with guidance {}; put that into its weights first (finetune --guidance)",
        args.model.display(),
        model.header.defaults.guidance
    );
    ensure!(
        (0.0..=16.0).contains(&args.diffusion),
        "--diffusion {}: give 0 to 16 draws from q(x_t | x_0) for a picture that is drawn",
        args.diffusion
    );
    let data = pictures_for(&model, &args.data, device)?;
    let anchor = sample::from_model(&model)?.on_device(device)?;
    let arguments = serde_json::to_value(args)?;
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, device)? {
        Some(begun) => begun,
        None => {
            let mut header = model.header.clone();
            // Codes that a network has learnt to live with are the ones that it keeps.
            if !args.int8 {
                header.ranges.clear();
            }
            (header, State::new(anchor.with_flat(anchor.flat().copy())?))
        }
    };
    if args.int8 {
        state.network = fake_quantized(state.network, &model, &header)?;
    }
    let names = if args.samplers.is_empty() { vec![header.defaults.sampler.clone()] } else { args.samplers.clone() };
    let tables = names
        .iter()
        .map(|name| Ok(header.sampler(name)?.table(&header.schedule, header.prediction)?))
        .collect::<Result<Vec<_>>>()?;
    tch::manual_seed(seed_of(args.settings.seed, 0));
    let (shape, classes) = (data.shape(), anchor.graph().classes);
    let deck = Deck::new(data, args.label_dropout, classes);
    let process = Process::new(&header.schedule, device)?;
    let steps = Steps::new(&tables, device);
    let mut task = AdversarialRefinement {
        discriminator: Discriminator::new(shape, classes, args.discriminator_rate, device)?,
        chains: Chains::begin(args.settings.batch, &steps, &deck, &process),
        extra: (args.settings.batch as f64 * args.diffusion).round() as i64,
        weight: args.anchor,
        prediction: header.prediction,
        table: tables.into_iter().next().context("no sampler")?,
        deck,
        process,
        steps,
        anchor,
    };
    state.share(task.tensors())?;
    println!("{} parameters, {device:?}, step {} of {}", state.ema.size()[0], state.step, args.settings.steps);
    optimize::run(&args.settings, &arguments, &header, &mut state, &mut task)
}

/// Real pictures by label.
struct Deck {
    data: Dataset,
    label_dropout: f64,
    /// Pictures by class, i64 `[N]`.
    order: Tensor,
    /// Where in `order` the pictures of a label begin, and how many there are; i64 `[classes + 1]`, the last for none.
    begin: Tensor,
    count: Tensor,
}

impl Deck {
    fn new(data: Dataset, label_dropout: f64, classes: usize) -> Self {
        let n = data.len();
        let counts = data.labels.bincount::<Tensor>(None, classes as i64).narrow(0, 0, classes as i64);
        let (begin, count) = (counts.cumsum(0, Kind::Int64) - &counts, counts);
        let whole = |value: i64| Tensor::from_slice(&[value]).to_device(data.images.device());
        Self {
            order: data.labels.argsort(0, false),
            begin: Tensor::cat(&[begin, whole(0)], 0),
            count: Tensor::cat(&[count, whole(n)], 0),
            data,
            label_dropout,
        }
    }

    /// Labels as often as the data have them, some hidden; i64 `[n]`.
    fn labels(&self, n: i64) -> Tensor {
        let device = self.data.images.device();
        let labels = self.data.labels.index_select(0, &Tensor::randint(self.data.len(), [n], (Kind::Int64, device)));
        let none = self.begin.size()[0] - 1;
        let hidden = Tensor::rand([n], (Kind::Float, device)).lt(self.label_dropout);
        labels.masked_fill(&hidden, none).clamp_max(none)
    }

    /// A picture of each label, f32 `[n, C, H, W]`.
    fn pictures(&self, labels: &Tensor) -> Tensor {
        let [begin, count] = [&self.begin, &self.count].map(|table| table.index_select(0, labels));
        let drawn = Tensor::rand(labels.size(), (Kind::Double, labels.device())) * &count;
        let place = (drawn.floor().to_kind(Kind::Int64).minimum(&(count - 1)) + begin).clamp_min(0);
        self.data.batch(&self.order.index_select(0, &place)).0
    }
}

/// The steps of all samplers, one behind another; one element each of every tensor, f32 but where it says otherwise.
struct Steps {
    /// i64: the time index, and that of the step after; 0 behind the last.
    t: Tensor,
    after: Tensor,
    /// i64: the step after; of the last, −1.
    next: Tensor,
    /// i64 `[samplers]`: their first steps.
    first: Tensor,
    /// The row: [a, b, c, d, e, k0, k1], `[7, steps]`.
    row: Tensor,
    clip: f64,
}

impl Steps {
    fn new(tables: &[Table], device: Device) -> Self {
        let (mut t, mut after, mut next, mut first, mut rows) = (vec![], vec![], vec![], vec![], vec![]);
        for table in tables {
            first.push(t.len() as i64);
            for (i, row) in table.rows.iter().enumerate() {
                let following = table.rows.get(i + 1);
                t.push(row.t as i64);
                after.push(following.map_or(0, |row| row.t as i64));
                next.push(if following.is_some() { t.len() as i64 } else { -1 });
                rows.extend([row.a, row.b, row.c, row.d, row.e, row.k0, row.k1]);
            }
        }
        let whole = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        Self {
            t: whole(&t),
            after: whole(&after),
            next: whole(&next),
            first: whole(&first),
            row: Tensor::from_slice(&rows).reshape([-1, 7]).tr().to_kind(Kind::Float).to_device(device),
            clip: tables.iter().filter_map(|table| table.clip).fold(f64::INFINITY, f64::min),
        }
    }
}

/// Pictures on their way, each at its own step.
struct Chains {
    /// f32 `[N, C, H, W]`.
    x: Tensor,
    /// x̂0 of the step before.
    previous: Tensor,
    /// Steps, i64 `[N]`.
    step: Tensor,
    /// i64 `[N]`.
    labels: Tensor,
}

impl Chains {
    /// `n` pictures at random steps; what the steps before would have left is drawn from the data.
    fn begin(n: i64, steps: &Steps, deck: &Deck, process: &Process) -> Self {
        let labels = deck.labels(n);
        let step = Tensor::randint(steps.t.size()[0], [n], (Kind::Int64, labels.device()));
        let previous = deck.pictures(&labels);
        Self { x: process.diffuse(&previous, &steps.t.index_select(0, &step)), previous, step, labels }
    }

    /// Moves all on by a step, to `x`, with `x0` at it; in the place of those that are done, others begin at noise.
    fn advance(&mut self, x: &Tensor, x0: &Tensor, steps: &Steps, deck: &Deck) {
        let n = self.step.size()[0];
        let next = steps.next.index_select(0, &self.step);
        let done = next.lt(0);
        let samplers = Tensor::randint(steps.first.size()[0], [n], (Kind::Int64, next.device()));
        let first = steps.first.index_select(0, &samplers);
        let done_maps = done.reshape([-1, 1, 1, 1]);
        self.x.copy_(&x.randn_like().where_self(&done_maps, x));
        self.previous.copy_(x0);
        self.step.copy_(&first.where_self(&done, &next));
        self.labels.copy_(&deck.labels(n).where_self(&done, &self.labels));
    }
}

/// What is learnt.
struct AdversarialRefinement {
    discriminator: Discriminator,
    chains: Chains,
    steps: Steps,
    deck: Deck,
    process: Process,
    /// The model as it was.
    anchor: Network,
    weight: f64,
    /// Draws from q(x_t | x_0) a batch.
    extra: i64,
    prediction: Prediction,
    /// Of sample sheets.
    table: Table,
}

impl AdversarialRefinement {
    /// What changes from update to update beside the model, by name; shares its values.
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let Chains { x, previous, step, labels } = &self.chains;
        let chains = [("x", x), ("previous", previous), ("step", step), ("labels", labels)];
        let all = self.discriminator.tensors().into_iter().chain(chains);
        all.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect()
    }
}

impl Task for AdversarialRefinement {
    fn loss(&mut self, network: &Network, kind: Kind, update: u64) -> Tensor {
        let n = self.chains.step.size()[0];
        let extra = self.process.noisy(&self.deck.data, self.extra, self.deck.label_dropout, self.prediction);
        let t = self.steps.t.index_select(0, &self.chains.step);
        let x = Tensor::cat(&[&self.chains.x, &extra.x], 0);
        let times = Tensor::cat(&[&t, &extra.t], 0);
        let labels = Tensor::cat(&[&self.chains.labels, &extra.labels], 0);
        let said = tch::no_grad(|| self.anchor.forward(&x, &times, &labels, kind));
        let out = network.forward(&x, &times, &labels, kind);
        let anchored = out.mse_loss(&said, tch::Reduction::Mean);

        let (x, out) = (&self.chains.x, out.narrow(0, 0, n));
        let row = self.steps.row.index_select(1, &self.chains.step).reshape([7, n, 1, 1, 1]);
        let [a, b, c, d, e, k0, k1] = std::array::from_fn(|i| row.select(0, i as i64));
        let x0 = (x * k0 - &out * k1).clamp(-self.steps.clip, self.steps.clip);
        let drawn = &x0 * a + x * b + out * e + &self.chains.previous * d + x.randn_like() * c;

        let after = self.steps.after.index_select(0, &self.chains.step);
        let clean = self.deck.pictures(&self.chains.labels);
        let noisy = self.process.diffuse(&clean, &after).where_self(&after.gt(0).reshape([-1, 1, 1, 1]), &clean);
        let detached = drawn.detach();
        let pairs = Pairs { real: &noisy, drawn: &detached, t: &after, labels: &self.chains.labels };
        self.discriminator.learn(&pairs, update);
        let (value, gradient) = self.discriminator.judge(&pairs);
        // A scalar with the loss's value and the discriminator's gradient.
        let carrier = (drawn * gradient).sum(Kind::Float);
        let loss = &carrier + (value - carrier.detach()) + anchored * self.weight;
        tch::no_grad(|| self.chains.advance(&detached, &x0.detach(), &self.steps, &self.deck));
        loss
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
}

#[cfg(test)]
mod tests {
    use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
    use grano_codegen::schedule::SamplerSpec;

    use super::*;
    use crate::testing;

    /// Six pictures of one pixel's brightness, of classes 0, 1 and 2 in turn: class c is c·100 bright.
    fn deck(label_dropout: f64, classes: usize) -> Deck {
        let labels = [0i64, 1, 2, 0, 1, 2];
        let bytes: Vec<u8> = labels.iter().flat_map(|&label| [label as u8 * 100; 4]).collect();
        let data = Dataset {
            images: Tensor::from_slice(&bytes).reshape([6, 1, 2, 2]),
            labels: Tensor::from_slice(&if classes > 0 { labels } else { [0; 6] }),
            names: (0..classes).map(|class| class.to_string()).collect(),
        };
        Deck::new(data, label_dropout, classes)
    }

    fn whole(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn a_picture_is_of_its_label() {
        let _alone = testing::seed(0);
        let deck_of_three = deck(0.3, 3);
        let labels = deck_of_three.labels(400);
        let seen = |label: i64| whole(&labels).iter().filter(|&&other| other == label).count();
        assert!((80..=160).contains(&seen(3)) && (0..3).all(|label| seen(label) > 60), "{labels:?}");
        let bright = ((deck_of_three.pictures(&labels).select(3, 0).select(2, 0).squeeze() + 1.0) * 1.275).round();
        for (label, bright) in whole(&labels).into_iter().zip(whole(&bright.to_kind(Kind::Int64))) {
            assert!(label == 3 || label == bright, "{label} is {bright} bright");
        }
        let deck_of_none = deck(0.3, 0);
        assert!(whole(&deck_of_none.labels(50)).iter().all(|&label| label == 0));
        assert_eq!(deck_of_none.pictures(&deck_of_none.labels(50)).size(), [50, 1, 2, 2]);
    }

    #[test]
    fn pictures_go_through_a_sampler_step_by_step_and_begin_anew() {
        let _alone = testing::seed(1);
        let schedule = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 100 };
        let table = |name: &str| name.parse::<SamplerSpec>().unwrap().table(&schedule, Prediction::Velocity).unwrap();
        let steps = Steps::new(&[table("dpm-3"), table("ddim-1")], Device::Cpu);
        assert_eq!(whole(&steps.next), [1, 2, -1, -1]);
        assert_eq!(whole(&steps.first), [0, 3]);
        let t = whole(&steps.t);
        assert_eq!(whole(&steps.after), [t[1], t[2], 0, 0]);
        let process = Process::new(&schedule, Device::Cpu).unwrap();
        let deck = deck(0.3, 3);
        let mut chains = Chains::begin(40, &steps, &deck, &process);
        for _ in 0..5 {
            let (before, labels) = (whole(&chains.step), whole(&chains.labels));
            let (x, x0) = (chains.x.full_like(7.0), chains.x.full_like(0.5));
            chains.advance(&x, &x0, &steps, &deck);
            let kept = chains.x.eq(7.0).all_dims([1i64, 2, 3].as_slice(), false);
            let kept = whole(&kept.to_kind(Kind::Int64));
            for (i, (now, label)) in whole(&chains.step).into_iter().zip(whole(&chains.labels)).enumerate() {
                let next = [1, 2, -1, -1][before[i] as usize];
                if next < 0 {
                    assert!([0, 3].contains(&now) && kept[i] == 0, "a new one at {now}");
                } else {
                    assert!((now, label, kept[i]) == (next, labels[i], 1), "from {} to {now}", before[i]);
                }
            }
            assert_eq!(chains.previous.mean(Kind::Float).double_value(&[]), 0.5);
        }
    }
}
