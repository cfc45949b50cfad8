//! `grano-train`: trains, teaches, exports, samples and evaluates the networks that grano puts on chips, with libtorch.
//!
//! It is linked with the libtorch 2.11 in `$LIBTORCH` (or that of the PyTorch of `python3`, with `LIBTORCH_USE_PYTORCH=1`).
//! Model files run in process, on the kernels of the engine, in whatever precision: no network is compiled in.
//! `train`, `classify`, `finetune`, `distill`, `consistency`, `refine`, `sensitivity`, `judge` and `eval` run on the first GPU when libtorch
//! has its CUDA part: `build.rs` links `$LIBTORCH/lib/libtorch_cuda.so` where it exists; elsewhere start with
//! `LD_PRELOAD=…/libtorch_cuda.so`.
//! Trainings, `sample` and `eval` also run as several ranks, on one host by `launch`, on more by torchrun: see
//! [`distributed`].
//! `OMP_NUM_THREADS` sets the CPU's threads; results repeat to the bit only with the same number of them. Threads that
//! have nothing to do rest, see [`threads`].
//!
//! What commands take, and the data that they read, stand in the crate `grano-trainer-front`, which needs no libtorch.

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
mod interrupt;
mod judge;
mod moments;
mod network;
mod new;
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
mod threads;
mod train;

use anyhow::Result;
use distributed::check_alone;
use grano_trainer_front::arguments::{Arguments, Command};
use grano_trainer_front::look::look;

fn main() -> Result<()> {
    let arguments = Arguments::read();
    threads::rest_while_waiting()?;
    distributed::end(run(&arguments.command))
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Look(args) => look(args),
        Command::New(args) => check_alone().and_then(|()| new::new(args, &run)),
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
