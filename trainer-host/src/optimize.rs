//! What every training does: updates, the weights' average, checkpoints, metrics, sheets; resumable to the bit.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grano_codegen::model::Header;
use grano_trainer_front::arguments::settings::{Precision, Settings};
use tch::{Device, Kind, Tensor};

use crate::checkpoint;
use crate::curve::{self, Metric};
use crate::distributed::{self, Ranks, Reducer};
use crate::interrupt;
use crate::network::Network;
use crate::progress::Progress;
use crate::state::{Extended, State};

/// The number type of passes on `device`.
pub fn kind_on(settings: &Settings, device: Device) -> Kind {
    match settings.precision {
        Some(Precision::Bf16) => Kind::BFloat16,
        Some(Precision::F32) => Kind::Float,
        None if device.is_cuda() => Kind::BFloat16,
        None => Kind::Float,
    }
}

/// The learning rate of the update after `step` others. A run that was made longer goes from the rate that it had over to
/// that of its new length by as many updates as a warm-up has, not in one leap.
fn learning_rate_at(settings: &Settings, extended: Option<Extended>, step: u64) -> f64 {
    let rate = settings.learning_rate_at(step);
    match extended {
        None => rate,
        Some(Extended { step: begun, rate: before }) => {
            let part = ((step + 1).saturating_sub(begun) as f64 / settings.warmup() as f64).min(1.0);
            before + (rate - before) * part
        }
    }
}

/// What a run that was begun with `before`, and `step` updates of it made, has to remember when it goes on with `now`.
pub fn extension(before: &Settings, extended: Option<Extended>, now: &Settings, step: u64) -> Option<Extended> {
    if before.steps == now.steps || step == 0 {
        return extended;
    }
    Some(Extended { step, rate: learning_rate_at(before, extended, step.min(before.steps)) })
}

/// What is learnt.
pub trait Task {
    /// The loss of this rank's part of a batch, a scalar with its graph of gradients, for the `update`-th update, counted
    /// from 1; the mean over the ranks is the batch's. Draws for the whole batch from libtorch's generator, and from
    /// nothing else that changes but what lies in [`State::tensors`].
    ///
    /// # Errors
    /// When the weights make no int8 network, where they are to, or another rank is lost.
    fn loss(&mut self, network: &Network, kind: Kind, update: u64) -> Result<Tensor>;
    /// What is learnt from, which every rank must have.
    fn data(&self) -> Vec<&Tensor>;
    /// Draws what the network can do so far.
    ///
    /// # Errors
    /// When the picture cannot be written.
    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()>;
    /// What follows a run.
    fn next(&self, run: &Path) -> String {
        format!("export it with `grano-train export --run {}`", run.display())
    }
}

/// Says how large the network is and how far its training, on rank 0.
pub fn announce(ranks: &Ranks, settings: &Settings, state: &State) {
    let device = ranks.device();
    ranks.say(&format!("{} parameters, {device:?}, step {} of {}", state.ema.size()[0], state.step, settings.steps));
}

/// The seed of libtorch's generator for the network (0) and for each update (its number). With a seed per update,
/// to resume needs no generator's state. libtorch's generator on the CPU reads 32 bits, so all that differs must be
/// in these: 2³²/φ keeps the updates of small seeds apart.
pub fn seed_of(seed: u64, update: u64) -> i64 {
    i64::from((seed.wrapping_mul(0x9e37_79b9).wrapping_add(update)) as u32)
}

/// Updates between two lines of metrics.
const METRIC_EVERY: u64 = 50;

/// Sums since the last line of metrics.
#[derive(Default)]
struct Window {
    updates: u64,
    loss: f64,
    gradient_norm: f64,
    seconds: f64,
}

