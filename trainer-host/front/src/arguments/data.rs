//! `look`, and how pictures are varied.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::DataArgs;
use crate::values;

/// Shows what a training would learn from: counts, sizes, classes, what was left out and why, and a sheet.
#[derive(clap::Args, Clone, Debug)]
pub struct Look {
    /// The data.
    #[command(flatten)]
    pub data: DataArgs,
    /// Names of the classes, comma-separated, in the order of their numbers
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// Where to write the sheet, a .png
    #[arg(short, long, default_value = "look.png")]
    pub output: PathBuf,
}

/// How training pictures are varied; not at all unless asked for, since mirrored digits and letters are others.
#[derive(clap::Args, Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Augment {
    /// Mirror every other picture, left to right; not for digits and text
    #[arg(long)]
    #[serde(default)]
    pub flip: bool,
    /// Move every picture by up to so many pixels, at random; its edge fills what is left
    #[arg(long, default_value_t = 0, value_parser = values::shift)]
    #[serde(default)]
    pub shift: i64,
}
