//! What a path is, and the files that lie there.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use walkdir::WalkDir;

use super::options::{DataArgs, SIDES, suggestion};
use super::split::{Part, digest};
use super::{Found, Picture, Skipped, after_skipped, classes, decode, listing, table};

/// A file that may be a picture.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// From the data's folder on, with `/`.
    pub name: String,
    /// What it shows.
    pub label: Option<String>,
    /// Where the data say themselves what is held back.
    pub part: Option<Part>,
}

/// Reads what a path leads to.
///
/// # Errors
/// Names what is missing or is nothing that can be read, and what to do.
pub fn find(path: &Path, args: &DataArgs) -> Result<Found> {
    ensure!(path.exists(), "{}: cannot read it: no such file or folder", path.display());
    if let Some(csv) = &args.csv {
        ensure!(path.is_dir(), "{}: --csv goes with a folder of pictures", path.display());
        return folder(path, args, Some(csv));
    }
    if path.is_dir() { folder(path, args, None) } else { file(path, args) }
}

/// What the first bytes of a file say.
enum Head {
    Idx,
    Npy,
    Zip,
    Other(Vec<u8>),
}

/// Looks at the first bytes, inside gzip where there is such.
fn head(path: &Path) -> Result<Head> {
    let unreadable = || format!("{}: cannot read this file", path.display());
    let start = |file: &mut dyn Read| {
        let mut bytes = Vec::new();
        file.take(512).read_to_end(&mut bytes).map(|_| bytes)
    };
    let mut bytes = start(&mut File::open(path).with_context(unreadable)?).with_context(unreadable)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = start(&mut MultiGzDecoder::new(File::open(path)?)).unwrap_or(bytes);
    }
    Ok(match bytes[..] {
        [0, 0, 8..=14, 1..=5, ..] => Head::Idx,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Head::Npy,
        [b'P', b'K', 3 | 5, ..] => Head::Zip,
        _ => Head::Other(bytes),
    })
}

fn file(path: &Path, args: &DataArgs) -> Result<Found> {
    let place = path.display();
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match head(path)? {
        Head::Idx | Head::Npy => listing::of_file(path, args),
        Head::Zip => listing::of_archive(path, args),
        Head::Other(bytes) if bytes.is_empty() => bail!("{place}: an empty file"),
        Head::Other(_) if ["csv", "tsv"].contains(&&*extension) => {
            folder(path.parent().unwrap_or(Path::new("")), args, Some(path))
        }
        Head::Other(bytes) if image::guess_format(&bytes).is_ok() => {
            bail!("{place}: one picture alone; give the folder of all: --data {}", parent(path).display())
        }
        Head::Other(_) => match &*extension {
            "tar" | "tgz" | "gz" | "bz2" | "xz" | "rar" | "7z" | "zst" => {
                bail!("{place}: an archive; unpack it, and give the folder")
            }
            "npy" | "npz" => bail!("{place}: broken: it does not begin as a .{extension} file does"),
            _ => bail!(
                "{place}: no data that is known here; give a folder of pictures, IDX files, or arrays: in Python \
                 np.savez(\"data.npz\", images=…, labels=…), uint8 [N, H, W, C]"
            ),
        },
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Files and folders that systems and programs leave behind.
fn is_hidden(name: &str) -> bool {
    const SYSTEM: [&str; 7] =
        ["__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information"];
    name.starts_with('.') || SYSTEM.iter().any(|system| name.eq_ignore_ascii_case(system))
}

/// All files of a folder and its subfolders, in their natural order, but hidden ones.
fn walk(root: &Path, skipped: &mut Skipped) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let natural = |a: &walkdir::DirEntry, b: &walkdir::DirEntry| {
        let [a, b] = [a, b].map(|entry| entry.file_name().to_string_lossy());
        alphanumeric_sort::compare_str(&a, &b).then_with(|| a.cmp(&b))
    };
    let name = |path: &Path| {
        let parts = path.strip_prefix(root).unwrap_or(path).components();
        parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
    };
    let mut walk = WalkDir::new(root).follow_links(true).sort_by(natural).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                return Err(error).with_context(|| format!("{}: cannot read this folder", root.display()));
            }
            Err(error) => {
                let reason =
                    if error.loop_ancestor().is_some() { "a link to a folder around it" } else { "unreadable" };
                skipped.add(reason, error.path().map(name).unwrap_or_default());
                continue;
            }
        };
        let is_folder = entry.file_type().is_dir();
        if entry.depth() > 0 && is_hidden(&entry.file_name().to_string_lossy()) {
            skipped.add("hidden or of the system", name(entry.path()));
            if is_folder {
                walk.skip_current_dir();
            }
        } else if !is_folder {
            entries.push(Entry { name: name(entry.path()), path: entry.into_path(), label: None, part: None });
        }
    }
    Ok(entries)
}

/// Whether a file's name could be that of an array: others are not opened to find out.
fn may_be_array(name: &str) -> bool {
    let name = name.to_lowercase();
    let last = name.rsplit('/').next().unwrap_or_default();
    name.ends_with(".npy") || name.contains("idx") || name.ends_with("ubyte") || last.ends_with(".gz")
}

