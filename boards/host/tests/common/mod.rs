//! Runs the program in a folder of its own.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A model of the repository.
pub fn model(name: &str) -> String {
    format!("{}/../../models/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `grano` with words, in a folder.
pub fn grano(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grano"));
    command.current_dir(folder).args(words.split_whitespace()).output().expect("the program starts")
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a request that must succeed prints.
pub fn text(folder: &Path, words: &str) -> String {
    let output = grano(folder, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A refusal in a folder: names the flag and what there is, says so once, and writes nothing.
pub fn refused_in(folder: &Path, words: &str, said: &[&str]) {
    let before = files(folder);
    let output = grano(folder, words);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
    assert_eq!(error.matches("error:").count(), 1, "{words}: {error}");
    said.iter().for_each(|said| assert!(error.contains(said), "{words}: {error}"));
    assert_eq!(files(folder), before, "{words}");
}
