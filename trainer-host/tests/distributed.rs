//! Several ranks: they follow one process, and go on after a rank was killed.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::ranks::{PATIENCE, end_within, errors, launch, succeed_in_ranks};
use common::{checkpoint, idx_folder, run, succeed, train};

/// The last line of a run's metrics.
fn last_loss(run: &Path) -> f64 {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    line["loss"].as_f64().unwrap()
}

/// |a − b| / |b| of a tensor of two checkpoints.
fn apart(a: &Path, b: &Path, name: &str) -> f64 {
    let values = |run: &Path| -> Vec<f64> {
        let (_, tensors) = checkpoint(run).unwrap();
        tensors[name].as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
    };
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

fn check_same(a: &Path, b: &Path, loss: f64, weights: f64) {
    let (ours, theirs) = (last_loss(a), last_loss(b));
    assert!((ours - theirs).abs() <= loss * theirs.abs(), "{}: loss {ours}, not {theirs}", a.display());
    for name in ["parameters", "ema"] {
        let apart = apart(a, b, name);
        assert!(apart <= weights, "{}: {name} are {apart} apart", a.display());
    }
}

/// Sums over a batch are rounded otherwise in parts, and a weight that this takes over the edge between two int8 codes is a
/// whole code apart in the next pass: bounds hold for so small a network, not for any.
#[test]
fn ranks_follow_one_process() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let at = |ranks: usize| root.path().join(ranks.to_string());
    let more = ["--steps=200", "--learning-rate=1e-3"];
    succeed(&train(&data, &at(1), &more));
    for ranks in [2, 4] {
        succeed_in_ranks(ranks, &train(&data, &at(ranks), &more));
        check_same(&at(ranks), &at(1), 1e-4, 1e-5);
    }
    let names = |ranks: usize| {
        let mut names: Vec<_> = fs::read_dir(at(ranks)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(4), names(1), "rank 0 writes what one process writes");
}

/// A model file of a v-prediction, and its data.
fn model(root: &Path) -> (PathBuf, PathBuf) {
    let (data, teacher, model) = (idx_folder(root), root.join("teacher"), root.join("teacher.safetensors"));
    succeed(&train(&data, &teacher, &["--steps=40", "--prediction=velocity"]));
    let [from, to] = [&teacher, &model].map(|path| path.to_str().unwrap());
    succeed(&["export", "--trajectories=7", "--sampler=dpm-3", "--run", from, "-o", to]);
    (data, model)
}

#[test]
fn every_training_takes_part() {
    let root = tempfile::tempdir().unwrap();
    let (data, model) = model(root.path());
    let [data, model] = [&data, &model].map(|path| path.to_str().unwrap());
    let trainings: [(&str, &[&str]); 5] = [
        ("train", &["--data", data, "--precision=bf16", "--channels=4,6", "--blocks=1,1,1", "--timesteps=50"]),
        ("finetune", &["--data", data, "--model", model, "--guidance=2", "--int8"]),
        ("distill", &["--teacher", model, "--evaluations=2,1", "--substeps=2", "--pictures=260"]),
        ("consistency", &["--data", data, "--model", model, "--stages=2"]),
        ("refine", &["--data", data, "--model", model, "--frechet=0.02", "--classifiers=1"]),
    ];
    for (name, arguments) in trainings {
        let at = |ranks: usize| root.path().join(format!("{name}{ranks}"));
        for ranks in [1, 2] {
            let run = at(ranks);
            let places = ["--run", run.to_str().unwrap(), "--steps=8", "--batch=16", "--warmup=2"];
            let arguments = [&[name][..], arguments, &places].concat();
            if ranks == 1 { succeed(&arguments) } else { succeed_in_ranks(ranks, &arguments) }
        }
        // Rounding to bf16 or to codes makes more of a difference's last bit.
        let rounded = ["train", "finetune"].contains(&name);
        let (loss, weights) = if rounded { (5e-3, 5e-3) } else { (1e-4, 1e-4) };
        check_same(&at(2), &at(1), loss, weights);
    }
}

#[test]
fn samples_are_those_of_one_process() {
    let root = tempfile::tempdir().unwrap();
    let (_, model) = model(root.path());
    let drawn = |ranks: usize| {
        let [file, labels] = ["npy", "labels.npy"].map(|ending| root.path().join(format!("{ranks}.{ending}")));
        let [to, labels_to] = [&file, &labels].map(|path| path.to_str().unwrap());
        let sample = ["sample", "--model", model.to_str().unwrap(), "--count=250", "-o", to, "--labels-out", labels_to];
        if ranks == 1 {
            succeed(&sample)
        } else {
            succeed_in_ranks(ranks, &sample)
        }
        [file, labels].map(|path| fs::read(path).unwrap())
    };
    let one = drawn(1);
    assert!(drawn(2) == one && drawn(4) == one);
}

#[test]
fn evaluations_are_those_of_one_process() {
    let root = tempfile::tempdir().unwrap();
    let (data, model) = model(root.path());
    let figures = |ranks: usize| {
        let run = root.path().join(format!("eval{ranks}"));
        let classifier = root.path().join(format!("classifier{ranks}.safetensors"));
        let places = [("--model", &model), ("--data", &data), ("--run", &run), ("--classifier", &classifier)];
        let places = places.iter().flat_map(|(name, path)| [*name, path.to_str().unwrap()]);
        let more = ["--precision=torch", "--reference-precision=torch", "--reference=ddim-5", "--sampler=dpm-3"];
        let sizes = ["--count=230", "--elbo=3", "--elbo-strata=4", "--resamples=3", "--epochs=2", "--guidance=1"];
        let arguments: Vec<&str> = ["eval"].into_iter().chain(places).chain(more).chain(sizes).collect();
        if ranks == 1 {
            succeed(&arguments)
        } else {
            succeed_in_ranks(ranks, &arguments)
        }
        let text = fs::read_to_string(run.join("eval.json")).unwrap();
        let evaluation: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sets = evaluation["sets"].as_array().unwrap().iter();
        let of_sets = sets.map(|set| (set["count"].as_i64().unwrap() as f64, set["frechet"]["fd"].as_f64().unwrap()));
        let nearest = evaluation["sets"][2]["by_pixels"]["index"].as_array().unwrap().len();
        let bound = evaluation["likelihood"][0]["bound"]["total"]["mean"].as_f64().unwrap();
        let mut all: Vec<f64> = of_sets.flat_map(|(count, fd)| [count, fd]).collect();
        all.extend([nearest as f64, bound]);
        all
    };
    let (one, three) = (figures(1), figures(3));
    assert_eq!(one.len(), three.len());
    for (one, three) in one.iter().zip(&three) {
        assert!((one - three).abs() <= 1e-4 * one.abs(), "{three}, not {one}");
    }
}

/// Processes that `launch` started.
fn ranks_of(launcher: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap_or_default();
    children.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// Updates in a run's checkpoint.
fn step(run: &Path) -> u64 {
    checkpoint(run).map_or(0, |(step, _)| step)
}

/// Begins a run of `ranks`, waits until its checkpoint is `updates` further, and `more` milliseconds, and kills one.
fn kill_one(ranks: usize, arguments: &[&str], run: &Path, updates: u64, more: u64, rank: usize) {
    let before = step(run);
    let child = launch(ranks, arguments);
    let begun = Instant::now();
    while step(run) < before + updates {
        assert!(begun.elapsed() < PATIENCE, "no checkpoint comes");
        sleep(Duration::from_millis(2));
    }
    sleep(Duration::from_millis(more));
    let id = ranks_of(child.id())[rank].to_string();
    assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success(), "the run ended too early");
    let output = end_within(child, Duration::from_secs(30));
    let errors = errors(&output);
    assert!(!output.status.success() && errors.len() == 1, "{errors:?}");
    assert!(errors[0].contains(&format!("rank {rank} of {ranks} was killed by signal 9")), "{errors:?}");
}

/// Kills random ranks of runs of some ranks; in the end the run is where one that nobody killed is.
fn survive(kills: &[usize], seed: u64, updates: u64) {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let [whole, killed] = ["whole", "killed"].map(|name| root.path().join(name));
    let updates = format!("--steps={updates}");
    let more = [updates.as_str(), "--checkpoint-every=1", "--sample-every=100000", "--learning-rate=1e-4"];
    succeed(&train(&data, &whole, &more));
    let arguments = train(&data, &killed, &more);
    let mut random = seed;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    for &ranks in kills {
        kill_one(ranks, &arguments, &killed, 1, below(60), below(ranks as u64) as usize);
    }
    let (from, total) = (step(&killed), step(&whole));
    assert!(from + 50 < total, "the last kill was at update {from} of {total}, too late to show anything");
    let last = run(&arguments);
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    check_same(&killed, &whole, 1e-4, 1e-4);
}

#[test]
fn killed_ranks_go_on_in_any_number() {
    survive(&[2, 4, 2], 1, 1000);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_kills_change_nothing() {
    survive(&[2; 100], 2, 30_000);
}