/// Runs the updates that are left of a training that is described by `arguments` and makes a model of `header`.
///
/// # Errors
/// When the loss diverges, the run's folder cannot be written, or another rank has other data or is lost.
pub fn run(
    ranks: &Ranks,
    settings: &Settings,
    arguments: &serde_json::Value,
    header: &Header,
    state: &mut State,
    task: &mut dyn Task,
) -> Result<()> {
    ranks.check_parts("--batch", settings.batch)?;
    ranks.agree("data", &task.data())?;
    ranks.agree("weights or model", &[state.network.flat()])?;
    let kind = kind_on(settings, state.ema.device());
    let mut metrics = Vec::new();
    if ranks.is_first() {
        std::fs::create_dir_all(&settings.run).with_context(|| format!("{}", settings.run.display()))?;
        metrics = curve::read(&settings.run, state.step)?;
    }
    let _watched = interrupt::watch(ranks.is_first());
    let mut progress = Progress::new(state.step, settings.steps, ranks.is_first())?;
    let mut reducer = ranks.reducer(&state.network.leaves())?;
    let mut window = Window::default();
    while state.step < settings.steps {
        let begun = Instant::now();
        let (loss, gradient_norm) = update(ranks, &mut reducer, settings, state, task, kind)?;
        let seconds = begun.elapsed().as_secs_f64();
        state.seconds += seconds;
        window = Window {
            updates: window.updates + 1,
            loss: window.loss + loss,
            gradient_norm: window.gradient_norm + gradient_norm,
            seconds: window.seconds + seconds,
        };
        let step = state.step;
        let last = step == settings.steps;
        check_course(&window, metrics.first(), step)?;
        if ranks.is_first() {
            progress.step(step, loss, window.updates as f64 * settings.batch as f64 / window.seconds, settings.batch);
        }
        if step.is_multiple_of(METRIC_EVERY) || last {
            let window = std::mem::take(&mut window);
            let count = window.updates as f64;
            let metric = Metric {
                step,
                loss: ranks.mean_of(window.loss / count)?,
                learning_rate: learning_rate_at(settings, state.extended, step - 1),
                gradient_norm: window.gradient_norm / count,
                samples_per_second: count * settings.batch as f64 / window.seconds,
                seconds: state.seconds,
            };
            if ranks.is_first() {
                progress.metric(&metric, settings.batch);
                curve::append(&settings.run, &metric)?;
                metrics.push(metric);
            }
        }
        if !ranks.is_first() {
            continue;
        }
        let stop = interrupt::requested() && !last;
        // What was learnt is kept before anything is made of it.
        if step.is_multiple_of(settings.checkpoint_every) || last || stop {
            checkpoint::save(&settings.run, arguments, header, state)?;
            curve::draw(&settings.run, &metrics)?;
        }
        ensure!(
            !stop,
            "ended after {step} of {} updates, which {} keeps; the same command goes on from there",
            settings.steps,
            settings.run.display()
        );
        if step.is_multiple_of(settings.sample_every) || last {
            task.sheet(&state.averaged()?, &settings.run.join(format!("samples-{step:06}.png")))?;
        }
    }
    progress.finish();
    ranks.say(&format!("trained for {:.0?}; {}", Duration::from_secs_f64(state.seconds), task.next(&settings.run)));
    Ok(())
}

/// A mean loss as many times as large as that of the first line of metrics, or 1, is none of a network that learns.
const ASTRAY: f64 = 10.0;

/// Checks that the loss of the last updates is still one of a network that learns.
///
/// # Errors
/// When it has grown far above that of the `first` line; the checkpoint from before is then the run's last.
fn check_course(window: &Window, first: Option<&Metric>, step: u64) -> Result<()> {
    let mean = window.loss / window.updates as f64;
    let usual = first.map_or(1.0, |metric| metric.loss).max(1.0);
    ensure!(
        mean <= ASTRAY * usual || window.updates < 5,
        "after {step} updates the loss is {mean:.3e}, at first it was about {usual:.3}: it diverges; begin another run \
         with a lower --learning-rate"
    );
    Ok(())
}

