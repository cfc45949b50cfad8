//! Few evaluations: a student learns to do in one step what its teacher does in several (progressive distillation,
//! Salimans & Ho 2022, in one go instead of by halves).
//!
//! The teacher draws pictures by DPM-Solver++(2M) once, with guidance, and x is kept at the student's time indices. At
//! index t of these the student is to say the v, or ε, with which one DDIM step leads to the x that the teacher reached
//! at the next index s:
//!
//! ```text
//! x̂0 = (x_s − σ_s/σ_t·x_t) / (a_s − σ_s/σ_t·a_t)        Salimans & Ho 2022, eq. 9 of appendix G
//! ```
//!
//! Its inputs are then those that it meets when it draws, pure noise first, and labels cost nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano_codegen::load::load;
use grano_codegen::model::{Defaults, Model, StepList};
use grano_codegen::schedule::{Prediction, Row, SamplerSpec, Spacing, Table};
use grano_trainer_front::arguments::students::Distill as Args;
use indicatif::ProgressBar;
use tch::{Device, Kind, Tensor};

use crate::distributed::{Ranks, Shard};
use crate::finetune::fake_quantized;
use crate::network::Network;
use crate::optimize::{self, Task, seed_of};
use crate::sample::{self, Trajectory};
use crate::state::State;
use crate::{checkpoint, files};

/// Pictures that the teacher draws at once.
const BATCH: i64 = 250;

/// Runs or resumes a distillation.
///
/// # Errors
/// Names what is wrong with the models, the arguments or the run's folder.
pub fn distill(args: &Args) -> Result<()> {
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let teacher = load(&args.teacher)?;
    let begun_as = args.from.as_ref().map_or_else(|| Ok(teacher.clone()), |path| load(path))?;
    let total = teacher.header.schedule.steps;
    let (most, m) = (usize::from(args.evaluations[0]), usize::from(args.substeps));
    ensure!(most * m <= total, "{most} evaluations of {m} substeps are more than the teacher's T = {total}");
    let counts: Vec<usize> = args.evaluations.iter().map(|&n| n.into()).collect();
    ensure!(
        counts.is_sorted_by(|a, b| a > b) && counts.iter().all(|n| most % n == 0),
        "--evaluations {counts:?}: give falling numbers, of which the first is a multiple of the rest"
    );
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            let mut header = begun_as.header.clone();
            header.prediction = Prediction::Velocity;
            header.samplers = samplers(total, &counts);
            header.defaults = Defaults { sampler: name(most), guidance: 1.0 };
            header.likelihood = None;
            if !args.int8 {
                header.ranges.clear();
            }
            (header, State::new(sample::from_model(&begun_as)?.on_device(device)?))
        }
    };
    if args.int8 {
        state.network = fake_quantized(state.network, &begun_as, &header)?;
    }
    let table =
        |n: usize| -> Result<Table> { Ok(header.sampler(&name(n))?.table(&header.schedule, header.prediction)?) };
    let mut steps = Vec::new();
    for &n in &counts {
        let stride = (most / n) as i64;
        steps.extend((0..).zip(table(n)?.rows).map(|(i, row)| StudentStep {
            from: i * stride,
            to: (i + 1) * stride,
            row,
        }));
    }
    let mut task = ProgressiveDistillation {
        trajectories: Trajectories::load_or_draw(args, &teacher, &ranks)?,
        shard: ranks.shard(),
        steps: StudentSteps::new(&steps, device),
        table: table(most)?,
        batch: args.settings.batch,
    };
    optimize::announce(&ranks, &args.settings, &state);
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

fn name(evaluations: usize) -> String {
    format!("fast-{evaluations}")
}

/// The student's samplers. The time index tells the network how far to go: sampler i's lie i below those of the
/// first, which changes nothing else to speak of.
fn samplers(total: usize, counts: &[usize]) -> BTreeMap<String, StepList> {
    let list = |(i, &n): (usize, &usize)| {
        let times = times(total, n, 1).iter().map(|t| t - i).collect();
        (name(n), StepList { rule: "ddim".into(), times })
    };
    counts.iter().enumerate().map(list).collect()
}

