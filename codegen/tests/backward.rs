//! Gradients that the graph computes against differences of the naive reference, for every operation in random shapes.

use std::collections::BTreeMap;
#[cfg(feature = "runtime")]
use std::{path::Path, sync::Arc};

#[cfg(feature = "runtime")]
use grano::network::Condition;
#[cfg(feature = "runtime")]
use grano_codegen::{Build, Precision, load::parse};
#[cfg(feature = "runtime")]
use grano_networks::calibrate::{self, Inputs, Part};

use grano_codegen::backward::{GRADIENT, log_probability, vector_jacobian};
use grano_codegen::geometry::Padding;
use grano_codegen::graph::{
    Activation, Add, Attention, AveragePool, Builder, ChannelBias, ChannelGain, Conv2d, DepthToSpace, Embedding,
    Function, GlobalAveragePool, GroupNorm, LABEL, Linear, Port, PortKind, Product, ScaleShift, Shape, Sinusoid,
    Softmax, T, X,
};
use grano_codegen::model::Network;
use grano_codegen::reference;
use grano_networks::calibrate::{network, scattered};
use proptest::prelude::*;

/// Classes of the label's port.
const CLASSES: usize = 3;
/// The output.
const OUT: &str = "out";
/// The port of its gradient.
const COTANGENT: &str = "cotangent";

/// A graph from a map `x` `[channels, height, width]`, or a vector of as many channels, to `out`, built by `build` from the value
/// `h`, and its gradient.
fn with_gradient(input: PortKind, build: impl Fn(&mut Builder) -> String) -> Result<[Network; 2], String> {
    let port = |name: &str, kind| Port { name: name.into(), kind };
    let ports = |cotangent: Option<PortKind>| {
        let common = [port(X, input), port(T, PortKind::Time {}), port(LABEL, PortKind::Label { classes: CLASSES })];
        common.into_iter().chain(cotangent.map(|kind| port(COTANGENT, kind))).collect()
    };
    let mut b = Builder::with_ports(ports(None));
    let last = build(&mut b);
    let graph = b.finish(&last).map_err(|error| error.to_string())?;
    let shape = graph.shapes().unwrap()[&last];
    let mut random = scattered(7);
    let forward =
        network(graph, |parameter| (0..parameter.shape.iter().product()).map(|_| random()).collect()).unwrap();
    let mut open = forward.clone();
    open.graph.inputs = ports(Some(match shape {
        Shape::Vector(len) => PortKind::Vector(len),
        shape => PortKind::Map(shape.map().unwrap()),
    }));
    let backward = vector_jacobian(&open, &last, COTANGENT, X, GRADIENT).map_err(|error| error.to_string())?;
    Ok([forward, backward])
}

