//! Consistency tuning: a denoiser learns to say at every t where the picture will end, so that one evaluation draws it
//! and each one more, with new noise, draws it better (Geng et al. 2024, "Consistency Models Made Easy").
//!
//! With x_t and x_r of the same x_0, ε and label, r < t, and x̂0(x, t) = a_t·x − σ_t·v_θ(x, t, y), the loss is
//!
//! ```text
//! √(|v_θ(x_t, t, y) − v*|² + c²) − c        v* = (a_t·x_t − x̂0(x_r, r))/σ_t
//! ```
//!
//! where no gradient goes through v*. Where r lies before time index 0, x̂0(x_r, r) is x_0 itself, and v* what denoisers
//! learn. So tuning begins; stage by stage r then comes nearer to t, and x̂0 nearer to where the probability flow leads:
//!
//! ```text
//! σ_r/a_r ≤ (1 − n(t)/2^stage)·σ_t/a_t      n(t) = 1 + 8/(1 + exp(σ_t/a_t))
//! ```
//!
//! In x̂0's units |v_θ − v*| is |x̂0(x_t, t) − x̂0(x_r, r)|/σ_t. c = 0.00054·√d for d values a picture is Song & Dhariwal's
//! (2023, section 3.3). The paper has both evaluations drop the same values; networks here drop none.

use std::path::Path;

use anyhow::{Result, ensure};
use grano_codegen::forward::NoiseSchedule;
use grano_codegen::load::load;
use grano_codegen::model::Header;
use grano_codegen::schedule::{Prediction, SamplerSpec, Table};
use grano_trainer_front::arguments::students::Consistency as Args;
use tch::{Kind, Tensor};

use crate::data::Dataset;
use crate::distributed::Ranks;
use crate::finetune::{check_unguided, pictures_for};
use crate::network::Network;
use crate::optimize::{self, Task};
use crate::process::{Noisy, Process};
use crate::state::State;
use crate::{checkpoint, sample};

/// The sampler of exported models.
const SAMPLER: &str = "consistency-2";

/// Runs or resumes a consistency tuning.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn consistency(args: &Args) -> Result<()> {
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let model = load(&args.model)?;
    let Header { prediction, schedule, .. } = &model.header;
    ensure!(
        *prediction == Prediction::Velocity,
        "{}: predicts ε, which says nothing about the picture where there is only noise; give a model trained with \
         --prediction velocity",
        args.model.display()
    );
    check_unguided(&model, &args.model)?;
    let data = pictures_for(&model, &args.data, args.augment, device)?;
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            let mut header = model.header.clone();
            header.samplers.clear();
            header.defaults.sampler = SAMPLER.into();
            header.likelihood = None;
            header.ranges.clear();
            (header, State::new(sample::from_model(&model)?.on_device(device)?))
        }
    };
    let mut task = ConsistencyTuning {
        partners: partners(schedule, args.stages)?.iter().map(|r| Tensor::from_slice(r).to_device(device)).collect(),
        process: Process::new(schedule, device, ranks.shard())?,
        table: SAMPLER.parse::<SamplerSpec>()?.table(schedule, *prediction)?,
        label_dropout: args.label_dropout,
        batch: args.settings.batch,
        updates: args.settings.steps,
        data,
    };
    optimize::announce(&ranks, &args.settings, &state);
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

/// r of every time index t in every stage; −1 for x_0 itself.
fn partners(schedule: &NoiseSchedule, stages: u64) -> Result<Vec<Vec<i64>>> {
    let noise_to_signal: Vec<f64> =
        schedule.alpha_bars()?.into_iter().map(|alpha_bar| ((1.0 - alpha_bar) / alpha_bar).sqrt()).collect();
    let partner = |stage: u64, t: usize| {
        let here = noise_to_signal[t];
        let n = 1.0 + 8.0 / (1.0 + here.exp());
        let there = (1.0 - n * 0.5f64.powi(stage as i32)) * here;
        noise_to_signal[..t].partition_point(|&other| other <= there) as i64 - 1
    };
    Ok((1..=stages).map(|stage| (0..noise_to_signal.len()).map(|t| partner(stage, t)).collect()).collect())
}

/// What is learnt.
struct ConsistencyTuning {
    data: Dataset,
    process: Process,
    /// By stage: r of every t, i64 `[T]`.
    partners: Vec<Tensor>,
    /// Of sample sheets.
    table: Table,
    label_dropout: f64,
    batch: i64,
    /// In all.
    updates: u64,
}

impl ConsistencyTuning {
    /// v*, f32 like `noisy.x`, for r i64 `[N]`.
    fn target(&self, network: &Network, kind: Kind, noisy: &Noisy, r: &Tensor) -> Result<Tensor> {
        let Noisy { x, x0, noise, t, labels, .. } = noisy;
        tch::no_grad(|| {
            let earlier = r.clamp_min(0);
            let x_r = self.process.at(&earlier, x0, noise);
            let said = network.forward(&x_r, &earlier, labels, kind)?;
            let end = x_r * self.process.signal(&earlier) - said * self.process.sigma(&earlier);
            let end = x0.where_self(&r.lt(0).reshape([-1, 1, 1, 1]), &end.clamp(-1.0, 1.0));
            Ok((x * self.process.signal(t) - end) / self.process.sigma(t))
        })
    }
}

