//! Arrays with their labels: which of the arrays of a folder or an archive belong together.
//!
//! Names say it, as far as words for pictures, labels and parts of data sets are left out: `x_train.npy`, `y_train.npy`
//! and `x_test.npy` are one data set, as are `emnist-letters-train-images-idx3-ubyte` and its companions; the files of
//! `emnist-digits-…` are another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;

use super::arrays::{self, Head, Values};
use super::classes::part;
use super::decode::{self, Decoded};
use super::discovery::{Entry, check_side};
use super::options::{DataArgs, Layout};
use super::split::{Part, digest};
use super::{Found, Picture, Skipped, labels, scale};

/// An array that has not been read.
struct Listed {
    /// Without folders.
    name: String,
    head: Head,
    place: Place,
}

/// Where an array is.
enum Place {
    /// A file, gzipped or not.
    File(PathBuf),
    /// In an archive, by its name there.
    Archive(PathBuf, String),
}

impl Listed {
    /// What an array is called, without words that say what it is for.
    fn group(&self) -> String {
        let for_what = [
            "images", "image", "imgs", "img", "pictures", "picture", "samples", "labels", "label", "lbls", "x", "y",
            "data", "target", "targets", "idx3", "idx1", "idx4", "idx2", "ubyte", "gz", "npy", "arr", "0", "1",
        ];
        words(&self.name)
            .filter(|word| !for_what.contains(&&**word) && part(word).is_none())
            .collect::<Vec<_>>()
            .join("-")
    }

    fn part(&self) -> Option<Part> {
        words(&self.name).find_map(|word| part(&word))
    }

    fn is_pictures(&self) -> bool {
        self.head.shape.len() > 2
    }

    fn is_labels(&self) -> bool {
        matches!(self.head.shape[..], [_] | [_, 1])
    }

    fn read(&self) -> Result<Vec<u8>> {
        read(&self.place, usize::MAX).with_context(|| self.path())
    }

    fn path(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Archive(path, name) => format!("{}: {name}", path.display()),
        }
    }
}

/// A name's words, in small letters.
fn words(name: &str) -> impl Iterator<Item = String> {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().into_iter()
}

/// The first `most` bytes of an array's file, or all.
fn read(place: &Place, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match place {
        Place::File(path) => {
            let mut file = File::open(path)?;
            let mut magic = Vec::new();
            (&mut file).take(2).read_to_end(&mut magic)?;
            let whole = magic.as_slice().chain(file);
            if magic == [0x1f, 0x8b] {
                let read = MultiGzDecoder::new(whole).take(most as u64).read_to_end(&mut bytes);
                read.context("broken file: its gzip ends too early or does not fit its checksum")?;
            } else {
                whole.take(most as u64).read_to_end(&mut bytes)?;
            }
        }
        Place::Archive(path, name) => {
            let mut archive = zip::ZipArchive::new(File::open(path)?)?;
            archive.by_name(name)?.take(most as u64).read_to_end(&mut bytes).context("broken archive")?;
        }
    }
    Ok(bytes)
}

/// Bytes of a head, at most.
const HEAD: usize = 4096;

fn listed(name: &str, place: Place) -> Result<Listed> {
    let name = name.rsplit('/').next().unwrap_or_default().to_string();
    let mut listed = Listed { name, head: Head::default(), place };
    let head = read(&listed.place, HEAD).and_then(|bytes| arrays::head(&bytes));
    listed.head = head.with_context(|| listed.path())?;
    Ok(listed)
}

/// A folder of arrays.
///
/// # Errors
/// As [`find`].
pub fn of_folder(root: &Path, mut entries: Vec<Entry>, mut skipped: Skipped, args: &DataArgs) -> Result<Found> {
    let names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    entries.retain(|entry| {
        let copy = entry.name.strip_suffix(".gz").is_some_and(|plain| names.contains(plain));
        if copy {
            skipped.add("an archive whose contents lie beside it", &entry.name);
        }
        !copy
    });
    let arrays = entries.into_iter().map(|entry| listed(&entry.name, Place::File(entry.path)));
    find(root, "a folder of arrays", arrays.collect::<Result<_>>()?, None, skipped, args)
}

