//! What is wrong with ranks is said in one line, and none of them stays.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use common::ranks::{PATIENCE, end_within, errors, free_port, launch, rank, spawn};
use common::{checkpoint, fail, idx_folder, image_folder, succeed, train};

/// The errors that some processes said, all of which failed.
fn failures(outputs: &[Output]) -> Vec<String> {
    assert!(outputs.iter().all(|output| output.status.code() == Some(1)), "{outputs:?}");
    outputs.iter().flat_map(errors).collect()
}

/// The only error of ranks that are started with these arguments.
fn refusal(arguments: &[&[&str]]) -> String {
    let port = free_port();
    let ranks = arguments.len();
    let start = |(i, arguments): (usize, &&[&str])| spawn(rank(i, ranks, port, arguments));
    let all: Vec<_> = arguments.iter().enumerate().map(start).collect();
    let outputs: Vec<_> = all.into_iter().map(|child| end_within(child, PATIENCE)).collect();
    let errors = failures(&outputs);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

#[test]
fn ranks_that_differ_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let at = |name: &str| root.path().join(name);
    let (run, other) = (at("run"), at("other"));
    let two = |one: &[&str], two: &[&str]| refusal(&[one, two]);
    let usual = train(&data, &run, &["--steps=4"]);

    let error = two(&usual, &train(&data, &run, &["--steps=4", "--seed=1", "--batch=4"]));
    assert!(error.contains("rank 1 was started otherwise than rank 0"), "{error}");
    assert!(error.contains("batch is 4 there, 8 at rank 0") && error.contains("seed is 1 there, 0"), "{error}");

    let changed = root.path().join("changed");
    std::fs::create_dir(&changed).unwrap();
    let changed = idx_folder(&changed);
    let pictures = changed.join("train-images-idx3-ubyte");
    let mut bytes = std::fs::read(&pictures).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&pictures, bytes).unwrap();
    let error = two(&usual, &train(&changed, &run, &["--steps=4"]));
    assert!(error.contains("rank 1 has other data than rank 0"), "{error}");

    for (run, seed) in [(&at("a"), "--seed=1"), (&at("b"), "--seed=2")] {
        succeed(&train(&data, run, &["--steps=1", seed]));
    }
    let from = |name: &str| format!("--from={}", at(name).display());
    let error = two(&train(&data, &run, &["--steps=4", &from("a")]), &train(&data, &run, &["--steps=4", &from("b")]));
    assert!(error.contains("rank 1 has other weights or model than rank 0"), "{error}");

    let images = image_folder(root.path());
    succeed(&train(&data, &other, &["--steps=1"]));
    let error = refusal(&[&train(&images, &other, &["--steps=4"]), &train(&images, &other, &["--steps=4"])]);
    assert!(error.contains("was begun with [1, 12, 12]"), "{error}");
    assert!(!run.exists(), "nothing is written by ranks that differ");
}