impl Task for ConsistencyTuning {
    fn loss(&mut self, network: &Network, kind: Kind, update: u64) -> Result<Tensor> {
        let noisy = self.process.noisy(&self.data, self.batch, self.label_dropout, Prediction::Velocity);
        let stage = (update - 1) * self.partners.len() as u64 / self.updates;
        let r = self.partners[stage as usize].index_select(0, &noisy.t);
        let said = network.forward(&noisy.x, &noisy.t, &noisy.labels, kind)?;
        let error = said - self.target(network, kind, &noisy, &r)?;
        let squares = error.square().sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
        let c = 0.00054 * (noisy.x.size()[1..].iter().product::<i64>() as f64).sqrt();
        Ok(((squares + c * c).sqrt() - c).mean(Kind::Float))
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.data.images, &self.data.labels]
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
}

#[cfg(test)]
mod tests {
    use grano_codegen::forward::ScheduleKind;

    use tch::Device;

    use super::*;
    use crate::distributed::Shard;
    use crate::testing;
    use grano_networks::compact::{self, Config};

    const SCHEDULE: NoiseSchedule = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 100 };

    #[test]
    fn partners_come_nearer() {
        let stages = partners(&SCHEDULE, 9).unwrap();
        for pair in stages.windows(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(before, after)| before <= after));
        }
        let (first, last) = (&stages[0], &stages[8]);
        assert!(first[..30].iter().all(|r| *r == -1), "at first x_0 itself: {first:?}");
        assert!(last.iter().zip(0..).all(|(r, t)| *r == t - 1), "at last the index before: {last:?}");
        // There the noise is 7 times the signal and n(t) all but 1; at 81 it is half of that.
        assert_eq!(first[90], 81);
    }

    /// Black and white pictures of 4 × 4, in one class or without.
    fn task(stages: u64) -> ConsistencyTuning {
        let bytes: Vec<u8> = [0, 255].iter().flat_map(|&bright| [bright; 16]).collect();
        let data = Dataset {
            images: Tensor::from_slice(&bytes).reshape([2, 1, 4, 4]),
            labels: Tensor::from_slice(&[0i64, 0]),
            augment: Default::default(),
            names: vec!["any".into()],
        };
        ConsistencyTuning {
            partners: partners(&SCHEDULE, stages).unwrap().iter().map(|r| Tensor::from_slice(r)).collect(),
            process: Process::new(&SCHEDULE, Device::Cpu, Shard::WHOLE).unwrap(),
            table: SAMPLER.parse::<SamplerSpec>().unwrap().table(&SCHEDULE, Prediction::Velocity).unwrap(),
            label_dropout: 0.5,
            batch: 32,
            updates: 1,
            data,
        }
    }

    fn network() -> Network {
        let config =
            Config { input: [1, 4, 4], classes: 1, channels: [8, 8], blocks: [1, 1, 1], embedding: 16, limit: 4.0 };
        Network::new(compact::graph(&config).unwrap(), Device::Cpu).unwrap()
    }

    #[test]
    fn with_x0_for_a_partner_it_learns_what_denoisers_learn() {
        let _alone = testing::seed(0);
        let (task, network) = (task(1), network());
        let noisy = task.process.noisy(&task.data, 32, 0.5, Prediction::Velocity);
        let target = task.target(&network, Kind::Float, &noisy, &Tensor::full_like(&noisy.t, -1)).unwrap();
        // At small t, x̂0 passes through a difference of nearly equal numbers, divided by σ.
        assert!((target - noisy.target).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn partners_share_picture_noise_and_label() {
        let _alone = testing::seed(1);
        let (task, network) = (task(4), network());
        let noisy = task.process.noisy(&task.data, 32, 0.5, Prediction::Velocity);
        let r = task.partners[0].index_select(0, &noisy.t);
        let target = task.target(&network, Kind::Float, &noisy, &r).unwrap();
        assert!(!target.requires_grad());
        let whole = |tensor: &Tensor| Vec::<i64>::try_from(tensor).unwrap();
        let alpha_bars = SCHEDULE.alpha_bars().unwrap();
        let factors = |t: i64| [alpha_bars[t as usize].sqrt(), (1.0 - alpha_bars[t as usize]).sqrt()];
        let mut earlier = 0;
        for (i, (t, r)) in (0..).zip(whole(&noisy.t).into_iter().zip(whole(&r))) {
            let [a, sigma] = factors(t);
            let x0 = noisy.x0.narrow(0, i, 1);
            let end = if r < 0 {
                x0
            } else {
                earlier += 1;
                let [a, sigma] = factors(r);
                let x = x0 * a + noisy.noise.narrow(0, i, 1) * sigma;
                let label = noisy.labels.narrow(0, i, 1);
                let said = network.forward(&x, &Tensor::from_slice(&[r]), &label, Kind::Float).unwrap();
                (x * a - said * sigma).clamp(-1.0, 1.0)
            };
            let expected = (noisy.x.narrow(0, i, 1) * a - end) / sigma;
            let off = (target.narrow(0, i, 1) - expected).abs().max().double_value(&[]);
            assert!(off < 1e-3, "t = {t}, r = {r}: {off}");
        }
        assert!((5..28).contains(&earlier), "{earlier} of 32 have a partner with noise");
    }
}