/// An array, and those beside it that belong to it.
///
/// # Errors
/// As [`find`].
pub fn of_file(path: &Path, args: &DataArgs) -> Result<Found> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = listed(&name, Place::File(path.to_path_buf()))?;
    ensure!(
        own.is_pictures() || !own.is_labels(),
        "{}: shape {:?}: labels, it seems; give the array of pictures",
        path.display(),
        own.head.shape
    );
    let group = own.group();
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        beside.filter(|other| other.is_file() && other.file_name() != path.file_name()).collect();
    paths.sort();
    let mut arrays = Vec::new();
    for other in paths {
        let name = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.ends_with(".npy") || name.contains("idx") || name.contains("ubyte")) {
            continue;
        }
        let candidate = Listed { name, head: Head::default(), place: Place::File(other.clone()) };
        let test_set = candidate.part().is_some() && own.part().is_some();
        let Some(other) = (candidate.group() == group || candidate.group().is_empty()).then_some(candidate) else {
            continue;
        };
        let other = listed(&other.name.clone(), other.place)?;
        // Pictures beside it are its test set, or not of it.
        if other.is_labels() || other.is_pictures() && test_set && other.part() != own.part() && other.group() == group
        {
            arrays.push(other);
        }
    }
    arrays.insert(0, own);
    find(path, "an array", arrays, Some(&group), Skipped::default(), args)
}

/// An archive of arrays, `.npz`.
///
/// # Errors
/// As [`find`]; when the archive holds none.
pub fn of_archive(path: &Path, args: &DataArgs) -> Result<Found> {
    let broken = || format!("{}: broken archive", path.display());
    let archive = File::open(path).map_err(Into::into).and_then(zip::ZipArchive::new).with_context(broken)?;
    let (names, others): (Vec<&str>, Vec<&str>) = archive.file_names().partition(|name| name.ends_with(".npy"));
    let others: Vec<&str> = others.into_iter().filter(|name| !name.ends_with('/')).collect();
    ensure!(
        !names.is_empty(),
        "{}: an archive of other files ({}); unpack it, and give the folder",
        path.display(),
        others.first().unwrap_or(&"none")
    );
    let mut names: Vec<String> = names.into_iter().map(String::from).collect();
    names.sort();
    let arrays = names.iter().map(|name| listed(name, Place::Archive(path.to_path_buf(), name.clone())));
    find(path, "an archive of arrays", arrays.collect::<Result<_>>()?, None, Skipped::default(), args)
}

