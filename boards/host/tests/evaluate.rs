//! `grano evaluate` as its users meet it: libtorch's vectors, batches, networks with several ports, and bad words.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{folder, model, refused_in, text};
use grano_codegen::graph::{Activation, Add, Builder, Function, Port, PortKind};
use grano_codegen::load::serialize;
use ndarray::{Array1, Array3, Array4, ArrayD, Axis};
use safetensors::SafeTensors;

/// Libtorch's outputs for noisy pictures, as `grano-train export` wrote them down.
struct Golden {
    x: Array4<f32>,
    epsilon: Array4<f32>,
    t: Vec<i64>,
    label: Vec<i64>,
}

fn golden() -> Golden {
    let bytes = std::fs::read(model("fashion.golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let maps = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let values = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Array4::from_shape_vec(<[usize; 4]>::try_from(view.shape()).unwrap(), values).unwrap()
    };
    let indices = |name: &str| {
        tensors.tensor(name).unwrap().data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()
    };
    Golden { x: maps("x"), epsilon: maps("epsilon"), t: indices("t"), label: indices("label") }
}

fn read(folder: &Path, name: &str) -> ArrayD<f32> {
    ndarray_npy::read_npy(folder.join(name)).unwrap()
}

const LABELS: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"];

#[test]
fn f32_is_libtorchs_output() {
    let (folder, golden) = (folder(), golden());
    for case in 0..golden.t.len() {
        ndarray_npy::write_npy(folder.path().join("x.npy"), &golden.x.index_axis(Axis(0), case).to_owned()).unwrap();
        let (t, label) = (golden.t[case], LABELS[golden.label[case] as usize]);
        let words = format!("evaluate --precision f32 --x x.npy --t {t} --label {label} -o out.npy");
        let said = text(folder.path(), &words);
        assert!(said.contains("out.npy") && said.contains("[1, 28, 28]"), "{said}");
        let out = read(folder.path(), "out.npy");
        let error = (&out - &golden.epsilon.index_axis(Axis(0), case)).mapv(f32::abs).fold(0.0, |a: f32, &b| a.max(b));
        // As the parity tests of generated code.
        assert!(error < 1e-4, "case {case}: {error}");
    }
}

#[test]
fn a_batch_is_each_of_its_maps_on_every_target() {
    let (folder, golden) = (folder(), golden());
    ndarray_npy::write_npy(folder.path().join("batch.npy"), &golden.x).unwrap();
    text(folder.path(), "evaluate --x batch.npy --t 500 -o all.npy");
    let all = read(folder.path(), "all.npy");
    assert_eq!(all.shape(), [8, 1, 28, 28]);
    ndarray_npy::write_npy(folder.path().join("x.npy"), &golden.x.index_axis(Axis(0), 3).to_owned()).unwrap();
    for target in ["portable", "cortex-m4"] {
        text(folder.path(), &format!("evaluate --x x.npy --t 500 --target {target} -o one.npy"));
        assert_eq!(all.index_axis(Axis(0), 3), read(folder.path(), "one.npy"), "{target}");
    }
    text(folder.path(), "evaluate --x x.npy --t 500 --label bag -o one.npy");
    assert_ne!(all.index_axis(Axis(0), 3), read(folder.path(), "one.npy"));
}

/// A model without a denoiser: two maps in, their sum and its SiLU out.
fn sum() -> Vec<u8> {
    let port = |name: &str| Port { name: name.into(), kind: PortKind::Map([2, 2, 3]) };
    let mut builder = Builder::with_ports(vec![port("a"), port("b")]);
    builder.node("sum", Add {}, &["a", "b"]);
    builder.node("silu", Activation { function: Function::Silu }, &["sum"]);
    let graph = builder.finish_all(&["sum", "silu"]).unwrap();
    let header = grano_networks::calibrate::header(100, "ddim-4");
    let networks = BTreeMap::from([("adder".to_string(), graph)]);
    serialize(&grano_codegen::model::Header { networks, ..header }, &BTreeMap::new()).unwrap()
}

#[test]
fn networks_have_several_inputs_and_outputs() {
    let folder = folder();
    std::fs::write(folder.path().join("sum.safetensors"), sum()).unwrap();
    let a = Array3::from_shape_fn([2, 2, 3], |(c, y, x)| 10.0 * c as f32 + 3.0 * y as f32 + x as f32);
    let b = Array3::from_shape_fn([2, 2, 3], |(c, y, x)| -3.0 * (c + y + x) as f32);
    for (name, array) in [("a.npy", &a), ("b.npy", &b)] {
        ndarray_npy::write_npy(folder.path().join(name), array).unwrap();
    }
    let words = "evaluate --model sum.safetensors --precision f32 -o out.npy";
    let said = text(folder.path(), &format!("{words} --network adder --input a=a.npy --input b=b.npy"));
    assert!(said.contains("out.sum.npy") && said.contains("out.silu.npy"), "{said}");
    let sum = (&a + &b).into_dyn();
    assert_eq!(read(folder.path(), "out.sum.npy"), sum);
    let error = &read(folder.path(), "out.silu.npy") - &sum.mapv(|value| value / (1.0 + (-value).exp()));
    assert!(error.iter().all(|error| error.abs() < 1e-5), "{error}");
    let refused = |more: &str, said: &[&str]| refused_in(folder.path(), &format!("{words} {more}"), said);
    refused("--input a=a.npy", &["--input b=FILE.npy", "missing"]);
    refused("--input a=a.npy --input b=b.npy --input c=b.npy", &["--input c", "a, b"]);
    refused("--input a=a.npy --input b=b.npy --input a=b.npy", &["--input a", "twice"]);
    refused("--input a=a.npy --input b=b.npy --t 5", &["--t 5", "does not read"]);
    refused("--input a=a.npy --input b=b.npy --label bag", &["--label", "does not read"]);
    ndarray_npy::write_npy(folder.path().join("b2.npy"), &b.insert_axis(Axis(0))).unwrap();
    refused("--input a=a.npy --input b=b2.npy", &["[N, …]"]);
    refused_in(folder.path(), "sample --model sum.safetensors", &["--model sum.safetensors", "denoiser"]);
}

#[test]
fn bad_words_are_refused_by_name() {
    let folder = folder();
    let write = |name: &str, array: ArrayD<f32>| ndarray_npy::write_npy(folder.path().join(name), &array).unwrap();
    write("x.npy", ArrayD::zeros(vec![1, 28, 28]));
    write("last.npy", ArrayD::zeros(vec![28, 28, 1]));
    write("nan.npy", ArrayD::from_elem(vec![1, 28, 28], f32::NAN));
    ndarray_npy::write_npy(folder.path().join("f64.npy"), &Array1::<f64>::zeros(784)).unwrap();
    let whole = std::fs::read(folder.path().join("x.npy")).unwrap();
    std::fs::write(folder.path().join("short.npy"), &whole[..whole.len() - 100]).unwrap();
    std::fs::write(folder.path().join("empty.npy"), []).unwrap();
    let refused = |words: &str, said: &[&str]| refused_in(folder.path(), &format!("evaluate {words}"), said);
    refused("--t 5 -o out.npy", &["--x FILE.npy", "missing"]);
    refused("--x x.npy -o out.npy", &["--t", "0 to 999"]);
    refused("--x x.npy --t 1000 -o out.npy", &["--t 1000", "T = 1000"]);
    refused("--x x.npy --t 5 --label sneakr -o out.npy", &["--label sneakr", "sneaker"]);
    refused("--x x.npy --t 5 --network encoder -o out.npy", &["--network encoder", "denoiser"]);
    refused("--x x.npy --t 5 --precision int4 -o out.npy", &["--precision int4", "int8"]);
    refused("--x x.npy --t 5 --input y=x.npy -o out.npy", &["--input y", "one of x"]);
    refused("--x x.npy --t 5 --input y -o out.npy", &["--input", "NAME=FILE"]);
    refused("--x x.npy --t 5 -o out.png", &["--output", ".npy"]);
    refused("--x x.npy --t 5 -o missing/out.npy", &["missing/out.npy"]);
    refused("--x x.npy --t 5", &["--output"]);
    for (file, said) in [
        ("last.npy", "[1, 28, 28] or [N, 1, 28, 28]"),
        ("nan.npy", "value 0 is NaN"),
        ("f64.npy", "float32"),
        ("short.npy", "100 bytes short"),
        ("empty.npy", "not a whole .npy file"),
        ("none.npy", "No such file"),
    ] {
        refused(&format!("--x {file} --t 5 -o out.npy"), &[&format!("--x {file}"), said]);
    }
}
