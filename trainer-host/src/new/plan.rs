//! The network: the largest that fits the board and can be trained in the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use grano_codegen::graph::Shape;
use grano_codegen::model::{DENOISER, Model, Ranges};
use grano_codegen::resources::Resources;
use grano_codegen::schedule::{Prediction, SamplerSpec};
use grano_codegen::target::Target;
use grano_codegen::{Build, Precision};
use grano_networks::calibrate;
use grano_networks::compact::{self, Config};
use grano_trainer_front::arguments::new::{Board, New as Args};
use grano_trainer_front::arguments::{Arguments, Command};
use grano_trainer_front::data::Loaded;

use super::recipe::training_words;

/// What a board leaves to a model, after code, stack and what else runs there.
struct Chip {
    target: Target,
    flash_bytes: usize,
    ram_bytes: usize,
    /// Cycles a second; instructions are taken to be as many.
    hertz: f64,
}

impl Chip {
    fn of(board: Board) -> Self {
        let chip = |target, flash_kib: usize, ram_kib: usize, mhz: f64| Self {
            target,
            flash_bytes: (flash_kib - 256) << 10,
            ram_bytes: (ram_kib - 32) << 10,
            hertz: mhz * 1e6,
        };
        match board {
            Board::Pico => chip(Target::CortexM0, 2048, 264, 133.0),
            Board::Pico2 => chip(Target::CortexM33, 4096, 520, 150.0),
            Board::Nrf52840Dk => chip(Target::CortexM4, 1024, 256, 64.0),
            Board::Stm32h743 => chip(Target::CortexM7, 2048, 512, 480.0),
            Board::Esp32c3 => chip(Target::Riscv32, 4096, 400, 160.0),
        }
    }
}

/// Channels at half and at quarter resolution, and blocks before, at and after it; the most expensive first.
const NETWORKS: [([usize; 2], [usize; 3]); 7] = [
    ([64, 96], [1, 2, 2]),
    ([48, 72], [1, 2, 2]),
    ([32, 48], [1, 2, 2]),
    ([24, 40], [1, 2, 1]),
    ([16, 32], [1, 1, 1]),
    ([12, 20], [1, 1, 1]),
    ([8, 12], [0, 1, 1]),
];

/// Evaluations of a picture that models are made for, and their sampler before its steps are searched.
pub const EVALUATIONS: usize = 8;
const SAMPLER: &str = "dpm-8";
/// Time indices of the trainer's forward process.
const STEPS: usize = 1000;

/// Updates of 128 pictures below which a network is too large for the time.
const FEWEST_UPDATES: f64 = 4000.0;
/// Part of the time that the first training takes.
const FIRST: f64 = 0.55;

/// What was decided.
pub struct Plan {
    /// Channels, blocks.
    pub network: ([usize; 2], [usize; 3]),
    /// Pictures a second that it trains with.
    pub samples_per_second: f64,
    /// Seconds for all stages.
    pub seconds: f64,
}

/// A compact network of made-up weights with made-up ranges: what it takes hangs on neither.
fn made_up(config: &Config) -> Result<Model> {
    let graph = compact::graph(config)?;
    let maps = graph.shapes()?.into_iter().filter(|(_, shape)| matches!(shape, Shape::Map(_)));
    let mut times = SAMPLER.parse::<SamplerSpec>()?.time_indices(STEPS)?;
    times.sort_unstable();
    let ranges = Ranges {
        values: maps.map(|(name, _)| (name, vec![[-4.0, 4.0]; times.len()])).collect(),
        times,
        fine: Vec::new(),
    };
    let mut value = calibrate::random(1);
    let network = calibrate::network(graph.clone(), |parameter| {
        (0..parameter.shape.iter().product()).map(|_| 0.2 * value()).collect()
    })?;
    let mut header = calibrate::header(STEPS, SAMPLER);
    header.prediction = Prediction::Velocity;
    header.data.labels = (0..config.classes).map(|class| class.to_string()).collect();
    header.networks.insert(DENOISER.into(), graph);
    header.ranges.insert(DENOISER.into(), ranges);
    Ok(Model { header, networks: BTreeMap::from([(DENOISER.to_string(), network)]), sha256: String::new() })
}