/// Reads the arrays of pictures and their labels.
///
/// # Errors
/// When there are none or several, or shapes do not fit; names the arrays.
fn find(
    path: &Path,
    kind: &str,
    all: Vec<Listed>,
    group: Option<&str>,
    skipped: Skipped,
    args: &DataArgs,
) -> Result<Found> {
    let place = path.display();
    let mut groups: BTreeMap<String, Vec<&Listed>> = BTreeMap::new();
    all.iter().for_each(|array| groups.entry(array.group()).or_default().push(array));
    let with_pictures: Vec<&String> = groups
        .iter()
        .filter(|(_, arrays)| arrays.iter().any(|array| array.is_pictures()))
        .map(|(name, _)| name)
        .collect();
    let group = match (group, &with_pictures[..]) {
        (Some(group), _) => group.to_string(),
        (None, [one]) => (*one).clone(),
        (None, []) => return Err(no_pictures(path, &all)),
        (None, several) if several.len() > 20 => bail!(
            "{place}: {} arrays; if each is a picture, make one of them: np.save(\"all.npy\", np.stack(pictures))",
            several.len()
        ),
        (None, several) => {
            let one = groups[several[0]].iter().find(|array| array.is_pictures()).map(|array| array.path());
            let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
            bail!(
                "{place}: several data sets: {}; give the file of one alone, such as {}",
                labels::brief(&names),
                one.unwrap_or_default()
            )
        }
    };
    let own = &groups[&group];
    if !own.iter().any(|array| array.is_pictures()) {
        return Err(no_pictures(path, &all));
    }
    let unnamed = groups.get("").filter(|_| !group.is_empty()).into_iter().flatten().copied();
    let labels: Vec<&Listed> = own.iter().copied().chain(unnamed).filter(|array| array.is_labels()).collect();
    let (mut pictures, mut notes, mut labelled) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen: Vec<&Listed> = Vec::new();
    // Names alone decide which is which only where there are parts.
    let has_train = own.iter().any(|array| array.is_pictures() && array.part() != Some(Part::Test));
    for array in own.iter().copied().filter(|array| array.is_pictures()) {
        let same = |other: &&Listed| other.part() == array.part() && array.part() != Some(Part::Test);
        if let Some(other) = seen.iter().copied().find(same) {
            bail!("{place}: two arrays of pictures, {} and {}; give one alone", other.name, array.name);
        }
        seen.push(array);
        let label = labels_of(array, &labels)?;
        labelled.push(label.is_some());
        let part = array.part().filter(|_| has_train && own.iter().filter(|array| array.is_pictures()).count() > 1);
        pictures.extend(read_pictures(array, label.filter(|_| !args.no_classes), part, args)?);
    }
    ensure!(
        labelled.iter().all(|&known| known == labelled[0]) || args.no_classes,
        "{place}: labels for some of {} but not for all; add them, or give --no-classes",
        labels::brief(&seen.iter().map(|array| array.name.clone()).collect::<Vec<_>>())
    );
    if !labelled[0] {
        notes.push("no labels were found beside the pictures: they have no classes".into());
    }
    let names: Vec<String> = seen.iter().map(|array| array.name.clone()).collect();
    Ok(Found { kind: format!("{kind} ({})", labels::brief(&names)), pictures, skipped, notes, ordered: true })
}

fn no_pictures(path: &Path, all: &[Listed]) -> anyhow::Error {
    let shapes: Vec<String> = all.iter().map(|array| format!("{} {:?}", array.name, array.head.shape)).collect();
    let flat = all.iter().find_map(|array| match array.head.shape[..] {
        [_, n] if n > 15 => Some(n),
        _ => None,
    });
    let side = flat.map(|n| (n as f64).sqrt() as usize).filter(|side| flat == Some(side * side));
    let advice = match side {
        Some(side) => format!("; 2 axes: make it pictures, array.reshape(-1, {side}, {side})"),
        None => String::new(),
    };
    anyhow::anyhow!(
        "{}: no array of pictures, [N, H, W] or [N, H, W, C], but {}{advice}",
        path.display(),
        labels::brief(&shapes)
    )
}

/// The labels of an array of pictures, where there are any.
fn labels_of<'a>(pictures: &Listed, labels: &[&'a Listed]) -> Result<Option<&'a Listed>> {
    let part = |array: &Listed| words(&array.name).find(|word| part(word).is_some());
    let same: Vec<&Listed> = labels.iter().copied().filter(|array| part(array) == part(pictures)).collect();
    let sure: Vec<&Listed> = same
        .iter()
        .copied()
        .filter(|array| {
            words(&array.name).any(|word| ["labels", "label", "lbls", "y", "target", "targets"].contains(&&*word))
        })
        .collect();
    let n = pictures.head.shape[0];
    let fitting: Vec<&Listed> = same.iter().copied().filter(|array| array.head.shape[0] == n).collect();
    let chosen = match (&sure[..], &fitting[..]) {
        ([one], _) | ([], [one]) => *one,
        ([], _) => return Ok(None),
        ([one, other, ..], _) => {
            bail!("{}: two arrays of labels, {} and {}; remove one", pictures.path(), one.name, other.name)
        }
    };
    ensure!(
        chosen.head.shape[0] == n,
        "{}: {n} pictures, but {} has {} labels, shape {:?}",
        pictures.path(),
        chosen.path(),
        chosen.head.shape[0],
        chosen.head.shape
    );
    Ok(Some(chosen))
}

