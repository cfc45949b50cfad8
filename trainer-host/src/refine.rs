//! A model learns from a discriminator to draw better in the few steps that it has (adversarial fine-tuning, in the
//! manner of Sauer et al. 2023).
//!
//! A small network that has learnt E[x_0 | x_t] alone spends its size on pictures that nobody sees, and draws a little
//! beside the data at every step. Here it draws by its own samplers, from noise to picture, and a discriminator compares
//! what comes out with real pictures x_0; the model's loss is
//!
//! ```text
//! softplus(D(x_0, y) − D(x, y)) + λ·|v_θ(x_t, t, y) − v(x_t, t, y)|² + κ·FD
//! ```
//!
//! where gradients reach every evaluation through all steps after it. v is what the model said before, at draws from
//! q(x_t | x_0) for all t, with and without label, so that it stays a denoiser and keeps its variety. FD is the Fréchet
//! distance of what it draws from the data ([`FrechetLoss`]): the discriminator looks at one picture at a time, and
//! forgives what only many together show.

use std::path::Path;

use anyhow::{Result, ensure};
use grano_codegen::load::load;
use grano_codegen::schedule::{Prediction, Table};
use grano_trainer_front::arguments::students::Refine as Args;
use tch::{Kind, Tensor};

use crate::checkpoint;
use crate::data::Dataset;
use crate::discriminator::{Discriminator, Pairs};
use crate::distributed::{Ranks, Shard};
use crate::finetune::{check_unguided, fake_quantized, pictures_for};
use crate::frechet_loss::FrechetLoss;
use crate::network::Network;
use crate::optimize::{self, Task, seed_of};
use crate::process::Process;
use crate::sample::{self, Trajectory};
use crate::state::State;

/// Runs or resumes a refinement.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn refine(args: &Args) -> Result<()> {
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let model = load(&args.model)?;
    check_unguided(&model, &args.model)?;
    let batch = args.settings.batch;
    let extra = (batch as f64 * args.diffusion).round() as i64;
    ensure!(
        (1..=16 * batch).contains(&extra),
        "--diffusion {} of --batch {batch}: give at least one draw from q(x_t | x_0), and at most 16 for a picture",
        args.diffusion
    );
    ranks.check_parts("--diffusion of --batch", extra)?;
    ensure!(args.frechet == 0.0 || batch > 1, "--frechet: one picture has no covariance; give a --batch of 2 or more");
    let data = pictures_for(&model, &args.data, args.augment, device)?;
    let anchor = sample::from_model(&model)?.on_device(device)?;
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            let mut header = model.header.clone();
            header.likelihood = None;
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
    let all = if args.samplers.is_empty() { vec![header.defaults.sampler.clone()] } else { args.samplers.clone() };
    let mut names = all.clone();
    names.sort();
    names.dedup();
    let turns = all.iter().flat_map(|name| names.binary_search(name)).collect();
    let tables = names
        .iter()
        .map(|name| Ok(header.sampler(name)?.table(&header.schedule, header.prediction)?))
        .collect::<Result<Vec<_>>>()?;
    let frechet = (args.frechet != 0.0)
        .then(|| FrechetLoss::new(args.classifiers, &data, names.len(), &args.settings.run, &ranks))
        .transpose()?;
    tch::manual_seed(seed_of(args.settings.seed, 0));
    let (shape, classes) = (data.shape(), anchor.graph().classes());
    let mut task = AdversarialRefinement {
        discriminator: Discriminator::new(shape, classes, args.discriminator_rate, device)?,
        deck: Deck::new(data, args.label_dropout, classes, ranks.shard()),
        process: Process::new(&header.schedule, device, ranks.shard())?,
        batch,
        extra,
        weight: args.anchor,
        frechet: frechet.map(|loss| (args.frechet, loss)),
        prediction: header.prediction,
        tables,
        turns,
        anchor,
        ranks: &ranks,
    };
    let mut tensors = task.discriminator.tensors();
    tensors.extend(task.frechet.iter().flat_map(|(_, loss)| loss.tensors()));
    state.share(tensors)?;
    optimize::announce(&ranks, &args.settings, &state);
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

/// Real pictures by label.
struct Deck {
    data: Dataset,
    label_dropout: f64,
    /// Which part of a batch is drawn here.
    shard: Shard,
    /// Pictures by class, i64 `[N]`.
    order: Tensor,
    /// Where in `order` the pictures of a label begin, and how many there are; i64 `[classes + 1]`, the last for none.
    begin: Tensor,
    count: Tensor,
}

