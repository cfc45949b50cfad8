//! Models that learn from models: guidance in one evaluation, int8 codes, few evaluations; and from a discriminator.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{checkpoint, fail, idx_folder, metric_steps, succeed, train};
use grano_codegen::load::load;
use grano_codegen::schedule::Prediction;

/// A teacher, trained for a moment and exported for guidance 3.
fn teacher(root: &Path, data: &Path) -> PathBuf {
    let (run, model) = (root.join("teacher"), root.join("teacher.safetensors"));
    succeed(&train(data, &run, &["--steps=40", "--ema=0.5", "--learning-rate=0.02"]));
    export(&run, &model, &["--sampler=ddim-6", "--guidance=3"]);
    model
}

fn export(run: &Path, model: &Path, more: &[&str]) {
    let places = ["export", "--trajectories=7", "--run", run.to_str().unwrap(), "-o", model.to_str().unwrap()];
    succeed(&[&places, more].concat());
}

/// The loss of the first and of the last line of metrics.
fn losses(run: &Path) -> [f64; 2] {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    [text.lines().next(), text.lines().last()].map(|line| loss(line.unwrap()))
}

#[test]
fn guidance_and_codes_are_learnt() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let model = teacher(root.path(), &data);
    let run = root.path().join("run");
    let places = ["--model", model.to_str().unwrap(), "--data", data.to_str().unwrap(), "--run", run.to_str().unwrap()];
    let rest = ["--guidance=3", "--int8", "--batch=16", "--warmup=2", "--learning-rate=0.01", "--ema=0.9"];
    for steps in ["--steps=50", "--steps=400"] {
        succeed(&[&["finetune", steps], &places[..], &rest].concat());
    }
    let [first, last] = losses(&run);
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");

    let student = root.path().join("student.safetensors");
    export(&run, &student, &[]);
    let (teacher, student) = (load(&model).unwrap().header, load(&student).unwrap().header);
    assert_eq!((&student.defaults.sampler[..], student.defaults.guidance), ("ddim-6", 1.0));
    assert_eq!(student.ranges, teacher.ranges, "the codes that it learnt to live with");
}

/// Weights that make no int8 network end the run, with one error; nothing is learnt without the codes.
#[test]
fn training_with_codes_ends_where_int8_does() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let model = teacher(root.path(), &data);
    let run = root.path().join("run");
    let places = ["--model", model.to_str().unwrap(), "--data", data.to_str().unwrap(), "--run", run.to_str().unwrap()];
    let rest = ["finetune", "--int8", "--steps=9", "--batch=4", "--warmup=1", "--learning-rate=1e5"];
    let error = fail(&[&rest[..], &places].concat());
    assert!(error.contains("make no int8 network") && error.contains("--learning-rate"), "{error}");
    assert!(checkpoint(&run).is_none(), "nothing is kept of it");
}

#[test]
fn few_evaluations_are_learnt() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let model = teacher(root.path(), &data);
    let run = root.path().join("run");
    let places = ["distill", "--teacher", model.to_str().unwrap(), "--run", run.to_str().unwrap()];
    let rest =
        ["--evaluations=2,1", "--substeps=4", "--pictures=60", "--batch=16", "--learning-rate=0.01", "--ema=0.9"];
    let distill = |more: &[&str]| succeed(&[&places[..], &rest, more].concat());
    distill(&["--steps=50"]);
    let drawn = fs::read(run.join("trajectories.safetensors")).unwrap();
    distill(&["--steps=800"]);
    assert_eq!(fs::read(run.join("trajectories.safetensors")).unwrap(), drawn, "the teacher draws once");
    assert_eq!(checkpoint(&run).unwrap().0, 800);
    assert_eq!(metric_steps(&run).len(), 16);
    let [first, last] = losses(&run);
    assert!(last < 0.7 * first, "the loss went from {first} to {last}");

    let student = root.path().join("student.safetensors");
    export(&run, &student, &[]);
    let header = load(&student).unwrap().header;
    assert_eq!((header.prediction, &header.defaults.sampler[..]), (Prediction::Velocity, "fast-2"));
    assert_eq!(header.samplers["fast-2"].times, [49, 24]);
    assert_eq!(header.samplers["fast-1"].times, [48]);
    assert_eq!(header.ranges["denoiser"].times, [24, 48, 49]);
    let pictures = root.path().join("pictures.npy");
    let drawn = ["-o", pictures.to_str().unwrap(), "--count=3"];
    succeed(&[&["sample", "--model", student.to_str().unwrap()], &drawn[..]].concat());

    fs::write(run.join("trajectories.safetensors"), "cut off").unwrap();
    let error = fail(&[&places[..], &rest, &["--steps=900"]].concat());
    assert!(error.contains("trajectories.safetensors"), "{error}");
}

