//! Operations in process, from graph to kernels: every stored value and every output against the naive reference.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use grano::kernel::Condition;
use grano_codegen::fold::fold;
use grano_codegen::geometry::Padding;
use grano_codegen::graph::{
    Activation, Builder, ChannelGain, Conv2d, Function, Graph, Port, PortKind, ScaleShift, Shape, X,
};
use grano_codegen::load::parse;
use grano_codegen::model::{Model, Network, Ranges};
use grano_codegen::op::Kind;
use grano_codegen::{Build, Precision, Runtime, Target, reference};
use grano_networks::{calibrate, film};
use proptest::prelude::*;

#[path = "../../tests/src/tolerance.rs"]
#[expect(dead_code, reason = "pictures and trajectories have bounds there as well")]
mod tolerance;
use tolerance::{decibels, largest_error, tolerance};

/// A desktop, plain Rust, and chips whose kernels differ.
fn targets() -> [Target; 4] {
    [Target::here(), Target::Portable, Target::CortexM4, Target::CortexM55]
}

/// `[height][width][channels]` as `[channels][height][width]`.
fn channels_first(values: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied()).collect()
}

fn film_model() -> Arc<Model> {
    Arc::new(parse(&film::model().unwrap(), Path::new("film")).unwrap())
}

/// What is stored, by name, and the output.
fn watch(runtime: &Runtime, condition: Condition, x: &[f32]) -> (BTreeMap<String, Vec<f32>>, Vec<f32>) {
    let network = runtime.network("denoiser").unwrap();
    let mut values = BTreeMap::new();
    let outputs = network.watch(condition, &[x], &mut network.arena(), &mut |name, tap, arena| {
        let stored: Vec<f32> = (0..tap.shape.len()).map_while(|index| tap.value(arena, index)).collect();
        values.insert(name.to_string(), channels_first(&stored, tap.shape.channels));
    });
    (values, outputs.concat())
}

#[test]
fn modulated_and_joined_layers_follow_the_reference_on_every_machine() {
    let model = film_model();
    let network = model.denoiser().unwrap();
    let folded = fold(network, &film::TIMES).unwrap();
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        let runtimes = targets()
            .map(|target| Build::of(Arc::clone(&model)).precision(precision).target(target).runtime().unwrap());
        for (step, t) in film::TIMES.into_iter().enumerate() {
            for class in 0..=film::CLASSES {
                let x = film::picture((step * 4 + class) as u32);
                let condition = Condition { step, class };
                let expected = reference::run(network, &x, t, class).unwrap();
                let exact = folded.evaluate(reference::Values::from([(X.to_string(), x.clone())]), step, class);
                for (name, value) in exact.iter().filter(|(name, _)| expected.contains_key(*name)) {
                    assert!(largest_error(value, &expected[name]) < 1e-4, "{name}");
                }
                let runs = runtimes.each_ref().map(|runtime| watch(runtime, condition, &x));
                for ((values, out), target) in runs.iter().zip(targets()) {
                    assert!(values.len() >= 11, "{:?}", values.keys());
                    for (name, value) in values.iter().map(|(name, value)| (name.as_str(), value)).chain([("out", out)])
                    {
                        let ratio = decibels(value, &exact[name], None);
                        let what = format!("{} {} {name} at {condition:?}", precision.name(), target.name());
                        assert!(ratio >= tolerance(precision).layer_db, "{what}: {ratio:.1} dB");
                    }
                    assert!(
                        precision != Precision::Int8 || (values, out) == (&runs[1].0, &runs[1].1),
                        "{}",
                        target.name()
                    );
                }
            }
        }
    }
}