/// The gradient network in process, in every precision, against the reference: signal to noise over all cases, in dB.
#[cfg(feature = "runtime")]
fn decibels(backward: &Network, precision: Precision) -> f64 {
    let shapes = backward.graph.shapes().unwrap();
    let mut random = scattered(13);
    let mut draw = |port: &str| {
        let len: usize = shapes[port].map().unwrap().iter().product();
        (port.to_string(), (0..len).map(|_| 3.0 * random()).collect::<Vec<f32>>())
    };
    let mut inputs = |label| Inputs { values: BTreeMap::from([draw(X), draw(COTANGENT)]), label };
    let cases: Vec<Inputs> = (0..16).map(|case| inputs(case % (CLASSES + 1))).collect();
    let part = Part { name: "backward", network: backward.clone(), cases: vec![(5, cases.clone())], fine: Vec::new() };
    let mut header = calibrate::header(100, "ddim-1");
    header.data.labels = ["a", "b", "c"].map(String::from).to_vec();
    let model = parse(&calibrate::models(vec![part], header).unwrap(), Path::new("backward")).unwrap();
    let runtime = Build::of(Arc::new(model)).precision(precision).times([5]).runtime().unwrap();
    let running = runtime.network("backward").unwrap();
    let last = |values: &[f32], channels: usize| -> Vec<f32> {
        let area = values.len() / channels;
        (0..values.len()).map(|i| values[i % channels * area + i / channels]).collect()
    };
    let powers = |case: &Inputs| {
        let values = case.values.iter().map(|(port, value)| (port.as_str(), &value[..])).collect();
        let exact = reference::evaluate(backward, &values, 5, case.label).unwrap();
        let by_pixel: Vec<Vec<f32>> =
            [X, COTANGENT].map(|port| last(&case.values[port], shapes[port].map().unwrap()[0])).to_vec();
        let inputs: Vec<&[f32]> = by_pixel.iter().map(Vec::as_slice).collect();
        let condition = Condition { step: running.row(5).unwrap(), class: case.label };
        let outputs = running.evaluate(condition, &inputs).unwrap();
        let place = running.compiled().outputs.iter().position(|(name, _)| name == GRADIENT).unwrap();
        let exact = last(&exact[GRADIENT], shapes[X].map().unwrap()[0]);
        let power = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let noise = power(&mut exact.iter().zip(&outputs[place]).map(|(a, b)| a - b));
        [power(&mut exact.iter().copied()), noise]
    };
    let [signal, noise] = cases.iter().map(powers).fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
    10.0 * (signal / noise.max(1e-30)).log10()
}

/// ⟨cotangent, (f(x + h·u) − f(x − h·u)) / 2h⟩ against ⟨gradient, u⟩ in random directions u.
fn check(input: PortKind, build: impl Fn(&mut Builder) -> String) -> Result<(), String> {
    let [forward, backward] = with_gradient(input, build)?;
    let out = forward.graph.output().to_string();
    let len = |network: &Network, value: &str| -> usize {
        network.graph.shapes().unwrap()[value].map().unwrap().iter().product()
    };
    let (n, m) = (len(&forward, X), len(&forward, &out));
    let mut random = scattered(11);
    let mut draw = |len: usize| (0..len).map(|_| 3.0 * random()).collect::<Vec<f32>>();
    for case in 0..3 {
        let (mut x, u, cotangent) = (draw(n), draw(n), draw(m));
        // Away from where ReLU and clipped SiLU bend.
        x.iter_mut().for_each(|x| *x = ((8.0 * *x).floor() + 0.5) / 8.0);
        let (t, label) = (37 * case, case);
        let inputs = BTreeMap::from([(X, &x[..]), (COTANGENT, &cotangent[..])]);
        let values = reference::evaluate(&backward, &inputs, t, label).unwrap();
        let gradient = &values[GRADIENT];
        assert_eq!(gradient.len(), n);
        let along = |h: f32| {
            let moved: Vec<f32> = x.iter().zip(&u).map(|(x, u)| x + h * u).collect();
            let value = reference::run(&forward, &moved, t, label).unwrap().remove(&out).unwrap();
            value.iter().zip(&cotangent).map(|(v, c)| f64::from(*v) * f64::from(*c)).sum::<f64>()
        };
        const STEP: f32 = 1.0 / 256.0;
        let difference = (along(STEP) - along(-STEP)) / f64::from(2.0 * STEP);
        let product: f64 = gradient.iter().zip(&u).map(|(g, u)| f64::from(*g) * f64::from(*u)).sum();
        let size: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() + 0.1;
        let scale = size * (n as f64).sqrt();
        if (difference - product).abs() > 2e-3 * scale {
            return Err(format!("{difference} by differences, {product} by the gradient, of {scale}"));
        }
    }
    Ok(())
}

