//! Of which class the pictures of a folder are: the name of the first subfolder that tells them apart.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::discovery::Entry;
use super::options::DataArgs;
use super::split::Part;

/// The part that a folder or an array is of, by its name.
pub fn part(name: &str) -> Option<Part> {
    match &*name.to_lowercase() {
        "train" | "training" | "train_set" | "trainset" => Some(Part::Train),
        "test" | "testing" | "t10k" | "val" | "valid" | "validation" | "dev" | "eval" | "holdout" | "test_set"
        | "testset" => Some(Part::Test),
        _ => None,
    }
}

/// Labels files by their folders; says what kind of folder it is.
///
/// # Errors
/// When some pictures lie in subfolders and others beside them, or two folders have one name.
pub fn label(root: &Path, files: &mut [Entry], args: &DataArgs, notes: &mut Vec<String>) -> Result<String> {
    let mut folders: Vec<Vec<String>> = files
        .iter()
        .map(|file| {
            let mut parts: Vec<String> = file.name.split('/').map(String::from).collect();
            parts.pop();
            parts
        })
        .collect();
    let mut common = Vec::new();
    let mut has_parts = false;
    loop {
        // A folder in which all lie tells nothing apart.
        let first = folders[0].first().cloned();
        if let Some(first) = first.filter(|first| folders.iter().all(|folder| folder.first() == Some(first))) {
            folders.iter_mut().for_each(|folder| drop(folder.remove(0)));
            common.push(first);
            continue;
        }
        let parts: Option<Vec<Part>> = folders.iter().map(|folder| part(folder.first()?)).collect();
        let Some(parts) = parts.filter(|parts| !has_parts && parts.contains(&Part::Train)) else { break };
        has_parts = true;
        for ((folder, file), part) in folders.iter_mut().zip(files.iter_mut()).zip(parts) {
            folder.remove(0);
            file.part = Some(part);
        }
    }
    let parts = if has_parts { ", with a test set" } else { "" };
    if args.no_classes {
        return Ok(format!("a folder of pictures, taken as of no class{parts}"));
    }
    let beside = files.iter().zip(&folders).filter(|(_, folder)| folder.is_empty()).map(|(file, _)| &file.name);
    let beside: Vec<&String> = beside.collect();
    if let [first, ..] = beside[..] {
        let inside = folders.iter().find(|folder| !folder.is_empty()).map(|folder| &folder[0]);
        if let Some(inside) = inside {
            bail!(
                "{}: {} pictures, such as {first}, lie beside folders, such as {inside}; move them to the folder of their \
                 class, or give --no-classes",
                root.display(),
                beside.len()
            );
        }
        if let Some(alone) = common.last() {
            notes.push(format!("all pictures lie in `{alone}`: they have no classes"));
        }
        return Ok(format!("a folder of pictures without classes{parts}"));
    }
    let mut by_name: BTreeMap<&str, &str> = BTreeMap::new();
    for folder in &folders {
        let (name, folder) = (folder[0].trim(), folder[0].as_str());
        let other = by_name.insert(name, folder).unwrap_or(folder);
        ensure!(other == folder, "{}: two folders are called `{name}`, but for blanks; rename one", root.display());
    }
    let mut lower: Vec<String> = by_name.keys().map(|name| name.to_lowercase()).collect();
    lower.sort();
    if let Some(pair) = lower.windows(2).find(|pair| pair[0] == pair[1]) {
        notes.push(format!("two classes are called `{}`, but for capitals", pair[0]));
    }
    let deeper = folders.iter().filter(|folder| folder.len() > 1).count();
    if deeper > 0 {
        notes.push(format!(
            "{deeper} pictures lie deeper than a class's folder; they are of the class of the outermost"
        ));
    }
    for (file, folder) in files.iter_mut().zip(folders) {
        file.label = folder.into_iter().next();
    }
    Ok(format!("a folder of classes{parts}"))
}
