//! What pictures are called, to numbers of classes.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::Picture;

/// More classes than this are hardly classes.
const MOST_CLASSES: usize = 1000;

/// Classes in numbers.
pub struct Numbered {
    /// Of each picture; 0 where there are none.
    pub classes: Vec<usize>,
    /// What the classes are called from here on.
    pub names: Vec<String>,
    /// What they are called in the data.
    pub found: Vec<String>,
}

/// Numbers the classes in the natural order of what they are called; `names` then replace that.
///
/// # Errors
/// When there are too many classes, or the names do not fit.
pub fn number(
    path: &Path,
    pictures: &[Picture],
    names: Option<&[String]>,
    notes: &mut Vec<String>,
) -> Result<Numbered> {
    let path = path.display();
    let known: Vec<&str> = pictures.iter().filter_map(|picture| picture.label.as_deref()).map(str::trim).collect();
    if known.is_empty() {
        ensure!(names.is_none_or(<[String]>::is_empty), "{path}: no classes, but names of some are given: --labels");
        return Ok(Numbered { classes: vec![0; pictures.len()], names: Vec::new(), found: Vec::new() });
    }
    if known.len() < pictures.len() {
        let without = pictures.iter().find(|picture| picture.label.is_none()).map_or("", |picture| &picture.source);
        bail!(
            "{path}: {} pictures have no class ({without}), others have; label all, or give --no-classes",
            pictures.len() - known.len()
        );
    }
    let distinct: BTreeSet<&str> = known.iter().copied().collect();
    let mut found: Vec<&str> = distinct.into_iter().collect();
    found.sort_by(|a, b| alphanumeric_sort::compare_str(a, b).then(a.cmp(b)));
    ensure!(!found.contains(&""), "{path}: a class without a name; rename it");
    let advice = "are these numbers or names of classes? --no-classes does without";
    ensure!(found.len() <= MOST_CLASSES, "{path}: {} classes, more than {MOST_CLASSES}; {advice}", found.len());
    ensure!(
        found.len() < pictures.len() || found.len() < 20,
        "{path}: every picture is of a class of its own; {advice}"
    );
    let classes =
        known.iter().map(|name| found.iter().position(|other| other == name).unwrap_or_default()).collect::<Vec<_>>();
    let numbers: Option<Vec<i64>> = found.iter().map(|name| name.parse().ok()).collect();
    if let Some(numbers) = numbers
        && !numbers.iter().copied().eq(0..numbers.len() as i64)
    {
        notes.push(format!(
            "labels {} … {} are classes 0 … {}, without gaps",
            numbers[0],
            numbers[numbers.len() - 1],
            numbers.len() - 1
        ));
    }
    let found: Vec<String> = found.into_iter().map(String::from).collect();
    let names = match names {
        None => found.clone(),
        Some(names) => check_names(&path.to_string(), names, &found)?,
    };
    Ok(Numbered { classes, names, found })
}

/// Names of `found` classes, without blanks around them.
///
/// # Errors
/// When one is empty or there twice, or there are not as many.
fn check_names(path: &str, names: &[String], found: &[String]) -> Result<Vec<String>> {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_string()).collect();
    if let Some(i) = names.iter().position(String::is_empty) {
        bail!("--labels: name {} is empty", i + 1);
    }
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        bail!("--labels: {} is there twice", twice.1);
    }
    ensure!(
        names.len() == found.len(),
        "{path}: {} classes ({}), but {} names are given",
        found.len(),
        brief(found),
        names.len()
    );
    Ok(names)
}

/// Some names, and that there are more.
pub fn brief(names: &[String]) -> String {
    let shown = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 10 { shown + ", …" } else { shown }
}
