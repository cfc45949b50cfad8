//! Exported models and their golden vectors against the reference interpreter, and the pictures drawn from them.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{array_file, fail, idx_folder, image_folder, succeed, train};
use grano_codegen::graph::Shape;
use grano_codegen::load::load;
use grano_codegen::model::Model;
use grano_codegen::reference;
use grano_codegen::schedule::SamplerSpec;
use ndarray::ArrayD;
use safetensors::SafeTensors;

/// Trains for a few steps and exports `model.safetensors`.
fn export(root: &Path, data: &Path, more: &[&str]) -> PathBuf {
    let (run, model) = (root.join("run"), root.join("models/model.safetensors"));
    let few = [&["--steps=12", "--ema=0.5"], more].concat();
    succeed(&train(data, &run, &few));
    let places = ["--run", run.to_str().unwrap(), "-o", model.to_str().unwrap()];
    succeed(&[&["export", "--sampler=ddim-6", "--guidance=2", "--trajectories=7"], &places[..]].concat());
    model
}

/// The golden file's tensors, as f64, by name: shape and values.
fn golden(model: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = fs::read(model.with_extension("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::I64 => view.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        _ => view.data().as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
    };
    tensors.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), values(&view)))).collect()
}

fn error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}

/// Loads the model and compares every golden vector with the reference interpreter; `ends` values are stored a case.
fn check(path: &Path, input: [usize; 3], labels: &[&str], ends: usize) -> Model {
    let model = load(path).unwrap();
    let denoiser = model.denoiser().unwrap();
    let (graph, header) = (&denoiser.graph, &model.header);
    assert_eq!(
        (graph.input(), &header.data.labels[..]),
        (input, &labels.iter().map(|&l| l.into()).collect::<Vec<String>>()[..])
    );
    assert_eq!((&header.defaults.sampler[..], header.defaults.guidance), ("ddim-6", 2.0));
    assert_eq!(graph.node("class").is_some(), !labels.is_empty());

    let ranges = &header.ranges["denoiser"];
    assert_eq!(ranges.times.len(), 6);
    assert!(ranges.times.is_sorted());
    for (name, shape) in graph.shapes().unwrap() {
        if matches!(shape, Shape::Map(_)) {
            let [low, high] = ranges.over(&name, ranges.times.iter().copied()).unwrap();
            assert!(low < high, "{name}: {low} to {high}");
        }
    }

    let golden = golden(path);
    let len = input.iter().product::<usize>();
    let at = |name: &str, i: usize| {
        let (shape, values) = &golden[name];
        let len = values.len() / shape[0];
        &values[i * len..][..len]
    };
    let f32s = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let index = |name: &str, i: usize| at(name, i)[0] as usize;
    assert_eq!(golden["x"].0, [6, input[0], input[1], input[2]]);
    assert_eq!(golden["value.case"].1, [0.0, 3.0, 5.0]);
    let seen: Vec<usize> = (0..6).map(|i| index("label", i)).collect();
    let expected: Vec<usize> = (0..6).map(|i| i % (labels.len() + 1)).collect();
    assert_eq!(seen, expected);
    let mut stored = 0;
    for case in 0..6 {
        let values = reference::run(denoiser, &f32s(at("x", case)), index("t", case), index("label", case)).unwrap();
        let off = error(&values[graph.output()], at("epsilon", case));
        assert!(off <= 1e-4, "case {case}: off by {off}");
        let place = golden["value.case"].1.iter().position(|&other| other == case as f64);
        let Some(place) = place else { continue };
        for name in golden.keys().filter_map(|name| name.strip_prefix("value.")).filter(|name| *name != "case") {
            let off = error(&values[name], at(&format!("value.{name}"), place));
            assert!(off <= 1e-4, "{name} in case {case}: off by {off}");
            stored += 1;
        }
    }
    assert_eq!(stored, 3 * ends, "the ends of blocks and stages in three cases");

    let spec: SamplerSpec = "ddim-6-eta0.5".parse().unwrap();
    let table = spec.table(&header.schedule, header.prediction).unwrap();
    assert_eq!(golden["trajectory.noise"].0[0], 7);
    let mut x = at("trajectory.noise", 0).to_vec();
    for (step, row) in table.rows.iter().enumerate() {
        let out = reference::run(denoiser, &f32s(&x), row.t, index("trajectory.label", 0)).unwrap();
        let (out, z) = (&out[graph.output()], at("trajectory.noise", step + 1));
        x = (0..len)
            .map(|i| {
                let x0 = (row.k0 * x[i] - row.k1 * f64::from(out[i])).clamp(-1.0, 1.0);
                row.a * x0 + row.b * x[i] + row.c * z[i] + row.e * f64::from(out[i])
            })
            .collect();
        let off = error(&f32s(&x), at("trajectory.x", step));
        assert!(off <= 1e-3, "trajectory, step {step}: off by {off}");
    }
    model
}

