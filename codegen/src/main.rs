//! `grano-codegen`: the code generator on the command line; build scripts call the same library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Purpose, Result, Target, report};

/// Turns trained diffusion models into static Rust.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes model.rs, model.bin, plan.txt and report.html
    Emit {
        /// The model, a safetensors file
        model: PathBuf,
        /// Folder to write to
        #[arg(short, long)]
        output: PathBuf,
        /// int8, mixed, f16 or f32
        #[arg(long, default_value = "int8")]
        precision: Precision,
        /// In int8, codes for the likelihood of real pictures, not for drawing
        #[arg(long)]
        likelihood: bool,
        /// The chip, such as cortex-m4; else the code runs anywhere
        #[arg(long, default_value = "portable")]
        target: Target,
        /// Samplers, comma-separated, the default first; else the model's own
        #[arg(long, value_delimiter = ',')]
        samplers: Vec<String>,
        /// Keep memory for classifier-free guidance; else where the model is meant to be sampled with it
        #[arg(long)]
        guided: bool,
        /// Most bytes of constants
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        flash_budget: usize,
        /// Most bytes of a sampler's memory
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        ram_budget: usize,
        /// Name of the generated type; else the file's
        #[arg(long)]
        name: Option<String>,
    },
    /// Prints what a model file holds
    Inspect {
        /// The model, a safetensors file
        model: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Emit {
            model,
            output,
            precision,
            likelihood,
            target,
            samplers,
            guided,
            flash_budget,
            ram_budget,
            name,
        } => {
            let stem = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let build = Build::new(&model)
                .precision(precision)
                .purpose(if likelihood { Purpose::Likelihood } else { Purpose::Sampling })
                .target(target)
                .samplers(samplers)
                .flash_budget(flash_budget)
                .ram_budget(ram_budget);
            let build = if guided { build.guided(true) } else { build };
            let written = build.write(&name.unwrap_or(stem), &output)?;
            written.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("{}: {}", output.display(), written.plan.lines().next().unwrap_or_default());
        }
        Command::Inspect { model } => {
            let model = load(&model)?;
            // A reader such as `head` may close the pipe early; that is no error.
            let _ = std::io::stdout().write_all(report::describe(&model)?.as_bytes());
        }
    }
    Ok(())
}