#[test]
fn what_can_be_one_layer_is() {
    let model = film_model();
    let folded = fold(model.denoiser().unwrap(), &film::TIMES).unwrap();
    let kinds: Vec<(&str, &str)> = folded
        .layers
        .iter()
        .map(|layer| {
            let kind = match &layer.kind {
                Kind::Convolution(_) => "convolution",
                Kind::Normalization(_) => "normalisation",
                Kind::ScaleShiftRows(_) => "scale and shift",
                Kind::Concat(_) => "maps side by side",
                _ => "other",
            };
            (layer.name.as_str(), kind)
        })
        .collect();
    let expected = [
        ("stem", "convolution"),
        ("a", "normalisation"),
        ("film.a", "scale and shift"),
        // Both convolutions of three maps read it.
        ("three.inputs", "maps side by side"),
        ("block", "convolution"),
        ("short.gain", "convolution"),
        ("apart.gain", "scale and shift"),
        ("s.inputs", "maps side by side"),
        ("s", "normalisation"),
        ("down.inputs", "maps side by side"),
        ("down", "convolution"),
        ("sum", "convolution"),
        ("out", "convolution"),
    ];
    let named = |kinds: &[(&str, &str)], kind: &str| kinds.iter().filter(|(_, other)| *other == kind).count();
    for (_, kind) in expected {
        assert_eq!(named(&kinds, kind), named(&expected, kind), "{kind}: {kinds:?}");
    }
    assert_eq!(kinds.len(), expected.len(), "{kinds:?}");
}

fn port(name: &str, kind: PortKind) -> Port {
    Port { name: name.into(), kind }
}

#[test]
fn a_scale_that_is_computed_on_the_device_is_refused_by_name() {
    let mut b = Builder::with_ports(vec![port(X, PortKind::Map([3, 2, 2])), port("style", PortKind::Vector(3))]);
    b.node("film", ScaleShift {}, &[X, "style", "style"]);
    let network = calibrate::network(b.finish("film").unwrap(), |_| Vec::new()).unwrap();
    let error = fold(&network, &[0]).unwrap_err().to_string();
    assert!(error.contains("`film`") && error.contains("`style`") && error.contains("`t` and `label`"), "{error}");
}

/// A model of one network without a denoiser's ports, and ranges from one evaluation.
fn model_of(graph: Graph, x: &[f32], seed: u32) -> (Arc<Model>, reference::Values) {
    let mut random = calibrate::random(seed);
    let network: Network =
        calibrate::network(graph, |parameter| (0..parameter.shape.iter().product()).map(|_| random()).collect())
            .unwrap();
    let values = reference::evaluate(&network, &BTreeMap::from([(X, x)]), 0, 0).unwrap();
    let ends = |value: &Vec<f32>| value.iter().fold([0.0f32; 2], |[low, high], &v| [low.min(v), high.max(v)]);
    let ranges = Ranges {
        times: vec![0],
        values: values.iter().map(|(name, value)| (name.clone(), vec![ends(value)])).collect(),
        fine: Vec::new(),
    };
    let mut header = calibrate::header(100, "ddim-2");
    header.ranges = BTreeMap::from([("net".to_string(), ranges)]);
    header.networks = BTreeMap::from([("net".to_string(), network.graph.clone())]);
    let networks = BTreeMap::from([("net".to_string(), network)]);
    (Arc::new(Model { header, networks, sha256: String::new() }), values)
}

/// How a convolution's result goes on.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It leaves the network as f32.
    Head,
    /// With an activation.
    Activated,
    /// Another convolution reads it.
    Read,
}

