//! `new`.

use std::path::PathBuf;

use super::data::Augment;
use crate::data::DataArgs;
use crate::values;

/// From a folder to a model: looks at the data, chooses a network that fits a board, trains, and says how good it is.
///
/// The recipe stands in RUN/recipe.toml, made for the data, the board and the time; it can be edited. The same command goes
/// on where the last one ended.
#[derive(clap::Args, Clone, Debug)]
pub struct New {
    /// What is learnt from.
    #[command(flatten)]
    pub data: DataArgs,
    /// Names of the classes, comma-separated, in the order of their numbers
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// How pictures are varied.
    #[command(flatten)]
    pub augment: Augment,
    /// The board that the model is for
    #[arg(long, value_enum, default_value_t = Board::Pico2)]
    pub board: Board,
    /// Hours that all stages take together, about
    #[arg(long, default_value_t = 2.0, value_parser = values::hours)]
    pub hours: f64,
    /// Seconds that a picture may take on the board, about
    #[arg(long, default_value_t = 10.0, value_parser = values::positive)]
    pub seconds: f64,
    /// Where to write the model
    #[arg(short, long, default_value = "mine.safetensors")]
    pub output: PathBuf,
    /// Folder of the recipe, the stages' runs and the report; else runs/new/OUTPUT
    #[arg(long)]
    pub run: Option<PathBuf>,
}

/// Boards by their chips.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// Raspberry Pi Pico: RP2040, two Cortex-M0+ of 133 MHz, 264 KB of RAM, 2 MB of flash
    Pico,
    /// Raspberry Pi Pico 2: RP2350, two Cortex-M33 of 150 MHz, 520 KB of RAM, 4 MB of flash
    Pico2,
    /// nRF52840-DK: Cortex-M4F of 64 MHz, 256 KB of RAM, 1 MB of flash
    Nrf52840Dk,
    /// STM32H743 Nucleo: Cortex-M7 of 480 MHz, 512 KB of RAM in one piece, 2 MB of flash
    Stm32h743,
    /// ESP32-C3 boards: RV32IMC of 160 MHz, 400 KB of RAM, 4 MB of flash
    Esp32c3,
}
