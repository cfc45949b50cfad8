//! Data that cannot be read: one error that names the file, and nothing written.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{array_file, fail, idx, idx_folder, image_folder, pictures, succeed, train};

/// Trains on what `make` leaves in an empty folder; the error must hold all of `words`.
#[track_caller]
fn refused(make: impl FnOnce(&Path) -> PathBuf, words: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (make(root.path()), root.path().join("run"));
    let error = fail(&train(&data, &run, &["--steps=2"]));
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
    assert!(error.contains(root.path().to_str().unwrap()), "no path in: {error}");
    assert!(!run.exists(), "something was written");
}

fn save(path: &Path, [width, height]: [u32; 2], colour: image::ExtendedColorType) {
    let bytes = vec![7; (width * height * u32::from(colour.bits_per_pixel()) / 8) as usize];
    image::save_buffer(path, &bytes, width, height, colour).unwrap();
}

#[test]
fn missing_and_empty_folders() {
    refused(|root| root.join("nothing"), &["nothing", "cannot read"]);
    refused(|root| root.to_path_buf(), &["IDX", "subfolder"]);
    refused(|root| root.join("nothing.npy"), &["nothing.npy"]);
}

#[test]
fn folders_of_images() {
    let class_without_images = |root: &Path| {
        let folder = image_folder(root);
        fs::create_dir(folder.join("dog")).unwrap();
        fs::write(folder.join("dog/notes.txt"), "none yet").unwrap();
        folder
    };
    refused(class_without_images, &["dog", "no PNG or JPEG"]);
    let broken_image = |root: &Path| {
        let folder = image_folder(root);
        let bytes = fs::read(folder.join("ant/0.png")).unwrap();
        fs::write(folder.join("ant/0.png"), &bytes[..bytes.len() / 2]).unwrap();
        folder
    };
    refused(broken_image, &["0.png", "broken image"]);
    let other_size = |root: &Path| {
        let folder = image_folder(root);
        save(&folder.join("bee/z.png"), [8, 8], image::ExtendedColorType::Rgb8);
        folder
    };
    refused(other_size, &["z.png", "3×8×8", "[3, 8, 12]"]);
    let grey_among_colour = |root: &Path| {
        let folder = image_folder(root);
        save(&folder.join("bee/z.png"), [12, 8], image::ExtendedColorType::L8);
        folder
    };
    refused(grey_among_colour, &["z.png", "1×8×12"]);
    let awkward_size = |root: &Path| {
        let folder = root.join("images");
        fs::create_dir_all(folder.join("one")).unwrap();
        save(&folder.join("one/a.png"), [10, 8], image::ExtendedColorType::L8);
        folder
    };
    refused(awkward_size, &["8×10", "multiples of 4"]);
}

#[test]
fn idx_files() {
    let truncated = |root: &Path| {
        let folder = idx_folder(root);
        let path = folder.join("train-images-idx3-ubyte");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        folder
    };
    refused(truncated, &["train-images-idx3-ubyte", "6911 bytes"]);
    let cut_in_the_header = |root: &Path| {
        let folder = idx_folder(root);
        fs::write(folder.join("train-labels-idx1-ubyte"), [0, 0, 8]).unwrap();
        folder
    };
    refused(cut_in_the_header, &["train-labels-idx1-ubyte", "not an IDX file"]);
    let truncated_archive = |root: &Path| {
        let folder = idx_folder(root);
        let path = folder.join("train-labels-idx1-ubyte");
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut archive, &fs::read(&path).unwrap()).unwrap();
        let bytes = archive.finish().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(path.with_extension("gz"), &bytes[..bytes.len() - 6]).unwrap();
        folder
    };
    refused(truncated_archive, &["train-labels-idx1-ubyte.gz", "broken file"]);
    let fewer_labels = |root: &Path| {
        let folder = idx_folder(root);
        idx(&folder.join("train-labels-idx1-ubyte"), &[47], &[0; 47]);
        folder
    };
    refused(fewer_labels, &["48 pictures", "47 labels"]);
    let no_labels = |root: &Path| {
        let folder = idx_folder(root);
        fs::remove_file(folder.join("train-labels-idx1-ubyte")).unwrap();
        folder
    };
    refused(no_labels, &["`train-labels-idx1-ubyte` is missing"]);
    let no_pictures = |root: &Path| {
        let folder = idx_folder(root);
        idx(&folder.join("train-images-idx3-ubyte"), &[0, 12, 12], &[]);
        idx(&folder.join("train-labels-idx1-ubyte"), &[0], &[]);
        folder
    };
    refused(no_pictures, &["no pictures"]);
}