#[test]
fn denoisers_become_consistency_models() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let (base, model, run) =
        (root.path().join("base"), root.path().join("base.safetensors"), root.path().join("consistent"));
    succeed(&train(&data, &base, &["--prediction=velocity", "--steps=40", "--ema=0.5", "--learning-rate=0.02"]));
    export(&base, &model, &["--sampler=ddim-6"]);
    let places = ["--model", model.to_str().unwrap(), "--data", data.to_str().unwrap(), "--run", run.to_str().unwrap()];
    for steps in ["--steps=50", "--steps=100"] {
        succeed(
            &[&["consistency", steps, "--stages=4", "--batch=16", "--warmup=2", "--ema=0.9"], &places[..]].concat(),
        );
    }
    assert_eq!(checkpoint(&run).unwrap().0, 100);

    let student = root.path().join("student.safetensors");
    export(&run, &student, &[]);
    let header = load(&student).unwrap().header;
    assert_eq!(
        (&header.defaults.sampler[..], header.ranges["denoiser"].times.clone()),
        ("consistency-2", vec![24, 49])
    );
    let pictures = root.path().join("pictures.npy");
    let drawn = ["--sampler=consistency-1", "--count=3", "-o", pictures.to_str().unwrap()];
    succeed(&[&["sample", "--model", student.to_str().unwrap()], &drawn[..]].concat());
}

#[test]
fn impossible_students_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let model = teacher(root.path(), &data);
    let run = root.path().join("run");
    let places = ["--run", run.to_str().unwrap()];
    let distill = ["distill", "--teacher", model.to_str().unwrap(), "--evaluations=10,5", "--substeps=6"];
    let error = fail(&[&distill[..], &places].concat());
    assert!(error.contains("T = 50"), "{error}");
    let error = fail(&[&distill[..3], &["--evaluations=4,3"], &places].concat());
    assert!(error.contains("[4, 3]"), "{error}");
    let error = fail(&[&distill[..3], &["--evaluations=2,2"], &places].concat());
    assert!(error.contains("[2, 2]"), "{error}");
    let other = common::image_folder(root.path());
    let finetune = ["finetune", "--model", model.to_str().unwrap(), "--data", other.to_str().unwrap()];
    let error = fail(&[&finetune[..], &places].concat());
    assert!(error.contains("nothing to learn") && error.contains("--int8"), "{error}");
    let error = fail(&[&finetune[..], &places, &["--int8"][..]].concat());
    assert!(error.contains("8×12, colour") && error.contains("--size 12x12 --grey"), "{error}");
    let consistency = ["consistency", "--data", data.to_str().unwrap(), "--model", model.to_str().unwrap()];
    let error = fail(&[&consistency[..], &places].concat());
    assert!(error.contains("--prediction velocity"), "{error}");
    let refine = [&["refine", "--data", data.to_str().unwrap()], &places[..]].concat();
    let error = fail(&[&refine, &finetune[1..3]].concat());
    assert!(error.contains("guidance 3"), "{error}");
    let guided = root.path().join("guided.safetensors");
    export(&root.path().join("teacher"), &guided, &["--sampler=ddim-6"]);
    let refine = [&refine, &["--model", guided.to_str().unwrap()][..]].concat();
    for diffusion in ["-1", "0", "17"] {
        let error = fail(&[&refine, &[&format!("--diffusion={diffusion}")[..]][..]].concat());
        assert!(error.contains("--diffusion"), "{error}");
    }
    let error = fail(&[&refine, &["--frechet=0.02", "--batch=1", "--diffusion=1"][..]].concat());
    assert!(error.contains("--batch"), "{error}");
    let error = fail(&[&refine, &["--samplers=ddim-6,fast-4"][..]].concat());
    assert!(error.contains("fast-4"), "{error}");
    assert!(!run.exists());
}