/// Time indices of `n` steps of the student from T − 1, evenly spaced, each in `m` of the teacher's; falling. The very
/// first of several is taken half of it later, because near T − 1 an ε-prediction says nothing about x̂0.
fn times(total: usize, n: usize, m: usize) -> Vec<usize> {
    let mut times: Vec<usize> = (0..n * m).map(|i| total - 1 - i * total / (n * m)).collect();
    if m > 1 {
        times[0] -= total / (2 * n * m);
    }
    times
}

/// What the teacher drew.
struct Trajectories {
    /// x before the student's first step and after each, f16 `[N, steps + 1, C, H, W]`.
    x: Tensor,
    /// i64 `[N]`; the number of classes where there was no label.
    labels: Tensor,
}

impl Trajectories {
    /// From the run's folder, or drawn now and kept there, by rank 0.
    fn load_or_draw(args: &Args, teacher: &Model, ranks: &Ranks) -> Result<Self> {
        let path = args.settings.run.join("trajectories.safetensors");
        let network = sample::from_model(teacher)?.on_device(ranks.device())?;
        ranks.agree("weights of the teacher", &[network.flat()])?;
        if ranks.read_first(|| Ok(path.exists().then(Vec::new)))?.is_some() {
            return Self::load(args, &network, &path, ranks);
        }
        let trajectories = Self::draw(args, teacher, &network, ranks)?;
        if ranks.is_first() {
            let Self { x, labels } = &trajectories;
            files::make_parent(&path)?;
            files::replace(&path, |partial| Ok(Tensor::write_safetensors(&[("x", x), ("labels", labels)], partial)?))?;
        }
        Ok(trajectories)
    }

    fn load(args: &Args, network: &Network, path: &Path, ranks: &Ranks) -> Result<Self> {
        let [c, h, w] = network.graph().input().map(|n| n as i64);
        let shape = [args.pictures, i64::from(args.evaluations[0]) + 1, c, h, w];
        let device = ranks.device();
        let mut x = Tensor::zeros(shape, (Kind::Half, device));
        let mut labels = Tensor::zeros([args.pictures], (Kind::Int64, device));
        if ranks.is_first() {
            let tensors = Tensor::read_safetensors(path).with_context(|| format!("{}", path.display()))?;
            for (name, place) in [("x", &mut x), ("labels", &mut labels)] {
                let found = tensors.iter().find(|(other, tensor)| other == name && tensor.size() == place.size());
                let wrong = || format!("{}: not what a teacher drew; delete it", path.display());
                place.copy_(&found.with_context(wrong)?.1);
            }
        }
        ranks.broadcast(&x, 0)?;
        ranks.broadcast(&labels, 0)?;
        Ok(Self { x, labels })
    }

    fn draw(args: &Args, teacher: &Model, network: &Network, ranks: &Ranks) -> Result<Self> {
        let (header, device) = (&teacher.header, ranks.device());
        let (n, m) = (usize::from(args.evaluations[0]), usize::from(args.substeps));
        let times = times(header.schedule.steps, n, m);
        let spec = SamplerSpec { spacing: Spacing::Listed(times), ..format!("dpm-{}", n * m).parse()? };
        let table = spec.table(&header.schedule, header.prediction)?;
        let guidance = args.guidance.unwrap_or(header.defaults.guidance);
        tch::manual_seed(seed_of(args.settings.seed, 0));
        let kind = optimize::kind_on(&args.settings, device);
        let bar = if ranks.is_first() { ProgressBar::new(args.pictures as u64) } else { ProgressBar::hidden() };
        let (mut x, mut all_labels) = (Vec::new(), Vec::new());
        let [c, h, w] = network.graph().input().map(|n| n as i64);
        for (i, start) in (0..args.pictures).step_by(BATCH as usize).enumerate() {
            let count = BATCH.min(args.pictures - start);
            // Without a label guidance changes nothing, so both kinds go through the same steps.
            let classes = network.graph().classes() as i64;
            let labels = Tensor::randint(classes.max(1), [count], (Kind::Int64, device));
            let hidden = Tensor::rand([count], (Kind::Float, device)).lt(args.label_dropout);
            let labels = labels.masked_fill(&hidden, classes);
            // The only noise: DPM-Solver++ adds none on the way.
            let first = Tensor::randn([count, c, h, w], (Kind::Float, device));
            let mut states = vec![first.to_kind(Kind::Half)];
            if ranks.owns(i) {
                let mut step = 0;
                let trajectory = Trajectory { table: &table, labels: &labels, guidance, kind };
                let mut keep = |_: &Tensor, x: &Tensor| {
                    step += 1;
                    if step % m == 0 {
                        states.push(x.to_kind(Kind::Half));
                    }
                };
                let _ = trajectory.run(network, &mut |_| first.shallow_clone(), &mut keep)?;
            } else {
                states.extend((0..n).map(|_| first.to_kind(Kind::Half)));
            }
            x.push(Tensor::stack(&states, 1));
            all_labels.push(labels);
            bar.inc(count as u64);
        }
        bar.finish();
        for (i, x) in x.iter().enumerate() {
            ranks.broadcast(x, ranks.owner(i))?;
        }
        Ok(Self { x: Tensor::cat(&x, 0), labels: Tensor::cat(&all_labels, 0) })
    }
}

