//! Generated code against libtorch and against the naive reference, per layer and end to end.

use grano::network::Condition;
use grano::picture::to_u8;
use grano::{Gaussian, Model, Noise, Philox, Request};
use grano_codegen::Precision;
use grano_codegen::graph::{Function, Node, Op};
use grano_codegen::load::{load, parse};
use grano_codegen::op::At;
use grano_codegen::reference;
use grano_networks::{layers, mixer, toy, unet};
use grano_tests::golden::{Golden, Replay};
use grano_tests::models::{self, Draw, Evaluate, Value, fashion, fashion_int8};
use grano_tests::tolerance::{OPERATION_DB, TRAJECTORY, decibels, largest_error, tolerance};
use std::collections::BTreeSet;
use std::path::Path;

const PICTURES: u64 = 64;

/// Rows of the shipped network by time index, as the build script orders them: ascending, of all its samplers.
fn rows() -> Vec<usize> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.safetensors");
    let header = load(&path).unwrap().header;
    let tables = <fashion_int8::FashionInt8 as Model>::SAMPLERS.iter().map(|table| {
        let spec = header.sampler(table.name).unwrap();
        spec.table(&header.schedule, header.prediction).unwrap()
    });
    let times: BTreeSet<usize> = tables.flat_map(|table| table.rows).map(|row| row.t).collect();
    times.into_iter().collect()
}

/// The row of a golden case.
fn row(rows: &[usize], t: usize) -> usize {
    rows.binary_search(&t).expect("a time index of the model's own sampler")
}

#[test]
fn epsilon_equals_libtorchs_at_every_t() {
    let golden = Golden::fashion();
    let (x, epsilon) = (golden.f32("x"), golden.f32("epsilon"));
    let (times, labels, rows) = (golden.indices("t"), golden.indices("label"), rows());
    for precision in Precision::ALL {
        let mut worst = 0.0f32;
        for case in 0..x.len() {
            let condition = Condition { step: row(&rows, times[case]), class: labels[case] };
            let (out, _) = fashion(precision, Evaluate { x: &x[case], condition });
            let error = largest_error(&out, &epsilon[case]);
            worst = worst.max(error);
            assert!(
                error <= tolerance(precision).epsilon,
                "{} at t = {}: off by {error}",
                precision.name(),
                times[case]
            );
        }
        println!("{}: ε off by at most {worst:.2e} over {} cases", precision.name(), x.len());
    }
}

#[test]
fn every_layer_follows_libtorch() {
    let golden = Golden::fashion();
    let x = golden.f32("x");
    let (times, labels, cases) = (golden.indices("t"), golden.indices("label"), golden.indices("value.case"));
    let rows = rows();
    assert!(golden.values().len() >= 5, "{:?}", golden.values());
    for precision in Precision::ALL {
        for (i, &case) in cases.iter().enumerate() {
            let condition = Condition { step: row(&rows, times[case]), class: labels[case] };
            let (_, values) = fashion(precision, Evaluate { x: &x[case], condition });
            for name in golden.values() {
                let (_, value) = values.iter().find(|(other, _)| *other == name).expect("a stored value");
                let ratio = decibels(value, &golden.f32(&format!("value.{name}"))[i], None);
                assert!(
                    ratio >= tolerance(precision).layer_db,
                    "{} {name} at t = {}: {ratio:.1} dB",
                    precision.name(),
                    times[case]
                );
                println!("{} {name} at t = {}: {ratio:.1} dB", precision.name(), times[case]);
            }
        }
    }
}

#[test]
fn a_trajectory_with_injected_noise_equals_libtorchs() {
    let golden = Golden::fashion();
    let label = golden.indices("trajectory.label")[0];
    let draw = Draw {
        sampler: <fashion_int8::FashionInt8 as Model>::SAMPLERS[1].name,
        request: Request { label: Some(label), guidance: 1.0 },
        noise: Replay::new(golden.f32("trajectory.noise")),
    };
    for (step, (x, expected)) in fashion(Precision::F32, draw).iter().zip(golden.f32("trajectory.x")).enumerate() {
        let error = largest_error(x, &expected);
        assert!(error <= TRAJECTORY, "step {step}: off by {error}");
    }
}