impl Deck {
    fn new(data: Dataset, label_dropout: f64, classes: usize, shard: Shard) -> Self {
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
            shard,
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

    /// A picture of each of this rank's part of the labels, f32 `[part, C, H, W]`.
    fn pictures(&self, labels: &Tensor) -> Tensor {
        let [begin, count] = [&self.begin, &self.count].map(|table| table.index_select(0, labels));
        let drawn = Tensor::rand(labels.size(), (Kind::Double, labels.device())) * &count;
        let place = (drawn.floor().to_kind(Kind::Int64).minimum(&(count - 1)) + begin).clamp_min(0);
        let pictures = self.data.batch(&self.order.index_select(0, &self.shard.of(&place))).0;
        self.data.vary(pictures, labels.size()[0], self.shard)
    }
}

/// What is learnt.
struct AdversarialRefinement<'a> {
    ranks: &'a Ranks,
    discriminator: Discriminator,
    /// κ, unless that is 0.
    frechet: Option<(f64, FrechetLoss)>,
    deck: Deck,
    process: Process,
    /// The samplers.
    tables: Vec<Table>,
    /// Which is whose turn, again and again.
    turns: Vec<usize>,
    /// The model as it was.
    anchor: Network,
    /// λ.
    weight: f64,
    /// Pictures that are drawn in an update.
    batch: i64,
    /// Draws from q(x_t | x_0) in an update.
    extra: i64,
    prediction: Prediction,
}

impl Task for AdversarialRefinement<'_> {
    fn loss(&mut self, network: &Network, kind: Kind, update: u64) -> Result<Tensor> {
        let noisy = self.process.noisy(&self.deck.data, self.extra, self.deck.label_dropout, self.prediction);
        let said = |network: &Network| network.forward(&noisy.x, &noisy.t, &noisy.labels, kind);
        let before = tch::no_grad(|| said(&self.anchor))?;
        let anchored = said(network)?.mse_loss(&before, tch::Reduction::Mean);

        let shard = self.ranks.shard();
        let all_labels = self.deck.labels(self.batch);
        let labels = shard.of(&all_labels);
        let turn = self.turns[update as usize % self.turns.len()];
        let table = &self.tables[turn];
        let trajectory = Trajectory { table, labels: &labels, guidance: 1.0, kind };
        let mut noise = |shape: [i64; 4]| shard.randn(shape, labels.device());
        let drawn = trajectory.run_with_gradients(network, &mut noise, &mut |_, _| ())?;
        let detached = drawn.detach();
        let pairs = Pairs { real: &self.deck.pictures(&all_labels), drawn: &detached, labels: &labels };
        self.discriminator.learn(&pairs, update, self.ranks)?;
        let (mut value, mut gradient) = self.discriminator.judge(&pairs)?;
        if let Some((weight, loss)) = &mut self.frechet {
            // Every rank draws all of these few, and so has the same.
            let mut draw = |n| {
                let labels = self.deck.labels(n);
                let mut noise = |shape: [i64; 4]| Tensor::randn(shape, (Kind::Float, labels.device()));
                Trajectory { table, labels: &labels, guidance: 1.0, kind }.run(network, &mut noise, &mut |_, _| ())
            };
            let (distance, by_pixels) = loss.judge(&detached, turn, &mut draw, self.ranks)?;
            value += distance * *weight;
            gradient += by_pixels * *weight;
        }
        // A scalar with the loss's value and the gradient of what judged the pictures.
        let carrier = (drawn * gradient).sum(Kind::Float);
        Ok(&carrier + (value - carrier.detach()) + anchored * self.weight)
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.deck.data.images, &self.deck.data.labels, self.anchor.flat()]
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.tables[self.turns[0]], path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Six pictures of one pixel's brightness, of classes 0, 1 and 2 in turn: class c is c·100 bright.
    fn deck(label_dropout: f64, classes: usize) -> Deck {
        let labels = [0i64, 1, 2, 0, 1, 2];
        let bytes: Vec<u8> = labels.iter().flat_map(|&label| [label as u8 * 100; 4]).collect();
        let data = Dataset {
            images: Tensor::from_slice(&bytes).reshape([6, 1, 2, 2]),
            labels: Tensor::from_slice(&if classes > 0 { labels } else { [0; 6] }),
            augment: Default::default(),
            names: (0..classes).map(|class| class.to_string()).collect(),
        };
        Deck::new(data, label_dropout, classes, Shard::WHOLE)
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
}