fn sample(model: &Path, more: &[&str]) -> ArrayD<u8> {
    let output = model.with_file_name("drawn.npy");
    let places = ["sample", "--model", model.to_str().unwrap(), "-o", output.to_str().unwrap()];
    succeed(&[&places[..], more].concat());
    ndarray_npy::read_npy(output).unwrap()
}

#[test]
fn the_reference_network() {
    let root = tempfile::tempdir().unwrap();
    let model = export(root.path(), &idx_folder(root.path()), &["--network=reference", "--learning-rate=0.002"]);
    // Seven blocks and the attention.
    check(&model, [1, 12, 12], &["0", "1", "2"], 8);
}

#[test]
fn grey_pictures_in_classes() {
    let root = tempfile::tempdir().unwrap();
    let model = export(root.path(), &idx_folder(root.path()), &["--learning-rate=0.05"]);
    check(&model, [1, 12, 12], &["0", "1", "2"], 4);

    let labels = root.path().join("labels.npy");
    let drawn = sample(&model, &["--count=7", "--labels-out", labels.to_str().unwrap()]);
    assert_eq!(drawn.shape(), [7, 12, 12]);
    let labels: ndarray::Array1<i64> = ndarray_npy::read_npy(labels).unwrap();
    assert_eq!(labels.to_vec(), [0, 0, 0, 1, 1, 2, 2]);
    // Picture i depends on the seed and i alone.
    let [few, many] = ["--count=3", "--count=5"].map(|count| sample(&model, &[count, "--label=1"]));
    assert_eq!(few, many.slice_axis(ndarray::Axis(0), (0..3).into()));
    assert_ne!(few, sample(&model, &["--count=3", "--label=1", "--seed=1"]));

    let output = root.path().join("sheet.png");
    let places = ["sample", "--model", model.to_str().unwrap(), "-o"];
    succeed(&[&places[..], &[output.to_str().unwrap(), "--count=9", "--sampler=ancestral-10"]].concat());
    let sheet = image::open(&output).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * 12, 2 * 12));
    fs::remove_file(&output).unwrap();
    for (argument, words) in
        [("--label=9", "the model knows 0, 1, 2"), ("--sampler=euler-5", "euler-5"), ("--count=0", "--count")]
    {
        let error = fail(&[&places[..], &[output.to_str().unwrap(), argument]].concat());
        assert!(error.contains(words), "{error}");
        assert!(!output.exists());
    }
    let error = fail(&[&places[..], &["sheet.tiff"]].concat());
    assert!(error.contains("sheet.tiff"), "{error}");
    let run = root.path().join("run");
    let error = fail(&["export", "--run", run.to_str().unwrap(), "-o", "never.safetensors", "--sampler=ddim-51"]);
    assert!(error.contains("ddim-51"), "{error}");
}

#[test]
fn colour_pictures_in_folders() {
    let root = tempfile::tempdir().unwrap();
    let model = export(root.path(), &image_folder(root.path()), &["--learning-rate=0.05"]);
    check(&model, [3, 8, 12], &["ant", "bee", "cat"], 4);
    assert_eq!(sample(&model, &["--count=2", "--label=bee"]).shape(), [2, 8, 12, 3]);
}

#[test]
fn pictures_without_classes() {
    let root = tempfile::tempdir().unwrap();
    let model = export(root.path(), &array_file(root.path()), &["--learning-rate=0.05"]);
    check(&model, [1, 8, 8], &[], 4);
    assert_eq!(sample(&model, &["--count=2"]).shape(), [2, 8, 8]);
    let places = ["sample", "--model", model.to_str().unwrap(), "--label=0"];
    assert!(fail(&places).contains("no classes"));
}
