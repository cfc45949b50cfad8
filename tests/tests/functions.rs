//! Element-wise functions, products, pools and softmaxes, and models of several networks, in process: against the naive
//! reference, value by value, on every kind of machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use grano::network::Condition;
use grano_codegen::graph::Shape;
use grano_codegen::load::parse;
use grano_codegen::model::{CLASSIFIER, DENOISER, Model, Network};
use grano_codegen::runtime::Runtime;
use grano_codegen::{Build, Precision, Target, reference};
use grano_networks::{functions, trio};
use grano_tests::models::channels_first;
use grano_tests::tolerance::{decibels, tolerance};

const TARGETS: [Target; 4] = [Target::here(), Target::Portable, Target::CortexM4, Target::CortexM55];
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Int8];

/// What a network reads in a case.
struct Case {
    network: &'static str,
    inputs: BTreeMap<String, Vec<f32>>,
    t: usize,
    label: usize,
}

/// Every value that a network leaves in its memory and every output, `[channels, height, width]`.
type Values = Vec<(String, Vec<f32>)>;

fn model(bytes: Vec<u8>) -> Arc<Model> {
    Arc::new(parse(&bytes, Path::new("made up")).unwrap())
}

/// `[channels, height, width]` to `[height, width, channels]`.
fn channels_last(map: &[f32], channels: usize) -> Vec<f32> {
    channels_first(map, map.len() / channels)
}

fn run(runtime: &Runtime, network: &Network, case: &Case) -> Values {
    let running = runtime.network(case.network).unwrap();
    let inputs: Vec<Vec<f32>> = network
        .graph
        .inputs
        .iter()
        .filter_map(|port| Some(channels_last(case.inputs.get(&port.name)?, Shape::from(port.kind).map()?[0])))
        .collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let condition = Condition { step: running.row(case.t).unwrap(), class: case.label };
    running.check(condition, &inputs).unwrap();
    let mut values = Values::new();
    let outputs = running.watch(condition, &inputs, &mut running.arena(), &mut |name, tap, memory| {
        let value: Vec<f32> = (0..tap.shape.len()).map_while(|i| tap.value(memory, i)).collect();
        values.push((name.into(), channels_first(&value, tap.shape.channels)));
    });
    assert_eq!(outputs, running.evaluate(condition, &inputs).unwrap());
    for ((name, shape), value) in running.compiled().outputs.iter().zip(outputs) {
        values.push((name.clone(), channels_first(&value, shape[0])));
    }
    values
}

/// Holds every value of every case to the reference, in every precision on every machine; integers to the same bits on all.
fn assert_follows(model: &Arc<Model>, cases: &[Case], least_values: usize) {
    for precision in PRECISIONS {
        let runtimes =
            TARGETS.map(|target| Build::of(Arc::clone(model)).precision(precision).target(target).runtime().unwrap());
        for case in cases {
            let network = &model.networks[case.network];
            let inputs = case.inputs.iter().map(|(port, value)| (port.as_str(), &value[..])).collect();
            let expected = reference::evaluate(network, &inputs, case.t, case.label).unwrap();
            let all = runtimes.each_ref().map(|runtime| run(runtime, network, case));
            for (values, target) in all.iter().zip(TARGETS) {
                assert!(values.len() >= least_values, "{}", values.len());
                for (name, value) in values {
                    let ratio = decibels(value, &expected[name], None);
                    let place = format!("{} {} {name} on {}", precision.name(), case.network, target.name());
                    assert!(ratio >= tolerance(precision).layer_db, "{place}: {ratio:.1} dB");
                }
                if precision == Precision::Int8 {
                    assert_eq!(values.len(), all[0].len());
                    assert!(values.iter().all(|value| all[0].contains(value)), "other bits on {}", target.name());
                }
            }
        }
    }
}

#[test]
fn awkward_functions_products_pools_and_softmaxes_are_right_in_every_precision() {
    let case = |seed: u32| {
        let calibrate = functions::inputs(100 + seed);
        Case { network: functions::NAME, inputs: calibrate.values, t: 0, label: calibrate.label }
    };
    assert_follows(&model(functions::model().unwrap()), &[0, 1, 2].map(case), 30);
}

/// A noisy picture for the denoiser or the classifier.
fn picture(network: &'static str, seed: u32) -> Case {
    let x = trio::noise(100 + seed, trio::HEIGHT * trio::WIDTH);
    let (t, label) = (trio::TIMES[seed as usize % 4], seed as usize % (trio::LABELS.len() + 1));
    Case { network, inputs: BTreeMap::from([("x".to_string(), x)]), t, label }
}

#[test]
fn a_denoiser_beside_others_is_right_in_every_precision() {
    let cases = [0, 1, 2, 3].map(|seed| picture(DENOISER, seed));
    assert_follows(&model(trio::model().unwrap()), &cases, 6);
}

#[test]
fn a_classifier_and_its_gradient_are_right_in_every_precision() {
    let cases = [0, 1, 2, 3].map(|seed| picture(CLASSIFIER, seed));
    assert_follows(&model(trio::model().unwrap()), &cases, 18);
}

#[test]
fn a_decoder_is_right_in_every_precision() {
    let latent = |seed: u32| BTreeMap::from([("z".to_string(), trio::noise(seed, trio::LATENT.iter().product()))]);
    let case = |seed: u32| Case { network: trio::DECODER, inputs: latent(100 + seed), t: 0, label: 0 };
    assert_follows(&model(trio::model().unwrap()), &[0, 1].map(case), 5);
}

/// log p(label | x_t) by the reference.
fn log_probability(classifier: &Network, x: &[f32], t: usize, label: usize) -> f64 {
    let values = reference::run(classifier, x, t, label).unwrap();
    let logits: Vec<f64> = values["logits"].iter().map(|&v| v.into()).collect();
    logits[label] - logits.iter().map(|v| v.exp()).sum::<f64>().ln()
}

#[test]
fn the_gradient_is_that_of_the_log_probability() {
    const STEP: f32 = 1.0 / 64.0;
    let classifier = trio::classifier_network().unwrap();
    for (seed, label) in [(200, 0), (201, 1), (202, 2)] {
        let x = trio::noise(seed, trio::HEIGHT * trio::WIDTH);
        let gradient = reference::run(&classifier, &x, 37, label).unwrap()["gradient"].clone();
        let largest = gradient.iter().fold(0.0, |a: f64, &b| a.max(f64::from(b).abs()));
        for (pixel, &gradient) in gradient.iter().enumerate() {
            let moved = |step: f32| {
                let mut x = x.clone();
                x[pixel] += step;
                (log_probability(&classifier, &x, 37, label), f64::from(x[pixel]))
            };
            let [(low, from), (high, to)] = [moved(-STEP), moved(STEP)];
            let difference = (high - low) / (to - from);
            // Logits are f32, which leaves 1e-5 of a difference; the step's square, a thousandth of it.
            let error = (difference - f64::from(gradient)).abs();
            assert!(error <= 2e-3 * largest, "pixel {pixel}: {gradient}, but {difference}");
        }
    }
}
