//! What the commands of `grano-train` take, in the order in which a model is made.
//!
//! [`new`] does all that follows; [`settings`] are those of every training; [`train`] begins a model, [`students`] teach it more; [`models`] write, draw
//! and search; [`measure`] says how good it is; [`data`] looks at what it learns from.

pub mod data;
pub mod measure;
pub mod models;
pub mod new;
pub mod settings;
pub mod students;
pub mod train;

use clap::{Parser, Subcommand};

/// Trains, teaches, exports, samples and evaluates small diffusion models with libtorch.
#[derive(Parser, Clone, Debug)]
#[command(name = "grano-train", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug)]
#[expect(missing_docs, reason = "each says what it does where its arguments stand")]
pub enum Command {
    Look(data::Look),
    New(new::New),
    Train(train::Args),
    Finetune(students::Finetune),
    Distill(students::Distill),
    Consistency(students::Consistency),
    Refine(students::Refine),
    Classify(students::Classify),
    Sensitivity(models::Sensitivity),
    Export(models::Export),
    Sample(models::Sample),
    Steps(models::Steps),
    Judge(measure::Judge),
    Eval(measure::Eval),
    Launch(Launch),
}

/// Runs a command as several ranks on this host, as torchrun does, without Python.
#[derive(clap::Args, Clone, Debug)]
pub struct Launch {
    /// Processes; with GPUs, one for each
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub ranks: u16,
    /// The command, such as train, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

impl Arguments {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn of(words: &[String]) -> anyhow::Result<Self> {
        Self::try_parse_from(words).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Reads the command line; ends the program where that asks for help or is wrong.
    pub fn read() -> Self {
        let arguments = Self::parse();
        if let Command::Launch(launch) = &arguments.command {
            // What the ranks would all refuse is refused once.
            let words = std::iter::once("grano-train").chain(launch.command.iter().map(String::as_str));
            Self::try_parse_from(words).unwrap_or_else(|error| error.exit());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_agree_with_themselves() {
        use clap::CommandFactory;
        super::Arguments::command().debug_assert();
    }
}