/// One step of Adam on one batch, and of the weights' average; returns the loss of this rank's part and the gradient's
/// norm before clipping.
///
/// # Errors
/// When the loss or the gradient is not finite, or there is no loss; the state is then as before. When another rank is
/// lost.
fn update(
    ranks: &Ranks,
    reducer: &mut Option<Reducer>,
    settings: &Settings,
    state: &mut State,
    task: &mut dyn Task,
    kind: Kind,
) -> Result<(f64, f64)> {
    tch::manual_seed(seed_of(settings.seed, state.step + 1));
    let loss = task.loss(&state.network, kind, state.step + 1).map_err(|error| {
        let advice = format!("after {} updates; begin another run with a lower --learning-rate", state.step);
        if distributed::is_lost(&error) { error } else { error.context(advice) }
    })?;
    ranks.backward(&loss, reducer)?;
    let mut gradient = state.network.take_gradient();
    tch::no_grad(|| {
        let (loss, norm) = (loss.double_value(&[]), gradient.norm().double_value(&[]));
        ensure!(
            loss.is_finite() && norm.is_finite(),
            "after {} updates the loss is {loss}, its gradient {norm}; begin another run with a lower --learning-rate",
            state.step
        );
        if norm > settings.clip {
            gradient *= settings.clip / norm;
        }
        let rate = learning_rate_at(settings, state.extended, state.step);
        // Young averages forget the untrained weights faster.
        let ema = settings.ema.min((state.step as f64 + 1.0) / (state.step as f64 + 10.0));
        state.step += 1;
        state.adam.step(state.network.flat(), &gradient, rate, state.step);
        let _ = state.ema.lerp_(state.network.flat(), 1.0 - ema);
        Ok((loss, norm))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(steps: u64) -> Settings {
        let run = std::path::PathBuf::new();
        Settings {
            run,
            steps,
            batch: 1,
            learning_rate: 1.0,
            warmup: Some(20),
            clip: 1.0,
            ema: 0.9,
            precision: None,
            seed: 0,
            checkpoint_every: 1,
            sample_every: 1,
        }
    }

    /// However often a run is made longer, or shorter, and wherever: no update's rate leaps.
    #[test]
    fn rates_do_not_leap_where_a_run_is_made_longer() {
        for stops in [vec![100, 200], vec![100, 150, 400], vec![300, 350], vec![30, 31, 32, 500], vec![400, 120]] {
            let (mut extended, mut step, mut before) = (None, 0, None::<Settings>);
            let mut last = 0.0;
            for (i, &steps) in stops.iter().enumerate() {
                let now = settings(steps);
                if let Some(before) = &before {
                    extended = extension(before, extended, &now, step);
                }
                // The first sittings end early.
                let end = if i + 1 < stops.len() { steps.min(stops[i + 1]) - steps / 8 } else { steps };
                for at in step..end.max(step) {
                    let rate = learning_rate_at(&now, extended, at);
                    assert!((rate - last).abs() <= 0.06 && rate >= 0.0, "{stops:?}, update {at}: {last} to {rate}");
                    last = rate;
                }
                step = end.max(step);
                before = Some(now);
            }
            assert!(last < 0.06, "{stops:?} ends with {last}");
        }
        let plain = settings(100);
        assert_eq!(learning_rate_at(&plain, None, 40), plain.learning_rate_at(40));
        assert_eq!(extension(&plain, None, &plain, 50), None, "nothing was made longer");
    }

    #[test]
    fn a_loss_that_leaves_its_range_is_an_error_and_one_that_falls_is_none() {
        let window = |loss: f64| Window { updates: 10, loss: 10.0 * loss, ..Window::default() };
        assert!(check_course(&window(5e8), None, 10).unwrap_err().to_string().contains("--learning-rate"));
        assert!(check_course(&window(2.0), None, 10).is_ok() && check_course(&window(0.0), None, 10).is_ok());
    }
}