/// A rank that waits for others for three seconds.
fn one_of_two(number: usize, port: u16, arguments: &[&str]) -> String {
    let mut command = rank(number, 2, port, arguments);
    command.env("GRANO_JOIN_SECONDS", "3");
    let errors = failures(&[end_within(spawn(command), Duration::from_secs(60))]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

#[test]
fn ranks_that_do_not_find_each_other_say_why() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let run = root.path().join("run");
    let arguments = train(&data, &run, &["--steps=4"]);

    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = one_of_two(0, port, &arguments);
    assert!(error.contains(&format!("cannot serve MASTER_ADDR=127.0.0.1, MASTER_PORT={port}")), "{error}");
    assert!(error.contains("give this host's address and a port that nobody has"), "{error}");

    let port = free_port();
    let error = one_of_two(1, port, &arguments);
    assert!(error.contains(&format!("rank 1: no answer from MASTER_ADDR=127.0.0.1, MASTER_PORT={port}")), "{error}");

    let error = one_of_two(0, free_port(), &arguments);
    assert!(error.contains("of 2 ranks, 1 did not come within 3 s"), "{error}");

    let port = free_port();
    let twice = [0, 1, 1].map(|number| {
        let mut command = rank(number, 3, port, &arguments);
        command.env("GRANO_JOIN_SECONDS", "10");
        spawn(command)
    });
    let mut errors = failures(&twice.map(|child| end_within(child, PATIENCE)));
    errors.sort_by_key(|error| error.contains("did not come"));
    assert!(errors.len() == 2 && errors[0].contains("RANK=1: another process has this rank"), "{errors:?}");
    assert!(errors[1].contains("of 3 ranks, 2 did not come within 10 s"), "{errors:?}");
    assert!(!run.exists());
}

#[test]
fn bad_environments_and_numbers_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let run = root.path().join("run");
    let arguments = train(&data, &run, &["--steps=4"]);
    let wrong: [(&str, Option<&str>, &str); 6] = [
        ("RANK", None, "RANK is not set, but WORLD_SIZE=2"),
        ("RANK", Some("7"), "RANK=7: of WORLD_SIZE=2 ranks the last is 1"),
        ("WORLD_SIZE", Some("many"), "WORLD_SIZE=many: "),
        ("MASTER_PORT", Some("99999"), "MASTER_PORT=99999: "),
        ("MASTER_ADDR", None, "MASTER_ADDR is not set"),
        ("GRANO_JOIN_SECONDS", Some("0"), "GRANO_JOIN_SECONDS=0: "),
    ];
    for (name, value, text) in wrong {
        let mut command = rank(1, 2, 29500, &arguments);
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
        let errors = failures(&[end_within(spawn(command), PATIENCE)]);
        assert!(errors.len() == 1 && errors[0].contains(text), "{errors:?}");
    }
    let error = refusal(&[&arguments, &arguments, &arguments]);
    assert!(error.contains("--batch: 8 pictures are not a multiple of 3 ranks; 6 or 9 are"), "{error}");
    for launch in [&["launch", "--ranks=0", "--", "train"][..], &["launch", "--ranks=2"], &["launch", "train"]] {
        assert!(fail(launch).contains("error"));
    }
    let nothing = end_within(launch(2, &["train"]), PATIENCE);
    assert_eq!(nothing.status.code(), Some(2), "a rank's own exit code");
    assert!(!run.exists());
}

/// Ranks without a launcher; one is killed in the middle.
fn kill_among_three(root: &Path, data: &Path, killed: usize) {
    let run = root.join(format!("killed{killed}"));
    let arguments = train(data, &run, &["--steps=1000000", "--batch=9", "--checkpoint-every=20"]);
    let port = free_port();
    let mut all: Vec<_> = (0..3).map(|number| spawn(rank(number, 3, port, &arguments))).collect();
    while checkpoint(&run).is_none() {
        for child in &mut all {
            assert!(child.try_wait().unwrap().is_none(), "it ended before its first checkpoint");
        }
        sleep(Duration::from_millis(10));
    }
    let mut victim = all.remove(killed);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let outputs: Vec<_> = all.into_iter().map(|child| end_within(child, Duration::from_secs(30))).collect();
    let errors = failures(&outputs);
    let named = |error: &String| match killed {
        // Its store is gone with it: each of the others says so.
        0 => error.contains("rank 0, at 127.0.0.1") && error.contains("has ended or is out of reach"),
        _ => error.contains(&format!("rank {killed} of 3 (process ")) && error.contains("has ended or hangs"),
    };
    assert!(errors.iter().all(named) && errors.len() == if killed == 0 { 2 } else { 1 }, "{errors:?}");
    assert!(checkpoint(&run).unwrap().0 >= 20);
}

#[test]
fn a_dead_rank_ends_the_others_and_is_named() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    for killed in [1, 0] {
        kill_among_three(root.path(), &data, killed);
    }
}

#[test]
fn a_rank_that_fails_is_the_only_one_to_say_so() {
    let root = tempfile::tempdir().unwrap();
    let data = idx_folder(root.path());
    let run = root.path().join("run");
    std::fs::write(&run, "not a folder").unwrap();
    let arguments = train(&data, &run, &["--steps=4"]);
    let error = refusal(&[&arguments, &arguments]);
    assert!(error.contains("rank 0 of 2: ") && error.contains(run.to_str().unwrap()), "{error}");
    let launched = end_within(launch(2, &arguments), PATIENCE);
    assert_eq!(failures(&[launched]).len(), 1);
}