/// A step of the student.
struct StudentStep {
    /// Numbers of the kept x.
    from: i64,
    to: i64,
    row: Row,
}

/// All steps of the student, one element each of every vector.
struct StudentSteps {
    /// i64: where it begins and ends, and what time index says so.
    from: Tensor,
    to: Tensor,
    t: Tensor,
    /// f32: x̂0 = (x_s − b·x_t)/a, and what the network is to say, (k0·x_t − x̂0)/k1.
    a: Tensor,
    b: Tensor,
    k0: Tensor,
    k1: Tensor,
}

impl StudentSteps {
    fn new(steps: &[StudentStep], device: Device) -> Self {
        let numbers = |value: fn(&StudentStep) -> i64| {
            Tensor::from_slice(&steps.iter().map(value).collect::<Vec<_>>()).to_device(device)
        };
        let factors = |value: fn(&Row) -> f64| {
            let values: Vec<f64> = steps.iter().map(|step| value(&step.row)).collect();
            Tensor::from_slice(&values).to_kind(Kind::Float).to_device(device)
        };
        Self {
            from: numbers(|step| step.from),
            to: numbers(|step| step.to),
            t: numbers(|step| step.row.t as i64),
            a: factors(|row| row.a),
            b: factors(|row| row.b),
            k0: factors(|row| row.k0),
            k1: factors(|row| row.k1),
        }
    }
}

/// What is learnt.
struct ProgressiveDistillation {
    trajectories: Trajectories,
    steps: StudentSteps,
    table: Table,
    batch: i64,
    shard: Shard,
}

impl Task for ProgressiveDistillation {
    fn loss(&mut self, network: &Network, kind: Kind, _update: u64) -> Result<Tensor> {
        let StudentSteps { from, to, t, a, b, k0, k1 } = &self.steps;
        let options = (Kind::Int64, self.trajectories.x.device());
        let draw = |count: i64| self.shard.of(&Tensor::randint(count, [self.batch], options));
        let (picture, step) = (draw(self.trajectories.x.size()[0]), draw(t.size()[0]));
        let number = |numbers: &Tensor| numbers.index_select(0, &step);
        let factor = |factors: &Tensor| factors.index_select(0, &step).reshape([-1, 1, 1, 1]);
        let x_at = |numbers: &Tensor| {
            self.trajectories.x.index(&[Some(&picture), Some(&number(numbers))]).to_kind(Kind::Float)
        };
        let x = x_at(from);
        let x0 = ((x_at(to) - &x * factor(b)) / factor(a)).clamp(-1.0, 1.0);
        let target = (&x * factor(k0) - x0) / factor(k1);
        let labels = self.trajectories.labels.index_select(0, &picture);
        Ok(network.forward(&x, &number(t), &labels, kind)?.mse_loss(&target, tch::Reduction::Mean))
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.trajectories.x, &self.trajectories.labels]
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
}
