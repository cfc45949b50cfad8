//! `grano-train eval` on the shipped model and a handful of made-up pictures.

mod common;

use std::fs;
use std::path::Path;

use common::{fail, idx, pictures, succeed};

/// An IDX folder of 28×28 pictures in 10 classes.
fn data(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (part, count) in [("train", 60), ("t10k", 30)] {
        let (images, _) = pictures(count, 784);
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        idx(&folder.join(format!("{part}-images-idx3-ubyte")), &[count, 28, 28], &images);
        idx(&folder.join(format!("{part}-labels-idx1-ubyte")), &[count], &labels);
    }
}

#[test]
fn everything_is_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    data(&folder.path().join("data"));
    let (data, run, classifier) = (place("data"), place("run"), place("classifier.safetensors"));
    let arguments = [
        "eval",
        "--model=../models/fashion.safetensors",
        &format!("--data={data}"),
        &format!("--run={run}"),
        &format!("--classifier={classifier}"),
        "--count=10",
        "--precision=int8,f32,torch",
        "--sampler=ddim-2",
        "--guidance=1,2",
        "--reference=ancestral-3",
        "--elbo=3",
        "--elbo-strata=4",
        "--traces=1",
        "--resamples=3",
        "--epochs=1",
        "--threads=1",
    ];
    succeed(&arguments);
    let read = |name: &str| fs::read(folder.path().join("run").join(name)).unwrap();
    let (json, html) = (read("eval.json"), read("report.html"));
    let evaluation: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let names: Vec<_> =
        evaluation["sets"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    let expected = [
        "real test pictures",
        "real training pictures with noise 0.05",
        "f32 ancestral-3 w1",
        "int8 ddim-2 w1",
        "f32 ddim-2 w1",
        "torch ddim-2 w1",
        "int8 ddim-2 w2",
        "f32 ddim-2 w2",
        "torch ddim-2 w2",
    ];
    assert_eq!(names, expected);
    assert_eq!(evaluation["architecture"], "plain");
    assert!(String::from_utf8(html.clone()).unwrap().contains(&format!("{classifier} (plain)")));
    let bound = |network: usize| evaluation["likelihood"][network]["bound"]["total"]["mean"].as_f64().unwrap();
    assert!((bound(1) - bound(2)).abs() < 1e-3, "f32 by the engine and by libtorch: {} {}", bound(1), bound(2));
    assert!((bound(0) - bound(1)).abs() < 1.0 && bound(0) > 0.0);

    // Nothing is computed again: pieces keep their time, and the results their bytes.
    let pieces = || {
        let entries = fs::read_dir(folder.path().join("run/pieces")).unwrap().map(Result::unwrap);
        let mut all: Vec<_> = entries.map(|e| (e.path(), e.metadata().unwrap().modified().unwrap())).collect();
        all.sort();
        all
    };
    let before = pieces();
    succeed(&arguments);
    assert_eq!(pieces(), before);
    assert_eq!((read("eval.json"), read("report.html")), (json, html));

    // The same reference from its file, which another number of pictures does not compare with.
    let statistics = place("run/reference.statistics.safetensors");
    let held = |count: &str| {
        [
            "eval",
            "--model=../models/fashion.safetensors",
            &format!("--data={data}"),
            &format!("--run={}", place("held")),
            &format!("--classifier={classifier}"),
            &format!("--reference={statistics}"),
            &format!("--count={count}"),
            "--precision=int8",
            "--sampler=ddim-2",
            "--guidance=1",
            "--elbo=0",
            "--resamples=3",
        ]
        .map(String::from)
    };
    succeed(&held("10").each_ref().map(String::as_str));
    let json = fs::read(folder.path().join("held/eval.json")).unwrap();
    let again: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let names: Vec<_> = again["sets"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, [expected[0], expected[1], expected[3]]);
    assert_eq!(again["reference"], "fashion: f32 ancestral-3 w1");
    let close = |a: &serde_json::Value, b: &serde_json::Value| {
        let [a, b] = [a, b].map(|value| value.as_f64().unwrap());
        assert!((a - b).abs() < 1e-4 * b, "{a} is not {b}");
    };
    close(&again["known"]["frechet"]["fd"], &evaluation["sets"][2]["frechet"]["fd"]);
    close(&again["ratios"][2][0], &evaluation["ratios"][3][0]);
    let html = fs::read_to_string(folder.path().join("held/report.html")).unwrap();
    assert!(html.contains("<td>fashion: f32 ancestral-3 w1</td>"));
    let refusal = fail(&held("11").each_ref().map(String::as_str));
    assert!(refusal.contains("reference.statistics.safetensors") && refusal.contains("of 10 pictures"), "{refusal}");

    let foreign = fail(&["eval", "--model=../models/fashion.golden.safetensors", &format!("--data={data}")]);
    assert!(foreign.contains("golden"), "{foreign}");
}
