//! What the command line says of data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Error;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The data, and what is done to them; the same for every command that works on the same model.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DataArgs {
    /// A folder of pictures (a subfolder a class, or none), a folder or file of IDX, .npy or .npz, or a CSV of labels
    #[arg(long)]
    pub data: PathBuf,
    /// Which class each file of the folder is of: a CSV of files and labels; else labels.csv in the folder
    #[arg(long)]
    #[serde(default)]
    pub csv: Option<PathBuf>,
    /// Take all pictures as of no class
    #[arg(long)]
    #[serde(default)]
    pub no_classes: bool,
    /// Make pictures this large: a side, or HEIGHTxWIDTH
    #[arg(long)]
    #[serde(default)]
    pub size: Option<Size>,
    /// How pictures of another shape come to --size
    #[arg(long, value_enum, default_value_t = Resize::Crop)]
    #[serde(default)]
    pub resize: Resize,
    /// Take all pictures as grey
    #[arg(long, conflicts_with = "colour")]
    #[serde(default)]
    pub grey: bool,
    /// Take all pictures as colour
    #[arg(long, visible_alias = "color")]
    #[serde(default)]
    pub colour: bool,
    /// The colour under transparent pixels and around padded pictures: white, black, or RRGGBB
    #[arg(long, default_value_t = Background::WHITE)]
    #[serde(default)]
    pub background: Background,
    /// The values that stand for black and white, such as 0..16, where they are not 0..255
    #[arg(long, allow_hyphen_values = true)]
    #[serde(default)]
    pub range: Option<Range>,
    /// The order of an array's axes, where its shape does not tell
    #[arg(long, value_enum)]
    #[serde(default)]
    pub layout: Option<Layout>,
    /// The share of every class that is held back from training, such as 10%, where the data have no test set
    #[arg(long, default_value_t = Percent::TENTH)]
    #[serde(default)]
    pub test: Percent,
    /// Of the choice of what is held back
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub test_seed: u64,
}

impl DataArgs {
    /// The words of a command line that says the same.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--data".to_string(), self.data.display().to_string()];
        let mut say = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        say("csv", self.csv.as_ref().map(|csv| csv.display().to_string()));
        say("size", self.size.map(|size| size.to_string()));
        say("resize", self.resize.to_possible_value().map(|value| value.get_name().to_string()));
        say("background", Some(self.background.to_string()));
        say("range", self.range.map(|range| range.to_string()));
        say("layout", self.layout.and_then(|layout| Some(layout.to_possible_value()?.get_name().to_string())));
        say("test", Some(self.test.to_string()));
        say("test-seed", Some(self.test_seed.to_string()));
        let flags = [("--no-classes", self.no_classes), ("--grey", self.grey), ("--colour", self.colour)];
        words.extend(flags.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_string()));
        words
    }

    /// Of a path, with nothing else said.
    pub fn of(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            csv: None,
            no_classes: false,
            size: None,
            resize: Resize::Crop,
            grey: false,
            colour: false,
            background: Background::WHITE,
            range: None,
            layout: None,
            test: Percent::TENTH,
            test_seed: 0,
        }
    }
}

/// How a picture comes to a size of another shape.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Cut what is too long, equally on both sides.
    #[default]
    Crop,
    /// Fill what is missing with the background.
    Pad,
    /// Change the picture's shape.
    Stretch,
}

/// The order of an array's axes.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Pictures, height, width, channels.
    Nhwc,
    /// Pictures, channels, height, width.
    Nchw,
}

/// Height and width.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub [usize; 2]);

/// Sides that networks of microcontrollers have.
pub const SIDES: std::ops::RangeInclusive<usize> = 4..=512;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (height, width) = text.split_once(['x', '×', 'X']).unwrap_or((text, text));
        let side = |text: &str| text.trim().parse().ok().filter(|side| SIDES.contains(side));
        match (side(height), side(width)) {
            (Some(height), Some(width)) => Ok(Self([height, width])),
            _ => Err(format!("give a side, or HEIGHTxWIDTH, each {} to {} pixels", SIDES.start(), SIDES.end())),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.0[0], self.0[1])
    }
}

/// A colour.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Background(pub [u8; 3]);

