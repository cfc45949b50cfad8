//! What trainings refuse before they begin; the table of data and arguments is that of `grano-trainer-front`.

mod common;

use std::path::Path;

use common::{array_file, fail, idx_folder, image_folder, pictures, succeed, train};

/// Trains on what lies at `data`; the error must hold all of `words`, and nothing be written.
#[track_caller]
fn refused(root: &Path, data: &Path, more: &[&str], words: &[&str]) {
    let run = root.join("refused");
    let error = fail(&train(data, &run, &[&["--steps=2"], more].concat()));
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
    assert!(!run.exists(), "something was written");
}

#[test]
fn data_and_arguments_that_make_no_training() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let data = idx_folder(root);
    refused(root, &root.join("nothing"), &[], &["nothing", "no such file"]);
    refused(root, &data, &["--labels=one,two"], &["3 classes", "2 names"]);
    refused(root, &data, &["--ema=2"], &["--ema"]);
    refused(root, &data, &["--blocks=1,2"], &["--blocks takes three"]);
    refused(root, &data, &["--size=10x9"], &["10×9", "multiples of 4"]);
    refused(root, &data, &["--schedule=linear", "--timesteps=15"], &["--timesteps 15", "--schedule cosine"]);
}

#[test]
fn pictures_come_to_the_size_that_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let (data, run) = (image_folder(root.path()), root.path().join("run"));
    let form = ["--size=16", "--resize=pad", "--grey", "--flip", "--shift=2", "--labels= Ameise ,Biene,Katze"];
    succeed(&train(&data, &run, &[&["--steps=2"], &form[..]].concat()));
    let sheet = image::open(run.join("samples-000002.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height(), sheet.color()), (8 * 16, 3 * 16, image::ColorType::L8));
    let model = root.path().join("model.safetensors");
    let export = |output: &Path| {
        succeed(&["export", "--trajectories=3", "--run", run.to_str().unwrap(), "-o", output.to_str().unwrap()]);
        grano_codegen::load::load(output).unwrap().header
    };
    assert_eq!(export(&model).data.labels, ["Ameise", "Biene", "Katze"]);

    // A searched sampler stays when the run is exported again, and stays what the model draws with.
    succeed(&["steps", "--pictures=3", "--steps=2", "--model", model.to_str().unwrap()]);
    let again = export(&model);
    assert_eq!(again.defaults.sampler, "dpm-2-searched");
    assert!(again.samplers.contains_key("dpm-2-searched"));
    assert!(export(&root.path().join("other.safetensors")).samplers.is_empty());
    let refused = fail(&["sample", "--sampler=consistency-2", "--model", model.to_str().unwrap(), "-o", "x.png"]);
    assert!(refused.contains("was not made for it") && refused.contains("dpm-2-searched"), "{refused}");
}

/// A linear schedule ends in noise whatever its length, and its model can be read.
#[test]
fn linear_schedules_of_any_length() {
    let root = tempfile::tempdir().unwrap();
    let data = array_file(root.path());
    for timesteps in ["--timesteps=40", "--timesteps=20000"] {
        let at = |name: &str| root.path().join(format!("{name}{timesteps}"));
        let (run, model) = (at("run"), at("model").with_extension("safetensors"));
        succeed(&train(&data, &run, &["--steps=1", "--schedule=linear", timesteps]));
        succeed(&["export", "--trajectories=2", "--run", run.to_str().unwrap(), "-o", model.to_str().unwrap()]);
        let header = grano_codegen::load::load(&model).unwrap().header;
        let left = header.schedule.alpha_bars().unwrap().last().unwrap().sqrt();
        assert!(left < 0.01, "{timesteps}: {left} of the picture is left");
    }
}

#[test]
fn arrays_with_labels_are_learnt_from() {
    let root = tempfile::tempdir().unwrap();
    let path = array_file(root.path());
    let (_, labels) = pictures(20, 64);
    let labels = ndarray::Array1::from_iter(labels.into_iter().map(i64::from));
    ndarray_npy::write_npy(root.path().join("pictures.labels.npy"), &labels).unwrap();
    succeed(&train(&path, &root.path().join("a"), &["--steps=1", "--labels=ant,bee,cat"]));
}
