//! Small data sets, and the program run on them.
#![allow(dead_code, reason = "each test file uses some of it")]

pub mod ranks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;

/// A network and a training that take a second.
pub const TINY: &[&str] =
    &["--batch=8", "--channels=4,6", "--blocks=1,1,1", "--embedding=8", "--timesteps=50", "--warmup=2"];

/// The program with some arguments, on one thread, so that it can be repeated to the bit.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grano-train"));
    command.args(arguments).env("OMP_NUM_THREADS", "1").env_remove("RUST_BACKTRACE");
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the program, which must succeed.
pub fn succeed(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the program, which must fail with one error; gives its text.
pub fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?} {text}", output.status);
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    text
}

/// The arguments of a training: [`TINY`], but for those in `more`.
pub fn train<'a>(data: &'a Path, run: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let name = |argument: &&'a str| argument.split('=').next().unwrap_or_default();
    let others = TINY.iter().filter(|tiny| !more.iter().any(|argument| name(argument) == name(tiny)));
    let places = ["train", "--data", data.to_str().unwrap(), "--run", run.to_str().unwrap()];
    places.iter().chain(others).chain(more).copied().collect()
}

/// `count` pictures of `len` bytes: stripes as wide as the class says, and some noise.
pub fn pictures(count: usize, len: usize) -> (Vec<u8>, Vec<u8>) {
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    let pixel = |i: usize, at: usize| 200 * (at / (1 + i % 3) % 2) + (i * 31 + at * 17) % 56;
    (labels.iter().enumerate().flat_map(|(i, _)| (0..len).map(move |at| pixel(i, at) as u8)).collect(), labels)
}

/// An IDX file.
pub fn idx(path: &Path, shape: &[usize], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|&n| (n as u32).to_be_bytes()));
    bytes.extend(values);
    fs::write(path, bytes).unwrap();
}

/// A folder of IDX files: 48 grey pictures of 12 × 12 in 3 classes, and a test set of the same.
pub fn idx_folder(root: &Path) -> PathBuf {
    let folder = root.join("idx");
    fs::create_dir(&folder).unwrap();
    let (pixels, labels) = pictures(48, 144);
    for part in ["train", "t10k"] {
        idx(&folder.join(format!("{part}-images-idx3-ubyte")), &[48, 12, 12], &pixels);
        idx(&folder.join(format!("{part}-labels-idx1-ubyte")), &[48], &labels);
    }
    folder
}

/// A folder of colour pictures, 8 high and 12 wide, in 3 classes.
pub fn image_folder(root: &Path) -> PathBuf {
    let folder = root.join("images");
    let (pixels, labels) = pictures(12, 288);
    for (i, (pixels, label)) in pixels.chunks(288).zip(labels).enumerate() {
        let class = folder.join(["ant", "bee", "cat"][label as usize]);
        fs::create_dir_all(&class).unwrap();
        let path = class.join(format!("{i}.png"));
        image::save_buffer(path, pixels, 12, 8, image::ExtendedColorType::Rgb8).unwrap();
    }
    folder
}

/// An array of grey pictures of 8 × 8, without labels.
pub fn array_file(root: &Path) -> PathBuf {
    let path = root.join("pictures.npy");
    let (pixels, _) = pictures(20, 64);
    ndarray_npy::write_npy(&path, &ndarray::Array3::from_shape_vec((20, 8, 8), pixels).unwrap()).unwrap();
    path
}

/// A checkpoint's step and tensors.
pub fn checkpoint(run: &Path) -> Option<(u64, BTreeMap<String, Vec<u8>>)> {
    let bytes = fs::read(run.join("checkpoint.safetensors")).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let header: serde_json::Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["checkpoint"]).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, view)| (name.to_string(), view.data().to_vec())).collect();
    Some((header["step"].as_u64().unwrap(), tensors))
}

/// The steps in a run's metrics.
pub fn metric_steps(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let step = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
    text.lines().map(step).collect()
}
