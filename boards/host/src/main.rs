//! `grano` draws pictures on the desktop with the same code that runs on a chip.
//!
//! [`args`] reads the command line into a job; [`models`] are the networks in the binary; [`batch`] draws, one sampler
//! a thread; [`output`] writes files; [`sheet`] and [`preview`] are for people.

mod args;
mod batch;
mod models;
mod output;
mod preview;
mod sheet;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use console::Term;

use args::{Cli, Job};
use batch::Picture;

const TRY_NEXT: &str = "
Try next:
  cargo run --release -- sample --label sneaker --seed 7 -o sneakers.png
  cargo run --release -- sample --model fashion-fast --label bag --sampler fast-2
  cargo run --release -- sample --count 1000 -o pictures.npy --labels-out labels.npy
  cargo run --release -- sample --help
";

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that `RUST_BACKTRACE` would add: the message says what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let job = Job::new(cli.args())?;
    let start = Instant::now();
    let pictures = batch::draw(&job)?;
    let seconds = start.elapsed().as_secs_f64();
    output::write(&job, &pictures)?;
    let mut text = if job.crc { checksums(&job, &pictures) } else { summary(&job, &pictures, seconds)? };
    if cli.is_empty() {
        text += TRY_NEXT;
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
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
    let preview = if Term::stdout().is_term() && console::colors_enabled() {
        preview::blocks(job.model.shape, pictures)?
    } else {
        String::new()
    };
    let what = job.label.map_or(job.model.name, |label| job.label_name(label));
    let files: Vec<_> = job.files().map(|path| path.display().to_string()).collect();
    Ok(format!(
        "{preview}Drew {} × {what} in {seconds:.1} s: {}, {}, guidance {}, seed {}, threads {}.\nWrote {}\n",
        job.count,
        job.model.precision,
        job.table.name,
        job.guidance,
        job.seed,
        job.threads,
        files.join(", "),
    ))
}
