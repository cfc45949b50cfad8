//! Which time indices a sampler of few steps does best to visit: searched on the model itself, kept in its file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use grano::noise::{Gaussian, Philox};
use grano_codegen::forward::NoiseSchedule;
use grano_codegen::load::{load, serialize};
use grano_codegen::model::{Model, StepList};
use grano_codegen::schedule::{Method, Prediction, SamplerSpec, Spacing, Table};
use grano_trainer_front::arguments::models::Steps as Args;
use indicatif::{ProgressBar, ProgressStyle};
use tch::{Kind, Tensor};

use crate::files;
use crate::network::Network;
use crate::sample::{Trajectory, from_model, noise};

/// Where the search's noise comes from; pictures of users have small seeds.
const SEED: u64 = 0x57e9;

/// How names of searched samplers end.
pub const SEARCHED: &str = "-searched";

/// Steps of DPM-Solver++(2M) whose pictures are the goal.
const FINE_STEPS: usize = 100;

/// Runs the command.
///
/// # Errors
/// Names the file or sampler that is wrong; the file is then as it was.
pub fn steps(args: &Args) -> Result<()> {
    let mut model = load(&args.model)?;
    let network = from_model(&model)?;
    let name = format!("{}-{}{SEARCHED}", args.rule, args.steps);
    let (schedule, prediction) = (model.header.schedule.clone(), model.header.prediction);
    let guidance = args.guidance.unwrap_or(model.header.defaults.guidance);
    let method = Method::named(&args.rule).with_context(|| format!("--rule {}", args.rule))?;
    let spec =
        SamplerSpec { name, method, steps: args.steps, spacing: Spacing::Centred, clip: Some(1.0), travel: None };
    let start = spec.time_indices(schedule.steps)?;
    let goal = Goal::new(&network, &schedule, prediction, args.pictures, guidance)?;
    let Found { times, before, after } = goal.search(&spec, start)?;
    println!(
        "{}: mean squared distance to {FINE_STEPS} steps {before:.3e} with {}, {after:.3e} at t = {times:?}",
        args.model.display(),
        format_args!("{}-{}", args.rule, args.steps),
    );
    model.header.samplers.insert(spec.name.clone(), StepList { rule: args.rule.clone(), times });
    if !args.keep_default && model.header.defaults.sampler != spec.name {
        println!(
            "{}: the default sampler is now {}, no longer {}",
            args.model.display(),
            spec.name,
            model.header.defaults.sampler
        );
        model.header.defaults.sampler = spec.name;
    }
    files::write(&args.model, &bytes(&model)?)
}

/// The bytes of a model's file, with the header as it is now.
///
/// # Errors
/// None of a model that was loaded.
pub fn bytes(model: &Model) -> Result<Vec<u8>> {
    let mut tensors = BTreeMap::new();
    for (name, network) in &model.networks {
        for parameter in network.graph.parameters()? {
            let values = network.parameters[&parameter.name].clone();
            tensors.insert(format!("{name}.{}", parameter.name), (parameter.shape, values));
        }
    }
    Ok(serialize(&model.header, &tensors)?)
}

/// The pictures to come near to, and the noise they are made of.
struct Goal<'a> {
    network: &'a Network,
    schedule: &'a NoiseSchedule,
    prediction: Prediction,
    guidance: f32,
    /// i64 `[N]`: all classes in turn.
    labels: Tensor,
    /// x_T, f32 `[N, C, H, W]`.
    start: Tensor,
    /// f32 `[N, C, H, W]`.
    pictures: Tensor,
}

/// What a search finds.
struct Found {
    times: Vec<usize>,
    /// Mean squared distance of pixels in [−1, 1] where the search began.
    before: f64,
    /// The same at those that were found.
    after: f64,
}

impl<'a> Goal<'a> {
    fn new(
        network: &'a Network,
        schedule: &'a NoiseSchedule,
        prediction: Prediction,
        pictures: u64,
        guidance: f32,
    ) -> Result<Self> {
        let graph = network.graph();
        let labels: Vec<i64> = (0..pictures).map(|i| (i % graph.classes().max(1) as u64) as i64).collect();
        let mut streams: Vec<_> = (0..pictures).map(|i| Gaussian(Philox::new(SEED, i))).collect();
        let [c, h, w] = graph.input().map(|n| n as i64);
        let start = noise(&mut streams, [pictures as i64, c, h, w]);
        let labels = Tensor::from_slice(&labels);
        let pictures = start.shallow_clone();
        let mut goal = Self { network, schedule, prediction, guidance, labels, start, pictures };
        let fine: SamplerSpec = format!("dpm-{}", schedule.steps.min(FINE_STEPS)).parse()?;
        goal.pictures = goal.draw(&fine.table(schedule, prediction)?)?;
        Ok(goal)
    }

