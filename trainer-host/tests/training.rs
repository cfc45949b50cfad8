//! Runs: what they leave behind, and how they go on.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{checkpoint, command, fail, idx_folder, metric_steps, succeed, train};

#[test]
fn a_run_leaves_checkpoint_metrics_curve_and_samples() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (idx_folder(root.path()), root.path().join("run"));
    succeed(&train(&data, &run, &["--steps=6", "--sample-every=4"]));
    let mut names: Vec<_> =
        fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        ["checkpoint.safetensors", "loss.png", "metrics.jsonl", "samples-000004.png", "samples-000006.png"]
    );
    assert_eq!(checkpoint(&run).unwrap().0, 6);
    assert_eq!(metric_steps(&run), [6]);
    let sheet = image::open(run.join("samples-000006.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * 12, 3 * 12));
}

/// Runs a training of 60 updates twice, once killed on the way and begun again.
fn go_on_to_the_same_end(root: &Path, arguments: &dyn Fn(&Path) -> Vec<String>) {
    let [whole, killed] = ["whole", "killed"].map(|name| root.join(name));
    let run = |run: &Path| {
        let arguments = arguments(run);
        command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(run(&whole).output().unwrap().status.success());

    let mut child = run(&killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while checkpoint(&killed).is_none_or(|(step, _)| step < 10) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its tenth step");
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (step, _) = checkpoint(&killed).unwrap();
    assert!((10..50).contains(&step), "killed at step {step}, too late to show anything");
    // As if it had been killed between its metrics and its checkpoint, in the middle of a line.
    let mut metrics = fs::OpenOptions::new().append(true).create(true).open(killed.join("metrics.jsonl")).unwrap();
    let line = fs::read_to_string(whole.join("metrics.jsonl")).unwrap().lines().next().unwrap().to_string();
    write!(metrics, "{line}\n{}", &line[..line.len() / 2]).unwrap();

    assert!(run(&killed).output().unwrap().status.success());
    assert!(checkpoint(&killed) == checkpoint(&whole), "the resumed run ends elsewhere");
    assert_eq!(metric_steps(&whole), [50, 60]);
    assert_eq!(metric_steps(&killed), [50, 60]);
}

#[test]
fn a_killed_run_goes_on_to_the_same_end() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let more = ["--steps=60", "--batch=64", "--checkpoint-every=5"];
    go_on_to_the_same_end(root.path(), &|run| train(&data, run, &more).into_iter().map(String::from).collect());
}

#[test]
fn a_killed_refinement_goes_on_to_the_same_end() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let (teacher, model) = (root.path().join("teacher"), root.path().join("teacher.safetensors"));
    succeed(&train(&data, &teacher, &["--steps=40"]));
    let [from, to] = [&teacher, &model].map(|path| path.to_str().unwrap());
    succeed(&["export", "--trajectories=7", "--sampler=dpm-3", "--run", from, "-o", to]);
    go_on_to_the_same_end(root.path(), &|run| {
        let [data, run] = [data.as_path(), run].map(|path| path.to_str().unwrap());
        let places = ["refine", "--model", to, "--data", data, "--run", run];
        let more = ["--int8", "--steps=60", "--batch=16", "--frechet=0.02", "--classifiers=2", "--checkpoint-every=5"];
        places.iter().chain(&more).map(ToString::to_string).collect()
    });
}

/// Ctrl-C and SIGTERM.
#[test]
fn a_signal_ends_a_run_with_a_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    for signal in ["-INT", "-TERM"] {
        let run = root.path().join(signal);
        let arguments = train(&data, &run, &["--steps=1000000", "--checkpoint-every=1000000"]);
        let child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Metrics show that it learns.
        while !run.join("metrics.jsonl").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains("the same command goes on from there"), "{text}");
        let (step, _) = checkpoint(&run).unwrap();
        assert!((50..1_000_000).contains(&step) && text.contains(&format!("after {step} of")), "{step}: {text}");
    }
}

/// Off a terminal, how it goes is said before the first line of metrics is due.
#[test]
fn the_first_line_comes_soon() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let run = root.path().join("run");
    let arguments = train(&data, &run, &["--steps=1000000", "--batch=16384"]);
    let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let step: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(line.starts_with("step ") && step < 50 && line.contains("pictures/s"), "{line}");
}

#[test]
fn seeds_differ() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let [a, b] = ["a", "b"].map(|name| root.path().join(name));
    succeed(&train(&data, &a, &["--steps=1"]));
    // From the same weights, so that only the batch and its noise can differ.
    succeed(&train(&data, &b, &["--steps=1", "--seed=1", "--from", a.to_str().unwrap()]));
    let c = root.path().join("c");
    succeed(&train(&data, &c, &["--steps=1", "--seed=2", "--from", a.to_str().unwrap()]));
    assert!(checkpoint(&b) != checkpoint(&c));
}

#[test]
fn a_broken_checkpoint_is_named_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (idx_folder(root.path()), root.path().join("run"));
    succeed(&train(&data, &run, &["--steps=2"]));
    let path = run.join("checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    for len in [0, 5, 100, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = fail(&train(&data, &run, &["--steps=4"]));
        assert!(error.contains(path.to_str().unwrap()) && error.contains("delete it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), &whole[..len]);
        let model = root.path().join("model.safetensors");
        let error = fail(&["export", "--run", run.to_str().unwrap(), "-o", model.to_str().unwrap()]);
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(!model.exists());
    }
}

#[test]
fn other_arguments_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (idx_folder(root.path()), root.path().join("run"));
    succeed(&train(&data, &run, &["--steps=2"]));
    let before = fs::read(run.join("checkpoint.safetensors")).unwrap();
    let error = fail(&train(&data, &run, &["--steps=4", "--learning-rate=0.5", "--seed=3"]));
    assert!(error.contains("--learning-rate was 0.002, now 0.5") && error.contains("--seed was 0, now 3"), "{error}");
    assert!(!error.contains("--steps was"), "{error}");
    let other = common::image_folder(root.path());
    let error = fail(&train(&other, &run, &["--steps=4"]));
    assert!(error.contains(other.to_str().unwrap()) && error.contains("[1, 12, 12]"), "{error}");
    assert_eq!(fs::read(run.join("checkpoint.safetensors")).unwrap(), before);
    succeed(&train(&data, &run, &["--steps=4", "--checkpoint-every=1"]));
    assert_eq!(metric_steps(&run), [2, 4]);
}

#[test]
fn a_diverging_run_says_so_and_keeps_its_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (idx_folder(root.path()), root.path().join("run"));
    let more = ["--steps=200", "--learning-rate=1e6", "--checkpoint-every=1"];
    let error = fail(&train(&data, &run, &more));
    assert!(error.contains("--learning-rate"), "{error}");
    let (_, tensors) = checkpoint(&run).unwrap();
    assert!(tensors["parameters"].as_chunks().0.iter().all(|&value| f32::from_le_bytes(value).is_finite()));
}