fn finished(precision: Precision, picture: u64, guidance: f32) -> Vec<f32> {
    let draw = Draw {
        sampler: <fashion_int8::FashionInt8 as Model>::SAMPLERS[0].name,
        request: Request { label: Some(picture as usize % 10), guidance },
        noise: Gaussian(Philox::new(0, picture)),
    };
    let steps = fashion(precision, draw);
    steps[steps.len() - 1].iter().map(|&v| to_u8(v).into()).collect()
}

#[test]
fn pictures_are_those_of_the_float_network() {
    for guidance in [1.0, 2.0] {
        let references: Vec<_> = (0..PICTURES).map(|i| finished(Precision::F32, i, guidance)).collect();
        for precision in [Precision::F16, Precision::Int8] {
            let mut ratios: Vec<f64> = (0..PICTURES)
                .map(|i| decibels(&finished(precision, i, guidance), &references[i as usize], Some(255.0)).min(99.0))
                .collect();
            ratios.sort_by(f64::total_cmp);
            let (worst, median) = (ratios[0], ratios[ratios.len() / 2]);
            println!("{} guidance {guidance}: PSNR median {median:.1} dB, worst {worst:.1} dB", precision.name());
            let bound = tolerance(precision);
            assert!(median >= bound.median_psnr_db && worst >= bound.worst_psnr_db, "{median:.1} {worst:.1}");
        }
    }
}

/// Holds every stored value and the output of an evaluation to the reference interpreter's.
fn assert_follows(
    precision: Precision,
    evaluation: (Vec<f32>, Vec<Value>),
    expected: &reference::Values,
    output: &str,
) {
    let least = tolerance(precision).layer_db;
    let (out, values) = evaluation;
    for (name, value) in values.into_iter().chain([("", out)]) {
        let name = if name.is_empty() { output } else { name };
        let ratio = decibels(&value, &expected[name], None);
        println!("{} {name}: {ratio:.1} dB", precision.name());
        assert!(ratio >= least, "{} {name}: {ratio:.1} dB", precision.name());
    }
}

#[test]
fn awkward_shapes_are_right_in_every_precision() {
    let model = parse(&toy::model().unwrap(), Path::new("toy")).unwrap();
    let network = model.denoiser().unwrap();
    let header = &model.header;
    let table = |name| header.sampler(name).unwrap().table(&header.schedule, header.prediction).unwrap();
    let mut times: Vec<usize> =
        ["ddim-4", "ancestral-4"].into_iter().flat_map(|name| table(name).rows).map(|row| row.t).collect();
    times.sort_unstable();
    times.dedup();
    for precision in Precision::ALL {
        for (step, &t) in times.iter().enumerate() {
            for class in 0..=3 {
                let x = toy::picture(step as u32 * 4 + class as u32);
                let expected = reference::run(network, &x, t, class).unwrap();
                let evaluation = models::toy(precision, Evaluate { x: &x, condition: Condition { step, class } });
                assert!(evaluation.1.len() >= 8, "{}", evaluation.1.len());
                assert_follows(precision, evaluation, &expected, "out");
            }
        }
    }
}

#[test]
fn a_multistep_trajectory_is_the_tables() {
    let model = parse(&toy::model().unwrap(), Path::new("toy")).unwrap();
    let header = &model.header;
    let table = header.sampler("dpm-4").unwrap().table(&header.schedule, header.prediction).unwrap();
    let mut noise = Gaussian(Philox::new(0, 0));
    let draw = Draw { sampler: "dpm-4", request: Request { label: Some(1), guidance: 1.0 }, noise: noise.clone() };
    let drawn = models::toy(Precision::F32, draw);
    let mut x = toy::picture(0);
    noise.fill(&mut x);
    let mut previous = vec![0.0; x.len()];
    for (row, drawn) in table.rows.iter().zip(&drawn) {
        let values = reference::run(model.denoiser().unwrap(), &x, row.t, 1).unwrap();
        for ((x, previous), &out) in x.iter_mut().zip(&mut previous).zip(&values["out"]) {
            let x0 = (row.k0 * f64::from(*x) - row.k1 * f64::from(out)).clamp(-1.0, 1.0);
            *x = (row.a * x0 + row.b * f64::from(*x) + row.d * *previous) as f32;
            *previous = x0;
        }
        let error = largest_error(drawn, &x);
        assert!(error <= TRAJECTORY, "t = {}: off by {error}", row.t);
    }
}