prop_compose! {
    /// A convolution with padding of its own on every side, and the shape of its input.
    fn convolutions()(
        kernel in [1usize..=4, 1usize..=4],
        stride in [1usize..=3, 1usize..=3],
        upsample in [1usize..=2, 1usize..=2],
        size in [1usize..=7, 1usize..=9],
        before in [0usize..=3, 0usize..=3],
        after in [0usize..=4, 0usize..=4],
        channels in (1usize..=9, 1usize..=9),
        is_depthwise in any::<bool>(),
        is_square in any::<bool>(),
    ) -> ([usize; 3], Conv2d) {
        let kernel = if is_square { [3; 2] } else { kernel };
        let stride = if is_square { [stride[0].min(2); 2] } else { stride };
        // Some window meets the map, and the kernel fits.
        let before = [0, 1].map(|axis| before[axis].min(kernel[axis] + size[axis] * upsample[axis] - 1));
        let after = [0, 1].map(|axis| {
            let padded = size[axis] * upsample[axis] + before[axis] + after[axis];
            after[axis] + kernel[axis].saturating_sub(padded)
        });
        let (out_channels, groups) = if is_depthwise { (channels.0, channels.0) } else { (channels.1, 1) };
        let padding = Padding { before, after };
        ([channels.0, size[0], size[1]], Conv2d { out_channels, kernel, stride, padding, upsample, groups })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn padding_per_side_is_that_of_the_reference(
        ([channels, height, width], conv) in convolutions(),
        end in prop_oneof![Just(End::Head), Just(End::Activated), Just(End::Read)],
        seed in any::<u32>(),
    ) {
        let mut b = Builder::with_ports(vec![port(X, PortKind::Map([2, height, width]))]);
        b.node("before", Conv2d { out_channels: channels, ..Conv2d::same(1) }, &[X]);
        b.node("conv", conv, &["before"]);
        let output = match end {
            End::Head => "conv".to_string(),
            End::Activated => b.node("activated", Activation { function: Function::Silu }, &["conv"]),
            End::Read => b.node("after", Conv2d { out_channels: 3, ..Conv2d::same(1) }, &["conv"]),
        };
        let graph = b.finish(&output).unwrap();
        let shapes = graph.shapes().unwrap();
        let Shape::Map([out_c, ..]) = shapes[&output] else { panic!("a map") };
        let mut random = calibrate::random(seed);
        let x: Vec<f32> = (0..2 * height * width).map(|_| 3.0 * random()).collect();
        let (model, expected) = model_of(graph, &x, seed ^ 7);
        let pixels: Vec<f32> = (0..height * width).flat_map(|i| [x[i], x[height * width + i]]).collect();
        for precision in [Precision::F32, Precision::Int8] {
            let mut first: Option<Vec<f32>> = None;
            for target in targets() {
                let runtime = Build::of(Arc::clone(&model)).precision(precision).target(target).runtime().unwrap();
                let network = runtime.network("net").unwrap();
                let out = network.evaluate(Condition { step: 0, class: 0 }, &[&pixels]).unwrap().concat();
                // Half a code of each of two maps, and weights of eight bits.
                let ratio = decibels(&channels_first(&out, out_c), &expected[&output], None);
                prop_assert!(ratio >= tolerance(precision).layer_db, "{} {}: {:.1} dB", precision.name(), target.name(), ratio);
                if precision == Precision::Int8 {
                    let first = first.get_or_insert_with(|| out.clone());
                    prop_assert_eq!(&out, &*first, "{}", target.name());
                }
            }
        }
    }
}

#[test]
fn a_gain_that_follows_nothing_has_a_kernel() {
    let mut b = Builder::with_ports(vec![port(X, PortKind::Map([3, 2, 4]))]);
    b.node("gain", ChannelGain {}, &[X]);
    let x: Vec<f32> = (0..24u8).map(|i| f32::from(i) / 12.0 - 1.0).collect();
    let (model, expected) = model_of(b.finish("gain").unwrap(), &x, 3);
    let pixels: Vec<f32> = (0..8).flat_map(|i| [x[i], x[8 + i], x[16 + i]]).collect();
    for precision in [Precision::F32, Precision::Int8] {
        let runtime = Build::of(Arc::clone(&model)).precision(precision).target(Target::Portable).runtime().unwrap();
        let out = runtime.network("net").unwrap().evaluate(Condition { step: 0, class: 0 }, &[&pixels]).unwrap();
        let ratio = decibels(&channels_first(&out[0], 3), &expected["gain"], None);
        assert!(ratio >= tolerance(precision).layer_db, "{ratio:.1} dB");
    }
}
