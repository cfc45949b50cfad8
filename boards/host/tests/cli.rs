//! The program as its users meet it: files, checksums, and what it says about bad words.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use ndarray::{Array1, Array3};
use tempfile::TempDir;

/// Runs `grano` with words, in a folder.
fn grano(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grano"));
    command.current_dir(folder).args(words.split_whitespace()).output().expect("the program starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a request that must succeed prints.
fn text(folder: &Path, words: &str) -> String {
    let output = grano(folder, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The lines of `--crc`, which writes no file.
fn checksums(words: &str) -> Vec<String> {
    let folder = folder();
    let lines = text(folder.path(), &format!("sample --crc --sampler ddim-10 {words}"));
    assert!(files(folder.path()).is_empty());
    lines.lines().map(str::to_owned).collect()
}

/// A refusal: names the flag and what there is, says so once, and writes nothing.
fn refused(words: &str, said: &[&str]) {
    let folder = folder();
    let output = grano(folder.path(), words);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
    assert_eq!(error.matches("error:").count(), 1, "{words}: {error}");
    said.iter().for_each(|said| assert!(error.contains(said), "{words}: {error}"));
    assert!(files(folder.path()).is_empty(), "{words}");
}

#[test]
fn without_words_it_draws_a_sheet_of_all_classes() {
    let folder = folder();
    let said = text(folder.path(), "");
    assert_eq!(files(folder.path()), ["samples.png"]);
    let sheet = image::open(folder.path().join("samples.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * (84 + 2) + 2, 10 * (84 + 2) + 2));
    assert!(matches!(sheet, image::DynamicImage::ImageLuma8(_)));
    for expected in ["80 × fashion", "int8", "dpm-8-searched", "Wrote samples.png", "Try next"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_sheet_shows_the_bytes() {
    let folder = folder();
    for output in ["sheet.png", "bytes.npy"] {
        text(folder.path(), &format!("sample --sampler ddim-10 --count 9 -o {output}"));
    }
    let sheet = image::open(folder.path().join("sheet.png")).unwrap().into_luma8();
    let bytes: Array3<u8> = ndarray_npy::read_npy(folder.path().join("bytes.npy")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (690, 174));
    for ((i, y, x), value) in bytes.indexed_iter() {
        let (left, top) = (2 + 86 * (i % 8) + 3 * x, 2 + 86 * (i / 8) + 3 * y);
        for (dx, dy) in [(0, 0), (2, 2)] {
            assert_eq!(sheet.get_pixel((left + dx) as u32, (top + dy) as u32).0, [*value], "{i} {y} {x}");
        }
    }
}

#[test]
fn npy_files_and_checksums_agree() {
    let folder = folder();
    let words = "sample --crc --sampler ddim-10 --count 7 --seed 5 -o pictures.npy --labels-out labels.npy";
    let lines = text(folder.path(), words);
    assert_eq!(files(folder.path()), ["labels.npy", "pictures.npy"]);
    let pictures: Array3<u8> = ndarray_npy::read_npy(folder.path().join("pictures.npy")).unwrap();
    let labels: Array1<i64> = ndarray_npy::read_npy(folder.path().join("labels.npy")).unwrap();
    assert_eq!(pictures.shape(), [7, 28, 28]);
    assert_eq!(labels.to_vec(), [0, 1, 2, 4, 5, 7, 8]);
    let names = ["t-shirt", "trouser", "pullover", "coat", "sandal", "sneaker", "bag"];
    let crc32 = |i: usize| crc32fast::hash(pictures.index_axis(ndarray::Axis(0), i).as_slice().unwrap());
    let expected: Vec<_> = names.iter().enumerate().map(|(i, name)| format!("{i} {name} {:08x}", crc32(i))).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_picture_depends_on_seed_label_and_index_alone() {
    let ten = checksums("--label bag --count 10 --threads 4");
    assert_eq!(ten, checksums("--label bag --count 10 --threads 1"));
    assert_eq!(ten[..3], checksums("--label bag --count 3"));
    let different: BTreeMap<_, _> = ten.iter().map(|line| (line.rsplit_once(' ').unwrap().1, line)).collect();
    assert_eq!(different.len(), 10);
    for other in ["--seed 1 --label bag", "--label coat", "--label bag --guidance 1.5", "--label bag --guidance -2.5"] {
        assert_ne!(
            checksums(&format!("{other} --count 1"))[0].rsplit_once(' ').unwrap().1,
            ten[0].rsplit_once(' ').unwrap().1
        );
    }
}

#[cfg(feature = "floats")]
#[test]
fn the_fast_network_draws_in_one_two_and_four_evaluations() {
    let folder = folder();
    let drawn = |words: &str| text(folder.path(), &format!("sample --crc --model fashion-fast --count 3 {words}"));
    let [one, two, four] = [1, 2, 4].map(|n| drawn(&format!("--sampler fast-{n}")));
    assert!(one != two && two != four && four == drawn(""), "{one}{two}{four}");
    refused("sample --model fashion-fast --sampler dpm-8-searched", &["fast-4", "fast-2", "fast-1"]);
}

/// That every flag reaches every network; how close they are is measured elsewhere.
#[cfg(feature = "floats")]
#[test]
fn precisions_draw_nearly_the_same() {
    let pictures = |words: &str| -> Array3<i32> {
        let folder = folder();
        text(folder.path(), &format!("sample --sampler ddim-10 --count 4 {words} -o p.npy"));
        ndarray_npy::read_npy::<_, Array3<u8>>(folder.path().join("p.npy")).unwrap().mapv(i32::from)
    };
    let f32 = pictures("--precision f32");
    let distance = |words: &str| (&pictures(words) - &f32).mapv(|d| f64::from(d.abs())).mean().unwrap();
    let (f16, int8) = (distance("--precision f16"), distance("--precision int8"));
    let other = distance("--precision f32 --seed 1");
    assert!(0.0 < f16 && f16 < int8 && int8 < other, "{f16} {int8} {other}");
}

#[test]
fn bad_words_are_refused_by_name() {
    refused("sample --model digits", &["--model digits", "fashion"]);
    refused("sample --label sneakr", &["--label sneakr", "t-shirt", "sneaker", "ankle-boot"]);
    refused("sample --sampler ddim-3", &["--sampler ddim-3", "ddim-20", "ancestral-250"]);
    refused("sample --precision int4", &["--precision int4", "int8"]);
    refused("sample --count 0", &["--count"]);
    refused("sample --count 10001", &["--count 10001", ".npy"]);
    refused("sample --guidance NaN", &["--guidance", "finite"]);
    refused("sample --threads 0", &["--threads"]);
    refused("sample -o x.jpg", &["--output", ".png", ".npy"]);
    refused("sample --labels-out x.png", &["--labels-out", ".npy"]);
    refused("sample -o x.npy --labels-out x.npy", &["-o", "--labels-out"]);
    refused("sample -o missing/x.png", &["missing/x.png"]);
    refused("sample --labels-out missing/x.npy", &["missing/x.npy"]);
    refused("smaple", &["smaple"]);
}

#[test]
fn a_folder_is_no_file() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("x.png")).unwrap();
    let output = grano(folder.path(), "sample -o x.png");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("x.png"));
    assert_eq!(files(folder.path()), ["x.png"]);
}