#[test]
fn awkward_normalisation_attention_and_depthwise_layers_are_right_in_every_precision() {
    let model = parse(&mixer::model().unwrap(), Path::new("mixer")).unwrap();
    for precision in Precision::ALL {
        for (step, t) in mixer::TIMES.into_iter().enumerate() {
            for seed in 0..4 {
                let x = mixer::picture(seed);
                let expected = reference::run(model.denoiser().unwrap(), &x, t, 0).unwrap();
                let evaluation = models::mixer(precision, Evaluate { x: &x, condition: Condition { step, class: 0 } });
                assert!(evaluation.1.len() >= 11, "{}", evaluation.1.len());
                assert_follows(precision, evaluation, &expected, "out");
            }
        }
    }
}

#[test]
fn the_reference_unet_is_right_in_every_precision() {
    let model = parse(&unet::model().unwrap(), Path::new("unet")).unwrap();
    for (step, t) in [125, 375, 625, 875].into_iter().enumerate().step_by(3) {
        let x = unet::picture(100 + t as u32, t);
        let expected = reference::run(model.denoiser().unwrap(), &x, t, 0).unwrap();
        for precision in Precision::ALL {
            let evaluation = models::unet(precision, Evaluate { x: &x, condition: Condition { step, class: 0 } });
            assert_follows(precision, evaluation, &expected, "head");
        }
    }
}

#[test]
fn normalisation_and_attention_cost_little_more_than_a_code() {
    let model = parse(&unet::model().unwrap(), Path::new("unet")).unwrap();
    let network = model.denoiser().unwrap();
    let condition = Condition { step: 2, class: 0 };
    let (_, values) = models::unet(Precision::Int8, Evaluate { x: &unet::picture(3, 625), condition });
    let value = |name: &str| values.iter().find(|(other, _)| *other == name).map(|(_, value)| &value[..]);
    let mut seen = 0;
    let shapes = network.graph.shapes().unwrap();
    for node @ Node { name, op, inputs } in &network.graph.nodes {
        if !matches!(op, Op::GroupNorm(_) | Op::Attention(_)) {
            continue;
        }
        let at = At {
            inputs: inputs.iter().map(|input| value(input).expect("inputs are stored")).collect(),
            shapes: inputs.iter().map(|input| shapes[input]).collect(),
            output: shapes[name],
            parameters: &network.parameters,
            node: &node.name,
            t: 625,
            label: 0,
        };
        let plain = op.operation().reference(&at);
        let (out, expected) = match value(name) {
            Some(out) => (out, plain),
            None => {
                let silu = |v: &f32| Function::Silu.apply(f64::from(*v)) as f32;
                (value(&format!("{name}.silu")).expect("fused"), plain.iter().map(silu).collect())
            }
        };
        let ratio = decibels(out, &expected, None);
        println!("{name}: {ratio:.1} dB");
        assert!(ratio >= OPERATION_DB, "{name}: {ratio:.1} dB");
        seen += 1;
    }
    assert_eq!(seen, 19);
}

#[test]
fn the_tables_layers_are_right_in_every_precision() {
    let model = parse(&layers::model().unwrap(), Path::new("layers")).unwrap();
    let x = layers::picture(100);
    let expected = reference::run(model.denoiser().unwrap(), &x, 50, 0).unwrap();
    for precision in Precision::ALL {
        let evaluation = models::layers(precision, Evaluate { x: &x, condition: Condition { step: 0, class: 0 } });
        for row in layers::ROWS {
            assert!(evaluation.1.iter().any(|(name, _)| *name == row), "{row} is stored");
        }
        assert_follows(precision, evaluation, &expected, "glue_out");
    }
}

#[test]
fn the_reference_interpreter_equals_libtorch() {
    let golden = Golden::fashion();
    let model = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.safetensors")).unwrap();
    let (x, epsilon) = (golden.f32("x"), golden.f32("epsilon"));
    let (times, labels) = (golden.indices("t"), golden.indices("label"));
    for case in [0, x.len() / 2, x.len() - 1] {
        let values = reference::run(model.denoiser().unwrap(), &x[case], times[case], labels[case]).unwrap();
        let error = largest_error(&values[model.networks["denoiser"].graph.output()], &epsilon[case]);
        assert!(error < 1e-4, "t = {}: off by {error}", times[case]);
    }
}
