//! `grano` runs a model file on the desktop, with the same kernels and the same bits as a chip: it draws pictures
//! (`sample`), evaluates a network once (`evaluate`) and tells what a file holds (`inspect`).
//!
//! Verbs that draw from something given, `edit`, `inpaint`, `colourise` and `upscale`, read it as a [`photo`] and make a
//! [`task`] of it; `encode`, `decode` and `interpolate` are in [`latent`], `score` in [`score`]. [`new`] writes a project for a
//! board, and [`view`] asks one for pictures.
//!
//! [`args`] is the command line. [`models`] finds the model and compiles it in process. [`job`] checks what `sample` is
//! asked for, [`batch`] draws it, one [`picture`] after another on every core, [`output`] writes it, as a [`sheet`] or as
//! an array, and [`preview`] shows some of it in the terminal. [`evaluate`] reads and writes [`array`](mod@array)s. What is
//! written goes through [`files`].

mod args;
mod array;
mod batch;
mod evaluate;
mod files;
mod job;
mod latent;
mod models;
mod new;
mod output;
mod photo;
mod picture;
mod preview;
mod score;
mod sheet;
mod task;
mod view;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use grano::Shape;
use grano_codegen::report::describe;

use args::{Cli, Command, SampleArgs};
use job::{Job, Verb};
use picture::Picture;
use task::Task;

const TRY_NEXT: &str = "
Try next:
  cargo run --release -- sample --label sneaker --seed 7 -o sneakers.png
  cargo run --release -- sample --model fashion-fast --label bag --sampler fast-2
  cargo run --release -- sample --count 1000 -o pictures.npy --labels-out labels.npy
  cargo run --release -- sample --help
";

fn main() -> ExitCode {
    match run(Cli::parse().command).and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that `RUST_BACKTRACE` would add: the message says what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To standard output. A reader such as `head` may close the pipe early; that is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Does what was asked for, and gives what to print.
fn run(command: Option<Command>) -> Result<String> {
    match command {
        None => Ok(sample(SampleArgs::sheet())? + TRY_NEXT),
        Some(Command::Sample(args)) => sample(args),
        Some(Command::Edit(args)) => {
            let given = |shape, table, times: &[usize], steps| task::edit(&args, shape, &table, times, steps);
            draw(&Job::new(args.sample.clone(), &Verb { name: "edited", count: 1, ..Verb::SAMPLE }, given)?)
        }
        Some(Command::Inpaint(args)) => given("inpainted", &args.sample, |shape| task::inpaint(&args, shape)),
        Some(Command::Colourise(args)) => given("colourised", &args.sample, |shape| task::colourise(&args, shape)),
        Some(Command::Upscale(args)) => given("upscaled", &args.sample, |shape| task::upscale(&args, shape)),
        Some(Command::Encode(args)) => latent::encode(&args),
        Some(Command::Decode(args)) => draw(&latent::decode(args)?),
        Some(Command::Interpolate(args)) => draw(&latent::interpolate(args)?),
        Some(Command::Score(args)) => score::run(&args),
        Some(Command::Evaluate(args)) => evaluate::run(&args),
        Some(Command::New(args)) => new::run(&args),
        Some(Command::View(args)) => view::run(&args),
        Some(Command::Inspect { model }) => {
            let model = models::open("inspect", &model)?;
            Ok(describe(&model)?)
        }
    }
}

fn sample(args: SampleArgs) -> Result<String> {
    draw(&Job::new(args, &Verb::SAMPLE, |_, table, _, _| Ok((Task::Noise, table)))?)
}

/// The sampler of inverse problems, where the user does not say.
const INVERSE: &str = "ancestral-25-travel5x10";

/// Draws what was measured of a picture.
fn given(name: &str, sample: &SampleArgs, task: impl FnOnce(Shape) -> Result<Task>) -> Result<String> {
    let verb = Verb { name, count: 1, sampler: Some(INVERSE), ..Verb::SAMPLE };
    draw(&Job::new(sample.clone(), &verb, |shape, table, _, _| Ok((task(shape)?, table)))?)
}

fn draw(job: &Job) -> Result<String> {
    let start = Instant::now();
    let pictures = batch::draw(job)?;
    let seconds = start.elapsed().as_secs_f64();
    output::write(job, &pictures)?;
    if job.crc { Ok(checksums(job, &pictures)) } else { summary(job, &pictures, seconds) }
}

/// A line a picture: its index, its label, the CRC-32 (IEEE) of its bytes.
fn checksums(job: &Job, pictures: &[Picture]) -> String {
    let line = |(i, picture): (usize, &Picture)| {
        format!("{i} {} {:08x}\n", job.label_name(picture.label), crc32fast::hash(&picture.bytes))
    };
    pictures.iter().enumerate().map(line).collect()
}

/// The preview, and what was done.
fn summary(job: &Job, pictures: &[Picture], seconds: f64) -> Result<String> {
    let preview = preview::preview(job.shape, pictures)?;
    let what = job.label.map_or(job.name.as_str(), |label| job.label_name(Some(label)));
    let files: Vec<_> = job.files().map(|path| path.display().to_string()).collect();
    Ok(format!(
        "{preview}Drew {} × {what} in {seconds:.1} s: {}, {}, guidance {}, seed {}, threads {}.\nWrote {}\n",
        job.count,
        job.precision.name(),
        job.table.view().name,
        job.guidance,
        job.seed,
        job.threads,
        files.join(", "),
    ))
}