/// `[N, height, width, channels]` of a shape, and whether channels stand before height.
fn axes(name: &str, shape: &[usize], layout: Option<Layout>) -> Result<([usize; 4], bool)> {
    let is_colour = |n: usize| matches!(n, 1 | 3 | 4);
    match *shape {
        [h, w, c] if is_colour(c) && h > 4 && w > 4 => {
            bail!("{name}: shape [{h}, {w}, {c}] is one picture; give all of them, [N, H, W] or [N, H, W, C]")
        }
        [n, h, w] => Ok(([n, h, w, 1], false)),
        [n, a, b, c] => match (layout, is_colour(a), is_colour(c)) {
            (Some(Layout::Nhwc), _, true) | (None, false, true) => Ok(([n, a, b, c], false)),
            (Some(Layout::Nchw), true, _) | (None, true, false) => Ok(([n, b, c, a], true)),
            (None, true, true) => bail!(
                "{name}: shape {shape:?}: channels could stand second or last; give --layout nchw or --layout nhwc"
            ),
            (layout, ..) => {
                let channels = if layout == Some(Layout::Nchw) { a } else { c };
                bail!(
                    "{name}: shape {shape:?}: {channels} channels; pictures have 1, 3 or 4, [N, H, W, C] or [N, C, H, W]"
                )
            }
        },
        _ => bail!("{name}: {} axes; pictures are [N, H, W], [N, H, W, C] or [N, C, H, W]", shape.len()),
    }
}

fn read_pictures(array: &Listed, labels: Option<&Listed>, part: Option<Part>, args: &DataArgs) -> Result<Vec<Picture>> {
    let name = array.path();
    let ([n, height, width, channels], channels_first) = axes(&name, &array.head.shape, args.layout)?;
    ensure!(n > 0, "{name}: no pictures in it");
    ensure!(height > 0 && width > 0, "{name}: shape {:?} has no pixels", array.head.shape);
    if args.size.is_none() {
        check_side(Path::new(&name), [height, width])?;
    }
    let labels = labels.map(|labels| {
        let values = arrays::labels(&labels.read()?).with_context(|| labels.path())?;
        ensure!(values.len() == n, "{}: {} labels for {n} pictures", labels.path(), values.len());
        Ok(values)
    });
    let labels = labels.transpose()?;
    let bytes = match (arrays::values(&array.read()?).with_context(|| name.clone())?, args.range) {
        (Values::Bytes(bytes), None) => bytes,
        (Values::Bytes(bytes), Some(range)) => {
            bytes.into_iter().map(|value| scale::byte(value.into(), range)).collect()
        }
        (Values::Numbers(values, kind), given) => {
            let range = scale::range(&name, &values, kind, given)?;
            values.into_iter().map(|value| scale::byte(value.into(), range)).collect()
        }
    };
    let pixels = height * width;
    let picture = |(i, own): (usize, &[u8])| {
        let digest = digest(own);
        let last = match channels_first {
            false => own.to_vec(),
            true => (0..pixels).flat_map(|at| (0..channels).map(move |c| own[c * pixels + at])).collect(),
        };
        let Decoded { pixels, size, found, channels } = decode::from_array(last, [height, width, channels], args);
        let label = labels.as_ref().map(|labels| labels[i].to_string());
        Picture { source: format!("{} {i}", array.name), label, part, pixels, size, found, channels, digest }
    };
    Ok(bytes.chunks_exact(pixels * channels).enumerate().map(picture).collect())
}
