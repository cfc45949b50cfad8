//! A CSV that says of which class each file is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::classes::part;
use super::discovery::Entry;
use super::options::DataArgs;
use super::split::Part;
use super::{Skipped, labels};

/// Names that people give the column of files.
const FILES: [&str; 15] = [
    "file",
    "files",
    "filename",
    "file_name",
    "path",
    "filepath",
    "file_path",
    "image",
    "images",
    "image_name",
    "image_id",
    "image_path",
    "img",
    "id",
    "name",
];
/// Names of the column of classes.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "category",
    "target",
    "y",
    "breed",
    "species",
    "tag",
    "label_name",
];
/// Names of the column that says what is held back.
const PARTS: [&str; 5] = ["split", "subset", "part", "set", "usage"];

/// The CSV that labels a folder's pictures where no folders do: `labels.csv`, or the only one beside them.
///
/// # Errors
/// When there are several.
pub fn beside(root: &Path, files: &[Entry], tables: &[Entry]) -> Result<Option<PathBuf>> {
    let folder = |entry: &Entry| entry.name.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
    let first = folder(&files[0]);
    if files.iter().any(|file| folder(file) != first) {
        return Ok(None);
    }
    let near: Vec<&Entry> = tables.iter().filter(|table| folder(table).is_empty() || folder(table) == first).collect();
    let named = near.iter().find(|table| matches!(table.name.rsplit('/').next(), Some("labels.csv" | "metadata.csv")));
    match (named, &near[..]) {
        (Some(table), _) | (None, [table]) => Ok(Some(table.path.clone())),
        (None, []) => Ok(None),
        (None, [one, ..]) => {
            bail!("{}: {} CSV files, such as {}; name one with --csv", root.display(), near.len(), one.name)
        }
    }
}

/// The files of a folder that a CSV names, with their labels.
///
/// # Errors
/// Names the CSV and what is wrong with it.
pub fn label(
    csv: &Path,
    files: Vec<Entry>,
    args: &DataArgs,
    skipped: &mut Skipped,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let place = csv.display();
    let rows = rows(csv)?;
    let columns = columns(csv, &rows)?;
    // A file is known by its path, its name, and its name without ending, as far as no other has the same.
    let mut known: HashMap<&str, Option<usize>> = HashMap::new();
    for (i, file) in files.iter().enumerate() {
        let last = file.name.rsplit('/').next().unwrap_or_default();
        let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
        let mut keys = vec![file.name.as_str(), last, stem];
        keys.dedup();
        for key in keys {
            known.entry(key).and_modify(|other| *other = other.filter(|other| *other == i)).or_insert(Some(i));
        }
    }
    let find = |name: &str| {
        let name = name.trim().replace('\\', "/");
        let name = name.trim_start_matches("./");
        let last = name.rsplit('/').next().unwrap_or_default();
        known.get(name).or_else(|| known.get(last)).copied().flatten()
    };
    let mut labels: Vec<Option<(String, Option<Part>)>> = vec![None; files.len()];
    let (mut missing, mut unlabelled) = (Vec::new(), 0);
    let body = &rows[usize::from(columns.header)..];
    for (number, row) in body.iter().enumerate() {
        let cell = |column: usize| row.get(column).map_or("", |cell| cell.trim());
        let (name, label) = (cell(columns.file), cell(columns.label));
        let Some(i) = find(name) else {
            missing.push(name.to_string());
            continue;
        };
        if label.is_empty() {
            unlabelled += 1;
            continue;
        }
        let of = (label.to_string(), columns.part.and_then(|column| part(cell(column))));
        match &labels[i] {
            Some((before, _)) if before != label => {
                bail!("{place}: row {}: {name} is `{label}` here, `{before}` before", number + 1)
            }
            _ => labels[i] = Some(of),
        }
    }
    // A first row that names no file is a header that is not known.
    if !columns.header
        && missing.first().map(String::as_str) == body.first().and_then(|row| row.get(columns.file))
        && missing.len() == 1
    {
        missing.clear();
    }
    ensure!(
        labels.iter().any(Option::is_some),
        "{place}: names no picture of the folder: the first is `{}`, but the folder has {}",
        missing.first().map_or("", String::as_str),
        labels::brief(&files.iter().take(3).map(|file| file.name.clone()).collect::<Vec<_>>())
    );
    if let [first, ..] = &missing[..] {
        notes.push(format!("{} rows of {place} name no picture, such as `{first}`", missing.len()));
    }
    if unlabelled > 0 {
        notes.push(format!("{unlabelled} rows of {place} have no label"));
    }
    let has_parts = labels.iter().flatten().any(|(_, part)| *part == Some(Part::Train));
    let mut labelled = Vec::new();
    for (mut file, label) in files.into_iter().zip(labels) {
        let Some((label, part)) = label else {
            skipped.add("without a label in the CSV", file.name);
            continue;
        };
        file.label = (!args.no_classes).then_some(label);
        file.part = part.filter(|_| has_parts);
        labelled.push(file);
    }
    Ok(labelled)
}

fn rows(csv: &Path) -> Result<Vec<csv::StringRecord>> {
    let bytes = std::fs::read(csv).with_context(|| format!("{}: cannot read this file", csv.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let delimiter =
        [b',', b';', b'\t'].into_iter().max_by_key(|&delimiter| first.bytes().filter(|&b| b == delimiter).count());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter.unwrap_or(b','))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let rows = reader.records().collect::<Result<Vec<_>, _>>().with_context(|| format!("{}: broken", csv.display()))?;
    ensure!(!rows.is_empty(), "{}: an empty file", csv.display());
    Ok(rows)
}

/// Which columns say what.
struct Columns {
    file: usize,
    label: usize,
    part: Option<usize>,
    header: bool,
}

fn columns(csv: &Path, rows: &[csv::StringRecord]) -> Result<Columns> {
    let names: Vec<String> = rows[0].iter().map(str::to_lowercase).collect();
    let column = |known: &[&str]| names.iter().position(|name| known.contains(&&**name));
    match (column(&FILES), column(&LABELS)) {
        (Some(file), Some(label)) => Ok(Columns { file, label, part: column(&PARTS), header: true }),
        _ if names.len() == 2 => Ok(Columns { file: 0, label: 1, part: None, header: false }),
        _ if names.len() > 60 => bail!(
            "{}: {} columns: pixels, it seems; in Python, np.savez(\"data.npz\", images=pixels.reshape(-1, H, W), labels=labels)",
            csv.display(),
            names.len()
        ),
        _ => bail!(
            "{}: columns {}; which are file and label? Name them `file` and `label` in the first row",
            csv.display(),
            labels::brief(&names)
        ),
    }
}