    /// The pictures of a sampler without noise of its own.
    fn draw(&self, table: &Table) -> Result<Tensor> {
        let trajectory = Trajectory { table, labels: &self.labels, guidance: self.guidance, kind: Kind::Float };
        trajectory.run(self.network, &mut |_| self.start.shallow_clone(), &mut |_, _| ())
    }

    /// Coordinate descent from the time indices `start`.
    fn search(&self, spec: &SamplerSpec, start: Vec<usize>) -> Result<Found> {
        let mut distance = |times: &[usize]| {
            let spec = SamplerSpec { spacing: Spacing::Listed(times.to_vec()), ..spec.clone() };
            let pictures = self.draw(&spec.table(self.schedule, self.prediction)?)?;
            Ok((pictures - &self.pictures).square().mean(tch::Kind::Double).double_value(&[]))
        };
        let before = distance(&start)?;
        let (times, after) = descend(start, before, self.schedule.steps, &mut distance)?;
        Ok(Found { times, before, after })
    }
}

/// Moves one entry at a time of a falling list in `0..total`, as long as `distance`, now `least`, falls; first by a
/// quarter of their mean spacing, then by ever smaller strides down to 1. The list stays falling.
fn descend(
    mut times: Vec<usize>,
    mut least: f64,
    total: usize,
    distance: &mut dyn FnMut(&[usize]) -> Result<f64>,
) -> Result<(Vec<usize>, f64)> {
    let n = times.len();
    let strides: Vec<usize> =
        std::iter::successors(Some((total / (4 * n)).max(1)), |stride| Some(stride / 2).filter(|&s| s > 0)).collect();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} · {elapsed} spent, {eta} left")?;
    let bar = ProgressBar::new((strides.len() * n) as u64).with_style(style);
    for stride in strides {
        loop {
            let mut helped = false;
            for i in 0..n {
                let (above, below) = (if i == 0 { total } else { times[i - 1] }, times.get(i + 1).copied());
                let up = Some(times[i] + stride).filter(|&t| t < above);
                let down = times[i].checked_sub(stride).filter(|&t| below.is_none_or(|below| t > below));
                for t in [up, down].into_iter().flatten() {
                    let mut moved = times.clone();
                    moved[i] = t;
                    let found = distance(&moved)?;
                    if found < least {
                        (times, least, helped) = (moved, found, true);
                        break;
                    }
                }
                bar.inc(1);
                bar.set_message(format!("strides of {stride}, distance {least:.3e}"));
            }
            // A pass that helped is made again.
            if !helped {
                break;
            }
            bar.inc_length(n as u64);
        }
    }
    bar.finish();
    Ok((times, least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use grano_codegen::forward::ScheduleKind;
    use grano_networks::compact::{self, Config};
    use tch::Device;

    #[test]
    fn descent_finds_the_bottom_of_a_bowl_and_keeps_the_order() {
        let goal = [950.0, 940.0, 333.0, 0.0];
        let mut distance = |times: &[usize]| {
            assert!(times.is_sorted_by(|a, b| a > b) && times[0] < 1000, "{times:?}");
            Ok(times.iter().zip(goal).map(|(&t, goal)| (t as f64 - goal).powi(2)).sum())
        };
        let start = vec![875, 625, 375, 125];
        let first = distance(&start).unwrap();
        assert_eq!(descend(start, first, 1000, &mut distance).unwrap(), (vec![950, 940, 333, 0], 0.0));
        assert_eq!(descend(vec![2, 1, 0], f64::NAN, 3, &mut |_| Ok(0.0)).unwrap().0, [2, 1, 0], "no room");
    }

    #[test]
    fn the_search_never_ends_worse_than_it_began() {
        // Maps this small are not worth a second thread, which on a busy machine takes a hundred times as long.
        tch::set_num_threads(1);
        let config =
            Config { input: [1, 4, 8], classes: 3, channels: [2, 4], blocks: [1, 0, 1], embedding: 4, limit: 4.0 };
        let schedule = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 60 };
        for (seed, prediction) in [(0, Prediction::Epsilon), (1, Prediction::Velocity)] {
            let _alone = testing::seed(seed);
            let network = Network::new(compact::graph(&config).unwrap(), Device::Cpu).unwrap();
            let goal = Goal::new(&network, &schedule, prediction, 5, 2.0).unwrap();
            for name in ["dpm-3", "ddim-2"] {
                let spec: SamplerSpec = name.parse().unwrap();
                let found = goal.search(&spec, spec.time_indices(schedule.steps).unwrap()).unwrap();
                assert!(found.after <= found.before, "{name}: {} to {}", found.before, found.after);
                assert!(found.times.is_sorted_by(|a, b| a > b), "{:?}", found.times);
            }
        }
    }
}