/// What a network takes on a chip, in int8.
fn measure(config: &Config, chip: &Chip) -> Result<Resources> {
    let build =
        Build::of(Arc::new(made_up(config)?)).precision(Precision::Int8).target(chip.target).samplers([SAMPLER]);
    Ok(build.flash_budget(chip.flash_bytes).ram_budget(chip.ram_bytes).measure()?)
}

/// Chooses a network and says why.
///
/// # Errors
/// When none fits the board, or the data make no network.
pub fn plan(args: &Args, loaded: &Loaded, folder: &Path, run: &dyn Fn(&Command) -> Result<()>) -> Result<Plan> {
    let chip = Chip::of(args.board);
    let [h, w, c] = loaded.shape;
    let config = |(channels, blocks): ([usize; 2], [usize; 3])| Config {
        input: [c, h, w],
        classes: loaded.names.len(),
        channels,
        blocks,
        embedding: 128,
        limit: 4.0,
    };
    let seconds = args.hours * 3600.0;
    let mut least = None;
    for network in NETWORKS {
        let measured = measure(&config(network), &chip)
            .with_context(|| format!("no network for pictures of {h}×{w}; give --size, sides of multiples of 4"))?;
        let denoiser = &measured.networks[0];
        let instructions = denoiser.instructions.unwrap_or(0) as f64 * EVALUATIONS as f64;
        let on_board = instructions / chip.hertz;
        let line = format!(
            "channels {:?}, blocks {:?}: {} KB of flash, {} KB of RAM, {:.0} million instructions a picture, about {on_board:.1} s",
            network.0,
            network.1,
            measured.flash_bytes >> 10,
            measured.ram_bytes >> 10,
            instructions / 1e6
        );
        if measured.flash_bytes > chip.flash_bytes || measured.ram_bytes > chip.ram_bytes || on_board > args.seconds {
            println!("too large for the board: {line}");
            continue;
        }
        let samples_per_second = probe(args, network, folder, run)?;
        least = Some(Plan { network, samples_per_second, seconds });
        let updates = samples_per_second * seconds * FIRST / 128.0;
        if updates >= FEWEST_UPDATES {
            println!("chosen: {line}; trains with about {samples_per_second:.0} pictures/s");
            break;
        }
        println!("too slow for {} hours of training: {line}, {updates:.0} updates", args.hours);
    }
    match least {
        Some(plan) => Ok(plan),
        None => bail!(
            "no network fits this board in {} s a picture; give --size, smaller pictures, or more --seconds",
            args.seconds
        ),
    }
}

/// Pictures a second that a network trains with, of a few updates that are thrown away.
fn probe(
    args: &Args,
    network: ([usize; 2], [usize; 3]),
    folder: &Path,
    run: &dyn Fn(&Command) -> Result<()>,
) -> Result<f64> {
    let probe = folder.join("probe");
    let mut words = vec!["grano-train".to_string()];
    words.extend(training_words(args, network));
    words.extend(["--steps=12", "--sample-every=1000", "--run"].map(String::from));
    words.push(probe.display().to_string());
    // What an ended probe left would be its end.
    let clear = || std::fs::remove_dir_all(&probe).ok();
    clear();
    run(&Arguments::of(&words)?.command)?;
    let metrics = crate::curve::read(&probe, u64::MAX)?;
    clear();
    metrics.last().map(|metric| metric.samples_per_second).context("the probe has no metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Networks are in the order of what they cost, and every board can have one of them.
    #[test]
    fn every_board_has_a_network() {
        for board in [Board::Pico, Board::Pico2, Board::Nrf52840Dk, Board::Stm32h743, Board::Esp32c3] {
            let chip = Chip::of(board);
            let costs = [NETWORKS[2], NETWORKS[6]].map(|(channels, blocks)| {
                let config = Config { input: [1, 28, 28], classes: 10, channels, blocks, embedding: 128, limit: 4.0 };
                measure(&config, &chip).unwrap()
            });
            let [large, small] = &costs;
            assert!(small.flash_bytes < large.flash_bytes && small.ram_bytes <= large.ram_bytes, "{costs:?}");
            assert!(small.networks[0].instructions < large.networks[0].instructions);
            assert!(small.flash_bytes <= chip.flash_bytes && small.ram_bytes <= chip.ram_bytes, "{board:?}: {small:?}");
        }
    }
}
