//! The search for maps that int8 is too coarse for, on a model file.

mod common;

use std::fs;

use common::{fail, idx, pictures, run, succeed};
use grano_codegen::load::load;
use grano_codegen::model::DENOISER;
use grano_networks::toy;

#[test]
fn the_file_names_maps_until_the_bound_is_near_enough() {
    let folder = tempfile::tempdir().unwrap();
    let (path, data) = (folder.path().join("toy.safetensors"), folder.path().join("idx"));
    fs::write(&path, toy::model().unwrap()).unwrap();
    fs::create_dir(&data).unwrap();
    let (pixels, labels) = pictures(12, toy::HEIGHT * toy::WIDTH);
    idx(&data.join("train-images-idx3-ubyte"), &[12, toy::HEIGHT, toy::WIDTH], &pixels);
    idx(&data.join("train-labels-idx1-ubyte"), &[12], &labels);
    let (bytes, before) = (fs::read(&path).unwrap(), load(&path).unwrap().header);
    let places = ["sensitivity", "--model", path.to_str().unwrap(), "--data", data.to_str().unwrap(), "--pictures=6"];
    let search = |more: &[&str]| -> Vec<String> { places.iter().chain(more).map(ToString::to_string).collect() };
    let named = || load(&path).unwrap().header.ranges[DENOISER].fine.clone();
    let borrow = |arguments: Vec<String>| arguments.leak().iter().map(|argument| &argument[..]).collect::<Vec<_>>();

    let error = fail(&borrow(search(&["--strata=100"])));
    assert!(error.contains("100 parts of time") && error.contains("give 1 to 99"), "{error}");
    let output = run(&borrow(search(&["--strata=9", "--above=-9"])));
    let [text, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(error.contains("bits per dimension above f32 with [") && error.contains("--above"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // The first map that is chosen is the last where it is enough.
    let (first, bound) = text.lines().nth(2).unwrap().split_once(" in int16: ").unwrap();
    let enough: f64 = bound.split(' ').next().unwrap().parse().unwrap();

    succeed(&borrow(search(&["--strata=9", "--above=9"])));
    assert!(named().is_empty());
    succeed(&borrow(search(&["--strata=9", &format!("--above={}", enough + 1e-4)])));
    assert_eq!(named(), [first]);
    let mut after = load(&path).unwrap().header;
    assert!(after.likelihood.take().is_some_and(|set| set.values.len() == after.ranges[DENOISER].values.len()));
    after.ranges.get_mut(DENOISER).unwrap().fine = before.ranges[DENOISER].fine.clone();
    assert_eq!(after, before);
}
