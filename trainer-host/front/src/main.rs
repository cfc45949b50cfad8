//! What of `grano-train` needs no libtorch: its help, `look`, and whether a command line is one. `cargo xtask trainer`
//! runs this before it builds the rest.

use std::process::ExitCode;

use grano_trainer_front::arguments::{Arguments, Command};
use grano_trainer_front::look::look;

fn main() -> ExitCode {
    let done = match Arguments::read().command {
        Command::Look(args) => look(&args),
        // The trainer itself does what is left.
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