#[test]
fn arrays() {
    let floats = |root: &Path| {
        let path = root.join("floats.npy");
        ndarray_npy::write_npy(&path, &ndarray::Array3::<f32>::zeros((4, 8, 8))).unwrap();
        path
    };
    refused(floats, &["floats.npy", "u8"]);
    let truncated = |root: &Path| {
        let path = array_file(root);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        path
    };
    refused(truncated, &["pictures.npy"]);
    let flat = |root: &Path| {
        let path = root.join("flat.npy");
        ndarray_npy::write_npy(&path, &ndarray::Array2::<u8>::zeros((4, 64))).unwrap();
        path
    };
    refused(flat, &["flat.npy", "2 axes"]);
    let four_channels = |root: &Path| {
        let path = root.join("four.npy");
        ndarray_npy::write_npy(&path, &ndarray::Array4::<u8>::zeros((4, 8, 8, 4))).unwrap();
        path
    };
    refused(four_channels, &["four.npy", "4 channels"]);
    let labels = |labels: ndarray::ArrayD<i64>| {
        move |root: &Path| {
            let path = array_file(root);
            ndarray_npy::write_npy(root.join("pictures.labels.npy"), &labels).unwrap();
            path
        }
    };
    refused(labels(ndarray::Array1::zeros(19).into_dyn()), &["pictures.labels.npy", "[19]", "20 pictures"]);
    refused(labels(ndarray::Array1::from_elem(20, -1).into_dyn()), &["pictures.labels.npy", "negative"]);
    let narrow_labels = |root: &Path| {
        let path = array_file(root);
        ndarray_npy::write_npy(root.join("pictures.labels.npy"), &ndarray::Array1::<u8>::zeros(20)).unwrap();
        path
    };
    refused(narrow_labels, &["pictures.labels.npy", "i64"]);
}

#[test]
fn names_and_numbers_on_the_command_line() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (idx_folder(root.path()), root.path().join("run"));
    for (argument, word) in [
        ("--labels=one,two", "3 classes, but 2 names"),
        ("--steps=0", "--steps"),
        ("--sample-every=0", "--sample-every"),
        ("--blocks=1,2", "--blocks takes three"),
        ("--embedding=7", "even"),
        ("--timesteps=0", "steps"),
        ("--schedule=quadratic", "quadratic"),
        ("--limit=0", "limit"),
    ] {
        let error = fail(&train(&data, &run, &[argument]));
        assert!(error.contains(word), "{argument}: {error}");
        assert!(!run.exists());
    }
}

#[test]
fn arrays_with_labels_and_gzipped_files_are_read() {
    let root = tempfile::tempdir().unwrap();
    let path = array_file(root.path());
    let (_, labels) = pictures(20, 64);
    let labels = ndarray::Array1::from_iter(labels.into_iter().map(i64::from));
    ndarray_npy::write_npy(root.path().join("pictures.labels.npy"), &labels).unwrap();
    succeed(&train(&path, &root.path().join("a"), &["--steps=1", "--labels=ant,bee,cat"]));

    let folder = idx_folder(root.path());
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut archive, &fs::read(folder.join(name)).unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.gz")), archive.finish().unwrap()).unwrap();
        fs::remove_file(folder.join(name)).unwrap();
    }
    succeed(&train(&folder, &root.path().join("b"), &["--steps=1"]));
}