fn apply(function: Function) -> Activation {
    Activation { function }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Strides, padding, enlargement, sides and groups of all kinds.
    #[test]
    fn convolutions(
        [channels, out_channels] in [1..4_usize, 1..4_usize],
        [h, w] in [1..9_usize, 1..9_usize],
        kernel in [1..6_usize, 1..6_usize],
        stride in 1..4_usize,
        upsample in [1..4_usize, 1..4_usize],
        pad in [[0..5_usize, 0..5_usize], [0..5_usize, 0..5_usize]],
        is_depthwise: bool,
        is_enlarged: bool,
    ) {
        let sides = |at: usize| [0, 1].map(|axis| pad[at][axis].min(kernel[axis] - 1));
        let padding = Padding { before: sides(0), after: sides(1) };
        let (stride, upsample) = if is_enlarged { ([1; 2], upsample) } else { ([stride; 2], [1; 2]) };
        let fits = [h, w].iter().enumerate().all(|(axis, side)| {
            side * upsample[axis] + padding.before[axis] + padding.after[axis] >= kernel[axis]
        });
        prop_assume!(fits);
        let (out_channels, groups) = if is_depthwise { (channels, channels) } else { (out_channels, 1) };
        let conv = Conv2d { out_channels, kernel, stride, padding, upsample, groups };
        check(PortKind::Map([channels, h, w]), |b| b.node(OUT, conv.clone(), &[X])).map_err(TestCaseError::fail)?;
        // The second of two maps.
        let conv = Conv2d { groups: 1, ..conv };
        let both = |b: &mut Builder| {
            let a = b.node("a", apply(Function::Tanh), &[X]);
            b.node(OUT, conv.clone(), &[&a, X])
        };
        check(PortKind::Map([channels, h, w]), both).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn pools(channels in 1..4_usize, [h, w] in [1..10_usize, 1..10_usize], kernel in [1..4_usize, 1..4_usize], stride in 1..4_usize) {
        let kernel = [kernel[0].min(h), kernel[1].min(w)];
        let map = PortKind::Map([channels, h, w]);
        for stride in [kernel, [stride; 2]] {
            let pool = AveragePool { kernel, stride, padding: [0; 2].into() };
            check(map, |b| b.node(OUT, pool.clone(), &[X])).map_err(TestCaseError::fail)?;
        }
        check(map, |b| b.node(OUT, GlobalAveragePool {}, &[X])).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn element_wise_functions_channels_and_matrices() {
    let all = [
        Function::Silu,
        Function::ClippedSilu { limit: 0.5 },
        Function::Tanh,
        Function::Sigmoid,
        Function::Gelu,
        Function::GeluTanh,
        Function::Relu,
    ];
    for input in [PortKind::Map([4, 3, 5]), PortKind::Map([4, 1, 1]), PortKind::Vector(4)] {
        for function in all {
            check(input, |b| b.node(OUT, apply(function), &[X]))
                .unwrap_or_else(|error| panic!("{function:?}: {error}"));
        }
        check(input, |b| b.node(OUT, Softmax {}, &[X])).unwrap();
        check(input, |b| b.node(OUT, Linear { out_features: 3 }, &[X])).unwrap();
        check(input, |b| b.node(OUT, Add {}, &[X, X])).unwrap();
        check(input, |b| b.node(OUT, Product {}, &[X, X])).unwrap();
        let both = |b: &mut Builder| {
            let a = b.node("a", apply(Function::Silu), &[X]);
            let c = b.node("c", apply(Function::Tanh), &[&a]);
            let sum = b.node("sum", Add {}, &[&a, &c]);
            b.node(OUT, Product {}, &[&sum, &a])
        };
        check(input, both).unwrap();
        let time = |b: &mut Builder| {
            b.node("angles", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
            b.node(OUT, ChannelBias {}, &[X, "angles"])
        };
        check(input, time).unwrap();
    }
    let map = PortKind::Map([4, 3, 5]);
    check(map, |b| b.node(OUT, DepthToSpace { block: 2 }, &[X])).unwrap();
    check(PortKind::Map([18, 2, 3]), |b| b.node(OUT, DepthToSpace { block: 3 }, &[X])).unwrap();
    check(map, |b| b.node(OUT, ChannelGain {}, &[X])).unwrap();
    let film = |b: &mut Builder| {
        b.node("scale", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("shift", Embedding { dim: 4 }, &[LABEL]);
        let a = b.node("a", ScaleShift {}, &[X, "scale", "shift"]);
        b.node(OUT, Product {}, &[&a, "scale"])
    };
    check(map, film).unwrap();
    let vector_to_map = |b: &mut Builder| {
        let v = b.node("v", Linear { out_features: 5 }, &[X]);
        b.node(OUT, Conv2d { out_channels: 2, upsample: [3, 4], ..Conv2d::same(1) }, &[&v])
    };
    check(map, vector_to_map).unwrap();
}

/// What gradients are made of runs in floating point and on integers.
#[cfg(feature = "runtime")]
#[test]
fn gradients_run_on_integers() {
    let conv = |out_channels, kernel, stride| Conv2d { out_channels, stride: [stride; 2], ..Conv2d::same(kernel) };
    type Step = Box<dyn Fn(&mut Builder) -> String>;
    let graphs: [(&str, Step); 6] = [
        ("stride", Box::new(move |b| b.node(OUT, conv(5, 3, 2), &[X]))),
        ("enlarged", Box::new(move |b| b.node(OUT, Conv2d { upsample: [2; 2], ..conv(5, 3, 1) }, &[X]))),
        ("mean", Box::new(|b| b.node(OUT, GlobalAveragePool {}, &[X]))),
        ("matrix", Box::new(|b| b.node(OUT, Linear { out_features: 6 }, &[X]))),
        (
            "pool",
            Box::new(|b| b.node(OUT, AveragePool { kernel: [2; 2], stride: [2; 2], padding: [0; 2].into() }, &[X])),
        ),
        (
            "residual",
            Box::new(move |b| {
                let a = b.node("a", conv(6, 3, 2), &[X]);
                let a = b.node("a.silu", apply(Function::Silu), &[&a]);
                let c = b.node("c", conv(6, 3, 1), &[&a]);
                let c = b.node("c.add", Add {}, &[&c, &a]);
                let c = b.node("c.silu", apply(Function::ClippedSilu { limit: 4.0 }), &[&c]);
                let mean = b.node("mean", GlobalAveragePool {}, &[&c]);
                b.node(OUT, Linear { out_features: 3 }, &[&mean])
            }),
        ),
    ];
    for (name, build) in graphs {
        let [_, backward] = with_gradient(PortKind::Map([4, 7, 5]), build).unwrap();
        for (precision, least) in [(Precision::F32, 90.0), (Precision::F16, 40.0), (Precision::Int8, 18.0)] {
            let decibels = decibels(&backward, precision);
            assert!(decibels > least, "{name}, {}: {decibels:.1} dB", precision.name());
        }
    }
}

/// One-dimensional maps with a stride along their axis alone.
#[test]
fn strides_of_series() {
    for kernel in 1..6 {
        let padding = [0, kernel / 2].into();
        let conv =
            Conv2d { out_channels: 3, kernel: [1, kernel], stride: [1, 2], padding, upsample: [1; 2], groups: 1 };
        check(PortKind::Map([2, 1, 11]), |b| b.node(OUT, conv.clone(), &[X])).unwrap();
    }
}

#[test]
fn what_has_no_gradient_is_named() {
    let map = PortKind::Map([4, 4, 4]);
    let message = |build: fn(&mut Builder) -> String| check(map, build).unwrap_err();
    let known = [
        (message(|b| b.node(OUT, GroupNorm { groups: 2, eps: 1e-5 }, &[X])), "no backward pass"),
        (message(|b| b.node(OUT, Attention { heads: 2 }, &[X, X, X])), "no backward pass"),
        (
            message(|b| b.node(OUT, AveragePool { kernel: [3; 2], stride: [2; 2], padding: [1; 2].into() }, &[X])),
            "windows with padding",
        ),
        (message(|b| b.node(OUT, Conv2d { padding: [3; 2].into(), ..Conv2d::same(3) }, &[X])), "as wide as its kernel"),
        (message(|b| b.node(OUT, Conv2d { stride: [1, 2], ..Conv2d::same(3) }, &[X])), "strides that differ"),
        (
            message(|b| b.node(OUT, Conv2d { stride: [2; 2], upsample: [2; 2], ..Conv2d::same(3) }, &[X])),
            "both stride and enlargement",
        ),
    ];
    for (message, part) in known {
        assert!(message.starts_with("node `out`: ") && message.contains(part), "{message}");
    }
    let [forward, backward] = with_gradient(map, |b| b.node(OUT, apply(Function::Silu), &[X])).unwrap();
    let refused = |network: &Network, values: [&str; 4], part: &str| {
        let [output, cotangent, input, name] = values;
        let error = vector_jacobian(network, output, cotangent, input, name).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&forward, ["other", OUT, X, "g"], "no node or input of that name");
    refused(&forward, [OUT, "other", X, "g"], "no node or input of that name");
    refused(&forward, [OUT, OUT, T, "g"], "inputs that are maps or vectors");
    refused(&forward, [OUT, OUT, X, OUT], "has this name already");
    refused(&forward, [OUT, T, X, "g"], "the gradient of `out` is");
    refused(&backward, [OUT, COTANGENT, COTANGENT, "g"], "does not depend on `cotangent`");
    assert!(log_probability(&forward, OUT).unwrap_err().to_string().contains("no vector of that name"));
}

/// log p(label | x) itself by differences, and for "no class" the mean of all.
#[test]
fn probabilities_of_classes_rise_along_their_gradients() {
    let port = |name: &str, kind| Port { name: name.into(), kind };
    for has_label in [false, true] {
        let label = has_label.then(|| port(LABEL, PortKind::Label { classes: CLASSES }));
        let mut b = Builder::with_ports([port(X, PortKind::Map([1, 5, 6]))].into_iter().chain(label).collect());
        let conv = Conv2d { out_channels: 4, stride: [2; 2], ..Conv2d::same(3) };
        let a = b.node("conv", conv, &[X]);
        let a = b.node("silu", apply(Function::Silu), &[&a]);
        b.node("logits", Linear { out_features: CLASSES }, &[&a]);
        let mut random = scattered(3);
        let values = |parameter: &grano_codegen::graph::Parameter| {
            (0..parameter.shape.iter().product()).map(|_| random()).collect()
        };
        let forward = network(b.finish("logits").unwrap(), values).unwrap();
        let backward = log_probability(&forward, "logits").unwrap();
        assert_eq!(backward.graph.outputs, ["logits", GRADIENT]);
        let mut random = scattered(5);
        let [x, u]: [Vec<f32>; 2] = std::array::from_fn(|_| (0..30).map(|_| 2.0 * random()).collect());
        for label in 0..=CLASSES {
            let log_p = |h: f32| {
                let moved: Vec<f32> = x.iter().zip(&u).map(|(x, u)| x + h * u).collect();
                let logits = reference::run(&forward, &moved, 0, 0).unwrap().remove("logits").unwrap();
                let total = logits.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
                let log_p: Vec<f64> = logits.iter().map(|v| f64::from(*v) - total).collect();
                log_p.get(label).copied().unwrap_or(log_p.iter().sum::<f64>() / CLASSES as f64)
            };
            let difference = (log_p(0.005) - log_p(-0.005)) / 0.01;
            let gradient = reference::run(&backward, &x, 0, label).unwrap().remove(GRADIENT).unwrap();
            let product: f64 = gradient.iter().zip(&u).map(|(g, u)| f64::from(*g) * f64::from(*u)).sum();
            assert!((difference - product).abs() < 1e-3, "label {label}: {difference} {product}");
        }
    }
}