impl Background {
    /// Where nothing else is said.
    pub const WHITE: Self = Self([255; 3]);
}

impl Default for Background {
    fn default() -> Self {
        Self::WHITE
    }
}

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = match text {
            "white" => "ffffff",
            "black" => "000000",
            "grey" | "gray" => "808080",
            other => other.strip_prefix('#').unwrap_or(other),
        };
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6 && !digits.starts_with('+'));
        let [_, colour @ ..] =
            number.ok_or("give white, black, grey, or six hexadecimal digits, RRGGBB")?.to_be_bytes();
        Ok(Self(colour))
    }
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        match self.0 {
            [255, 255, 255] => f.write_str("white"),
            [0, 0, 0] => f.write_str("black"),
            _ => write!(f, "{red:02x}{green:02x}{blue:02x}"),
        }
    }
}

/// The values of black and of white.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(try_from = "String", into = "String")]
pub struct Range(pub [f64; 2]);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").unwrap_or(("", ""));
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low != high => Ok(Self([low, high])),
            _ => Err("give the values of black and white, such as 0..1 or -1..1".into()),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.0[0], self.0[1])
    }
}

/// A share, written as `10%`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(pub f64);

impl Percent {
    /// Where nothing else is said.
    pub const TENTH: Self = Self(10.0);

    /// 0 to 1.
    pub fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self::TENTH
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
        number
            .filter(|percent| (0.0..=50.0).contains(percent))
            .map(Self)
            .ok_or_else(|| "give a share from 0% to 50%, such as 10%".into())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(
            impl TryFrom<String> for $type {
                type Error = String;

                fn try_from(text: String) -> Result<Self, String> {
                    text.parse()
                }
            }

            impl From<$type> for String {
                fn from(value: $type) -> Self {
                    value.to_string()
                }
            }
        )*
    };
}

as_text!(Size, Background, Range, Percent);

/// That pictures have several sizes.
pub(crate) fn other_sizes(path: &Path, sizes: &BTreeMap<[usize; 2], usize>) -> Error {
    let mut by_count: Vec<_> = sizes.iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let most = by_count.iter().take(3).map(|([height, width], count)| format!("{count} of {height}×{width}"));
    let side = suggestion(*by_count[0].0);
    anyhow::anyhow!(
        "{}: pictures of {} sizes ({}{}): give --size {side}, and --resize crop, pad or stretch",
        path.display(),
        sizes.len(),
        most.collect::<Vec<_>>().join(", "),
        if sizes.len() > 3 { ", …" } else { "" }
    )
}

/// A size that a microcontroller can draw.
pub(crate) fn suggestion([height, width]: [usize; 2]) -> Size {
    match height.max(width) {
        0..=64 => Size([height.max(4).next_multiple_of(4), width.max(4).next_multiple_of(4)]),
        _ => Size([32, 32]),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        data: DataArgs,
    }

    #[test]
    fn words_say_what_was_said() {
        for line in [
            "--data a",
            "--data b --csv c.csv --no-classes --size 8x12 --resize pad --grey --background ff8000 --range -1..1 \
             --layout nchw --test 25% --test-seed 7",
            "--data d --colour --resize stretch --size 16",
        ] {
            let parse = |words: Vec<String>| Line::parse_from(std::iter::once("x".to_string()).chain(words)).data;
            let said = parse(line.split_whitespace().map(String::from).collect());
            assert_eq!(parse(said.words()), said, "{line}");
        }
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for text in ["32x48", "4x512"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("28".parse::<Size>(), Ok(Size([28, 28])));
        for text in ["", "0", "3", "32x", "x32", "32x48x3", "-4", "1000", "32.5", "99999999999999999999"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["white", "black", "ff8000"] {
            assert_eq!(text.parse::<Background>().unwrap().to_string(), text);
        }
        for text in ["", "red", "fff", "+12345", "12345é", "#1234567"] {
            assert!(text.parse::<Background>().is_err(), "{text}");
        }
        for text in ["0..16", "-1..1", "1..0"] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0..", "..1", "1..1", "nan..1", "0..inf", "a..b"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
        assert_eq!("12.5%".parse::<Percent>().unwrap().share(), 0.125);
        for text in ["", "10", "0.1", "60%", "-1%", "nan%", "%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
