//! Pictures with labels, from whatever people have: folders, IDX files, arrays, a CSV of labels.
//!
//! [`discovery`] finds out what a path is and lists what lies there; [`classes`] and [`table`] say of which class each
//! picture of a folder is, [`decode`] reads it; [`listing`] pairs arrays with their labels, which [`arrays`] read;
//! [`scale`] brings values to bytes, [`resize`] pictures to one size; [`labels`] numbers the classes, and [`split`] holds
//! pictures back. [`options`] are the arguments of all that.

mod arrays;
mod classes;
mod decode;
mod discovery;
mod labels;
mod listing;
pub mod options;
mod resize;
mod scale;
mod split;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

pub use options::DataArgs;
pub use split::Part;

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `[height, width, channels]` of every picture.
    pub shape: [usize; 3],
    /// The classes' names, in the order of their numbers; none where pictures have no classes.
    pub names: Vec<String>,
    /// To learn from.
    pub train: Set,
    /// Held back: no training sees these.
    pub test: Set,
    /// What was found and done.
    pub report: Report,
}

/// Pictures of one size.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// `[N, height, width, channels]`.
    pub pixels: Vec<u8>,
    /// The class of each picture; 0 where there are none.
    pub labels: Vec<i64>,
}

/// What was found and done, for people.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the path was.
    pub kind: String,
    /// What the classes are called in the data, in the order of their numbers.
    pub classes: Vec<String>,
    /// How many pictures have each `[height, width]`, before they were resized.
    pub sizes: BTreeMap<[usize; 2], usize>,
    /// Why files were left out, and which.
    pub skipped: BTreeMap<String, Vec<String>>,
    /// Least, mean and largest byte.
    pub values: [f64; 3],
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// A picture on its way.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// Its file, or the array and its place there.
    pub source: String,
    /// What it is called in the data.
    pub label: Option<String>,
    /// Where the data says itself what is held back.
    pub part: Option<Part>,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
    /// Height and width.
    pub size: [usize; 2],
    /// Height and width as they were found.
    pub found: [usize; 2],
    /// 1 or 3.
    pub channels: usize,
    /// Of its contents, before anything was done to them.
    pub digest: u64,
}

/// The pictures that a path leads to.
pub(crate) struct Found {
    pub kind: String,
    pub pictures: Vec<Picture>,
    pub skipped: Skipped,
    pub notes: Vec<String>,
    /// Whether the order in which they come is worth keeping for those that are held back.
    pub ordered: bool,
}

/// Reasons, and the files that were left out for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skipped(pub BTreeMap<String, Vec<String>>);

impl Skipped {
    /// Notes a file.
    pub fn add(&mut self, reason: impl Into<String>, name: impl Into<String>) {
        self.0.entry(reason.into()).or_default().push(name.into());
    }

    /// In one line, at most.
    pub fn summary(&self) -> String {
        let parts = self.0.iter().map(|(reason, names)| match &names[..] {
            [name] => format!("{reason} ({name})"),
            [name, ..] => format!("{} {reason} ({name}, …)", names.len()),
            [] => String::new(),
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

/// Largest number of bytes of all pictures together.
const MOST_BYTES: usize = 16 << 30;

/// Reads a data set.
///
/// # Errors
/// Names the folder or file that is missing, empty, broken, or not what the arguments say, and what to do.
pub fn load(args: &DataArgs, names: Option<&[String]>) -> Result<Loaded> {
    let path = args.data.as_path();
    let Found { kind, mut pictures, skipped, mut notes, ordered } = discovery::find(path, args)?;
    ensure!(!pictures.is_empty(), "{}: no pictures in it{}", path.display(), after_skipped(&skipped));
    let mut sizes = BTreeMap::new();
    for picture in &pictures {
        *sizes.entry(picture.found).or_insert(0) += 1;
    }
    one_form(path, args, &mut pictures, &sizes, &mut notes)?;
    let values = scale::check(path, args, &pictures, &mut notes)?;
    let shape = [pictures[0].size[0], pictures[0].size[1], pictures[0].channels];
    let bytes = shape.iter().product::<usize>().saturating_mul(pictures.len());
    ensure!(bytes <= MOST_BYTES, "{}: {} GB of pixels; give a smaller --size", path.display(), bytes >> 30);
    let numbered = labels::number(path, &pictures, names, &mut notes)?;
    let held = split::hold_back(path, args, &pictures, &numbered.classes, ordered)?;
    let gather = |chosen: &[usize]| Set {
        pixels: chosen.iter().flat_map(|&i| pictures[i].pixels.iter().copied()).collect(),
        labels: chosen.iter().map(|&i| numbered.classes[i] as i64).collect(),
    };
    let (train, test) = (gather(&held.train), gather(&held.test));
    notes.extend(held.note);
    let report = Report { kind, classes: numbered.found, sizes, skipped: skipped.0, values, notes };
    Ok(Loaded { shape, names: numbered.names, train, test, report })
}

/// What was left out, as the end of an error.
pub(crate) fn after_skipped(skipped: &Skipped) -> String {
    if skipped.0.is_empty() { String::new() } else { format!("; left out: {}", skipped.summary()) }
}

/// Brings all pictures to the same number of channels, and sees that they have one size.
fn one_form(
    path: &Path,
    args: &DataArgs,
    pictures: &mut [Picture],
    sizes: &BTreeMap<[usize; 2], usize>,
    notes: &mut Vec<String>,
) -> Result<()> {
    if args.size.is_none() && sizes.len() > 1 {
        return Err(options::other_sizes(path, sizes));
    }
    let coloured = pictures.iter().filter(|picture| picture.channels == 3).count();
    if coloured > 0 && coloured < pictures.len() {
        notes.push(format!(
            "{coloured} of {} pictures have colour: all are taken as colour; --grey takes all as grey",
            pictures.len()
        ));
        for picture in pictures.iter_mut().filter(|picture| picture.channels == 1) {
            picture.pixels = picture.pixels.iter().flat_map(|&value| [value; 3]).collect();
            picture.channels = 3;
        }
    }
    let grey = |picture: &Picture| picture.pixels.chunks_exact(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]);
    if coloured > 0 && !args.colour && pictures.iter().all(grey) {
        notes.push("no picture has colour, though files say so: --grey makes the network smaller".into());
    }
    Ok(())
}

impl Loaded {
    /// Pictures of both parts.
    pub fn count(&self) -> usize {
        self.train.labels.len() + self.test.labels.len()
    }

    /// How many pictures of each class both parts have.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for &label in self.train.labels.iter().chain(&self.test.labels) {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}