fn folder(root: &Path, args: &DataArgs, csv: Option<&Path>) -> Result<Found> {
    let mut skipped = Skipped::default();
    let entries = walk(root, &mut skipped)?;
    let (mut arrays, mut others) = (Vec::new(), Vec::new());
    for entry in entries {
        match may_be_array(&entry.name).then(|| head(&entry.path)).transpose()? {
            Some(Head::Idx | Head::Npy) => arrays.push(entry),
            _ => others.push(entry),
        }
    }
    // Pictures are what begins as one.
    let recognised: Vec<Result<(), String>> = others.par_iter().map(|entry| is_picture(&entry.path)).collect();
    let mut tables = Vec::new();
    let mut files = Vec::new();
    for (entry, recognised) in others.into_iter().zip(recognised) {
        let extension = entry.name.rsplit('.').next().unwrap_or_default().to_lowercase();
        match recognised {
            Ok(()) => files.push(entry),
            Err(_) if ["csv", "tsv"].contains(&&*extension) => tables.push(entry),
            Err(reason) => skipped.add(reason, entry.name),
        }
    }
    if files.is_empty() && !arrays.is_empty() && csv.is_none() {
        return listing::of_folder(root, arrays, skipped, args);
    }
    if files.is_empty() {
        let archives = skipped.0.values().flatten().any(|name| {
            let name = name.to_lowercase();
            [".zip", ".tar", ".tgz", ".gz", ".npz", ".7z", ".rar"].iter().any(|ending| name.ends_with(ending))
        });
        bail!(
            "{}: neither pictures (PNG, JPEG, WebP, BMP, GIF, TIFF) nor IDX files nor arrays are here{}{}",
            root.display(),
            if archives { "; unpack archives, name an .npz itself" } else { "" },
            after_skipped(&skipped)
        );
    }
    arrays.into_iter().for_each(|entry| skipped.add("arrays beside pictures", entry.name));
    let mut notes = Vec::new();
    let table = match csv {
        Some(csv) => Some(csv.to_path_buf()),
        None => table::beside(root, &files, &tables)?,
    };
    let kind = match &table {
        Some(table) => {
            tables.retain(|entry| entry.path != *table);
            files = table::label(table, files, args, &mut skipped, &mut notes)?;
            format!("a folder of pictures, labelled by {}", table.file_name().unwrap_or_default().to_string_lossy())
        }
        None => classes::label(root, &mut files, args, &mut notes)?,
    };
    tables.into_iter().for_each(|entry| skipped.add("no picture", entry.name));
    let pictures = read(root, files, args, &mut skipped)?;
    Ok(Found { kind, pictures, skipped, notes, ordered: false })
}

fn is_picture(path: &Path) -> Result<(), String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    read.map_err(|_| "unreadable".to_string())?;
    decode::recognise(&bytes).map(drop)
}

/// Reads all files, on all cores.
fn read(root: &Path, files: Vec<Entry>, args: &DataArgs, skipped: &mut Skipped) -> Result<Vec<Picture>> {
    if args.size.is_none() {
        check_sizes(root, &files)?;
    }
    let count = files.len();
    let read = |entry: &Entry| -> Result<Picture, String> {
        let bytes = fs::read(&entry.path).map_err(|_| "unreadable".to_string())?;
        let decode::Decoded { pixels, size, found, channels } = decode::decode(&bytes, args)?;
        let Entry { name, label, part, .. } = entry.clone();
        Ok(Picture { source: name, label, part, pixels, size, found, channels, digest: digest(&bytes) })
    };
    let all: Vec<Result<Picture, String>> = files.par_iter().map(read).collect();
    let (mut pictures, mut broken) = (Vec::with_capacity(count), Skipped::default());
    for (entry, picture) in files.into_iter().zip(all) {
        match picture {
            Ok(picture) => pictures.push(picture),
            Err(reason) => broken.add(reason, entry.name),
        }
    }
    let lost = count - pictures.len();
    ensure!(
        lost < 3 || lost * 10 <= count,
        "{}: {lost} of {count} pictures cannot be read: {}; repair or remove them",
        root.display(),
        broken.summary()
    );
    broken.0.into_iter().for_each(|(reason, names)| skipped.0.entry(reason).or_default().extend(names));
    Ok(pictures)
}

/// Checks from the heads of files, before all are read, that they have one size and no chip is too small for it.
fn check_sizes(root: &Path, files: &[Entry]) -> Result<()> {
    let size = |entry: &Entry| decode::size(&fs::read(&entry.path).ok()?);
    let sizes: Vec<Option<[usize; 2]>> = files.par_iter().map(size).collect();
    let mut counts = std::collections::BTreeMap::new();
    sizes.into_iter().flatten().for_each(|size| *counts.entry(size).or_insert(0) += 1);
    if counts.len() > 1 {
        return Err(super::options::other_sizes(root, &counts));
    }
    match counts.first_key_value() {
        Some((&size, _)) => check_side(root, size),
        None => Ok(()),
    }
}

/// Checks that pictures have a size that networks can have.
///
/// # Errors
/// Says what to give otherwise.
pub fn check_side(path: &Path, [height, width]: [usize; 2]) -> Result<()> {
    ensure!(
        SIDES.contains(&height) && SIDES.contains(&width),
        "{}: pictures of {height}×{width}; networks here draw sides of {} to {} pixels: give --size {}",
        path.display(),
        SIDES.start(),
        SIDES.end(),
        suggestion([height, width])
    );
    Ok(())
}
