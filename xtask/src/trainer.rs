//! `trainer`: the program `grano-train`, where the user is.

use std::env;
use std::process::exit;

use anyhow::{Context, Result};

use crate::setup;
use crate::shell::{Shell, cargo, root};

/// Runs the trainer with some arguments, in the folder where the user is.
///
/// What needs no libtorch comes first: help, `look`, and whether the arguments are right.
///
/// # Errors
/// When libtorch cannot be set up. Otherwise the trainer's own exit code is this program's.
pub fn run(arguments: &[String]) -> Result<()> {
    let code = run_package("grano-trainer-front", &["--quiet"], arguments)?.code()?;
    if code != 0 || is_answered(arguments) {
        exit(code);
    }
    let libtorch = setup::libtorch()?;
    println!("trainer: compiles grano-train with libtorch where it has changed; the first time takes minutes");
    let trainer = run_package("grano-trainer", &[], arguments)?;
    libtorch.iter().fold(trainer, |shell, (name, value)| shell.env(name, value)).replace()
}

/// Whether the part without libtorch has done all that was asked for.
fn is_answered(arguments: &[String]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    let asks = own.clone().any(|argument| ["-h", "--help", "-V", "--version"].contains(&argument.as_str()));
    asks || own.take(1).any(|command| ["look", "help"].contains(&command.as_str()))
}

fn run_package(package: &str, options: &[&str], arguments: &[String]) -> Result<Shell> {
    let here = env::current_dir().context("the folder that this was started in is gone")?;
    let manifest = root().join("Cargo.toml").display().to_string();
    let cargo = cargo().args(["run", "--release"]).args(options.iter().copied());
    let cargo = cargo.args(["--manifest-path", &manifest, "--package", package, "--"]);
    Ok(cargo.args(arguments.iter().cloned()).folder(here))
}

#[cfg(test)]
mod tests {
    use super::is_answered;

    #[test]
    fn help_and_look_need_no_libtorch() {
        let answered = |line: &str| is_answered(&line.split(' ').map(String::from).collect::<Vec<_>>());
        for line in ["--help", "train --help", "look --data x", "help train", "--version", "export -h"] {
            assert!(answered(line), "{line}");
        }
        for line in ["train --data look", "launch --ranks 2 -- train --help", "sample"] {
            assert!(!answered(line), "{line}");
        }
    }
}
