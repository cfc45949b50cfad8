//! `grano-train`: trains, teaches, exports, samples and evaluates the networks that grano puts on chips, with libtorch.
//!
//! It is linked with the libtorch 2.11 in `$LIBTORCH` (or that of the PyTorch of `python3`, with `LIBTORCH_USE_PYTORCH=1`).
//! Model files run in process, on the kernels of the engine, in whatever precision: no network is compiled in.
//! `train`, `classify`, `finetune`, `distill`, `consistency`, `refine`, `sensitivity`, `judge` and `eval` run on the first GPU when libtorch
//! has its CUDA part: `build.rs` links `$LIBTORCH/lib/libtorch_cuda.so` where it exists; elsewhere start with
//! `LD_PRELOAD=…/libtorch_cuda.so`.
//! Trainings, `sample` and `eval` also run as several ranks, on one host by `launch`, on more by torchrun: see
//! [`distributed`].
//! `OMP_NUM_THREADS` sets the CPU's threads; results repeat to the bit only with the same number of them.

mod checkpoint;
mod classifier;
mod classify;
mod consistency;
mod curve;
mod data;
mod discriminator;
mod distill;
mod distributed;
mod eval;
mod export;
mod files;
mod finetune;
mod frechet_loss;
mod judge;
mod moments;
mod network;
mod optimize;
mod process;
mod progress;
mod refine;
mod rounding;
mod sample;
mod sensitivity;
mod state;
mod steps;
#[cfg(test)]
mod testing;
mod train;

use clap::Parser;
use distributed::check_alone;

/// Trains, teaches, exports, samples and evaluates small diffusion models with libtorch.
#[derive(Parser)]
#[command(version)]
enum Command {
    Train(train::Args),
    Classify(classify::Args),
    Finetune(finetune::Args),
    Distill(distill::Args),
    Consistency(consistency::Args),
    Refine(refine::Args),
    Sensitivity(sensitivity::Args),
    Export(export::Args),
    Sample(sample::Args),
    Steps(steps::Args),
    Judge(judge::Args),
    Eval(eval::Args),
    Launch(distributed::launch::Args),
}

fn main() -> anyhow::Result<()> {
    distributed::end(run(&Command::parse()))
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train::train(args),
        Command::Classify(args) => classify::classify(args),
        Command::Finetune(args) => finetune::finetune(args),
        Command::Distill(args) => distill::distill(args),
        Command::Consistency(args) => consistency::consistency(args),
        Command::Refine(args) => refine::refine(args),
        Command::Sample(args) => sample::sample(args),
        Command::Eval(args) => eval::eval(args),
        Command::Launch(args) => distributed::launch::launch(args),
        Command::Sensitivity(args) => check_alone().and_then(|()| sensitivity::sensitivity(args)),
        Command::Export(args) => check_alone().and_then(|()| export::export(args)),
        Command::Steps(args) => check_alone().and_then(|()| steps::steps(args)),
        Command::Judge(args) => check_alone().and_then(|()| judge::judge(args)),
    }
}
