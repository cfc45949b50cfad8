//! One local command for everything that CI does: `cargo xtask test`. The other commands are its parts.
//!
//! | command | does |
//! |---|---|
//! | `test` | format, lints, tests, the firmware in the emulator, the trainer; sets up what these need |
//! | `trainer` | `grano-train`, the trainer, with libtorch set up |
//! | `setup` | installs one of the needs, or all; says what, and where it cannot, what to type |
//! | `qemu` | builds a board's firmware and runs it in the emulator |
//! | `aarch64` | runs the Neon kernels' checks and the host program in the emulator |
//! | `wasm` | runs the simd128 kernels' checks and a picture in Node |
//! | `boards` | writes, builds and emulates the firmware of every board of `boards/real` |
//! | `flash` | builds a board's firmware and runs it on the board |
//! | `size` | flash and RAM of every firmware |
//! | `bench mcu` | instructions by layer, flash, RAM and stack of every firmware, compared with the committed figures |
//! | `bench shapes` | random layers: predicted instructions against those that a board counts |
//! | `bench host` | the reference U-Net on one core, in grano and in others' engines; what the host program takes |

mod apt;
mod bare_metal;
mod elsewhere;
mod figures;
mod firmware;
mod host;
mod mcu;
mod python;
mod real;
mod setup;
mod shapes;
mod shell;
mod stages;
mod trainer;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};

use firmware::Binary;
use shell::Shell;

/// Everything CI does, and its parts.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up and check everything, as CI does
    Test,
    /// Run the trainer, grano-train, with libtorch set up; its words follow
    #[command(disable_help_flag = true)]
    Trainer {
        /// Such as: train --data FOLDER --run runs/mine
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what the checks need
    Setup {
        #[arg(value_enum, default_value_t = setup::Part::All)]
        part: setup::Part,
    },
    /// Build a board's firmware and run it in QEMU
    Qemu {
        /// The program, such as qemu-m4f
        board: String,
        /// The class to draw; without it, the network is evaluated once and its layers are counted
        #[arg(long)]
        label: Option<String>,
        /// Where the noise begins
        #[arg(long, default_value_t = firmware::SEED)]
        seed: u64,
        /// Run an example of the board's package instead, such as count
        #[arg(long, conflicts_with_all = ["label", "seed"])]
        example: Option<String>,
    },
    /// Check the Neon kernels and draw, in the emulator, with dot products and without
    Aarch64,
    /// Check the simd128 kernels and draw, in Node
    Wasm,
    /// Write, build and emulate the firmware of every board of boards/real
    Boards {
        /// One board alone, such as pico2
        #[arg(long)]
        board: Option<String>,
        /// Take the newest versions of dependencies, and keep those as the board's
        #[arg(long)]
        update: bool,
    },
    /// Build a board's firmware and run it on the board, with probe-rs
    Flash {
        /// The program, such as nrf52840-dk
        board: String,
    },
    /// Flash and RAM of every firmware
    Size,
    /// Measure, and compare with what is committed
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Run every firmware in QEMU: instructions by layer, flash, RAM and stack
    Mcu {
        /// Write the figures instead of comparing
        #[arg(long)]
        bless: bool,
        /// One board alone, such as qemu-m55
        #[arg(long)]
        board: Option<String>,
    },
    /// Run random layers in QEMU and compare the plan's instructions with those counted
    Shapes {
        /// One board alone, such as qemu-m4f
        #[arg(long)]
        board: Option<String>,
        /// Programs that the layers are spread over
        #[arg(long, default_value_t = 6)]
        parts: usize,
        /// How many of the programs to run, from the first
        #[arg(long)]
        take: Option<usize>,
    },
    /// Run the reference U-Net on one core beside others' engines, and see what the host program takes
    Host {
        /// Write the figures, too
        #[arg(long)]
        bless: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that `RUST_BACKTRACE` would add: the message says what to do.
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Test => stages::run(),
        Command::Trainer { arguments } => trainer::run(&arguments),
        Command::Setup { part } => setup::run(part),
        Command::Qemu { board, label, seed, example } => {
            let program = firmware::program(&board)?;
            setup::qemu()?;
            let bare_metal = bare_metal::set_up()?;
            let elf = match example {
                Some(example) => program.build_example(&bare_metal, &example)?,
                None => program.build(&bare_metal)?,
            };
            let seed = seed.to_string();
            let words: Vec<&str> = label.iter().flat_map(|label| [label, seed.as_str()]).collect();
            program.qemu(&elf, &words)?.run()
        }
        Command::Aarch64 => elsewhere::aarch64(&bare_metal::set_up()?).map(drop),
        Command::Wasm => elsewhere::wasm(&bare_metal::set_up()?).map(drop),
        Command::Boards { board, update } => {
            real::run(&bare_metal::set_up()?, board.as_deref(), update, &stages::host_crc32("int8")?)
        }
        Command::Flash { board } => flash(&board),
        Command::Size => size(),
        Command::Bench { bench: Bench::Mcu { bless, board } } => mcu::run(board.as_deref(), bless),
        Command::Bench { bench: Bench::Shapes { board, parts, take } } => {
            shapes::run(board.as_deref(), [parts, take.unwrap_or(parts)])
        }
        Command::Bench { bench: Bench::Host { bless } } => host::bench(bless),
    }
}

fn flash(board: &str) -> Result<()> {
    let program = firmware::program(board)?;
    let Some(chip) = &program.board.probe_rs_chip else {
        bail!("`{board}` is no real board: `cargo xtask qemu {board}`")
    };
    ensure!(
        Shell::new("probe-rs").args(["--version"]).works(),
        "probe-rs, which writes to boards, is missing. Install it with\n    cargo install --locked probe-rs-tools"
    );
    let elf = program.build(&bare_metal::set_up()?)?.display().to_string();
    Shell::new("probe-rs").args(["run", "--chip", chip, &elf]).run().context("is the board plugged in?")
}

fn size() -> Result<()> {
    let programs = firmware::programs()?;
    firmware::cargo_all(&bare_metal::set_up()?, "build", &programs, &[])?;
    println!("\n{:20} {:>12} {:>12} {:>14} {:>12}", "program", "flash", "of", "static RAM", "of");
    for program in programs {
        let size = firmware::size(&program.elf())?;
        let Binary { flash_bytes, ram_bytes, .. } = program.binary;
        println!("{:20} {:>12} {flash_bytes:>12} {:>14} {ram_bytes:>12}", program.name, size.flash, size.ram);
    }
    Ok(())
}
