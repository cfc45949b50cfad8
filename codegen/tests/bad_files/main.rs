//! Hostile and broken model files: each gives one error that names what is wrong.

mod fields;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::{
    Activation, Add, Attention, Builder, ChannelBias, Conv2d, Embedding, Function, GroupNorm, LABEL, Linear, Parameter,
    Port, PortKind, Sinusoid, T, X,
};
use grano_codegen::load::{load, parse, serialize};
use grano_codegen::model::{DENOISER, Data, Defaults, Header, METADATA_KEY, Model, Ranges, StepList, VERSION};
use grano_codegen::schedule::{Method, Prediction};
use grano_codegen::{Build, Precision, Result, Target};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A denoiser of two classes, with a sampler of its own and ranges.
fn header() -> Header {
    let mut b = Builder::new([1, 4, 4], 2);
    b.node("time", Sinusoid { dim: 2, max_period: 100.0 }, &[T]);
    b.node("class", Embedding { dim: 2 }, &[LABEL]);
    b.node("both", Add {}, &["time", "class"]);
    b.node("rows", Linear { out_features: 3 }, &["both"]);
    b.node("conv", Conv2d { out_channels: 3, ..Conv2d::same(3) }, &[X]);
    b.node("biased", ChannelBias {}, &["conv", "rows"]);
    b.node("norm", GroupNorm { groups: 1, eps: 1e-5 }, &["biased"]);
    b.node("act", Activation { function: Function::ClippedSilu { limit: 4.0 } }, &["norm"]);
    b.node("out", Conv2d::same(1), &["act"]);
    let range = vec![[-1.0, 1.0], [-2.0, 2.0]];
    let values = ["x", "conv", "biased", "norm", "act", "out"].map(|name| (name.to_string(), range.clone())).into();
    Header {
        version: VERSION,
        networks: BTreeMap::from([(DENOISER.to_string(), b.finish("out").unwrap())]),
        schedule: NoiseSchedule { kind: ScheduleKind::DDPM_LINEAR, steps: 10 },
        prediction: Prediction::Epsilon,
        samplers: [("short".to_string(), StepList { rule: "ddim".into(), times: vec![7, 3] })].into(),
        data: Data { labels: vec!["cat".into(), "dog".into()], range: [-1.0, 1.0] },
        ranges: [(DENOISER.to_string(), Ranges { times: vec![2, 8], values, fine: Vec::new() })].into(),
        likelihood: None,
        labels: BTreeMap::new(),
        defaults: Defaults { sampler: "ddim-2".into(), guidance: 1.0 },
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors() -> Tensors {
    let parameters = header().networks[DENOISER].parameters().unwrap();
    let values = |shape: &[usize]| (0..shape.iter().product()).map(|i: usize| i as f32 / 10.0 - 0.3).collect();
    parameters.into_iter().map(|p| (format!("{DENOISER}.{}", p.name), (p.shape.clone(), values(&p.shape)))).collect()
}

fn parsed(bytes: &[u8]) -> Result<Model> {
    parse(bytes, Path::new("m.safetensors"))
}

/// A file with this header's JSON, and the tensors.
fn file(json: &str) -> Vec<u8> {
    let tensors = tensors();
    let bytes: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_string(), json.to_string())]))).unwrap()
}

/// The message for a file whose header JSON was changed.
fn with_header(change: impl FnOnce(&mut Value)) -> String {
    let mut json = serde_json::to_value(header()).unwrap();
    change(&mut json);
    message(&file(&json.to_string()))
}

/// What is said of a file.
fn message(bytes: &[u8]) -> String {
    let message = parsed(bytes).unwrap_err().to_string();
    assert!(message.starts_with("m.safetensors: ") && !message.contains('\n'), "{message}");
    message
}

/// The message for a file whose tensors were changed.
fn with_tensors(change: impl Fn(&mut Tensors)) -> String {
    let mut tensors = tensors();
    change(&mut tensors);
    message(&serialize(&header(), &tensors).unwrap())
}

#[test]
fn a_sound_file_is_read() {
    let model = parsed(&serialize(&header(), &tensors()).unwrap()).unwrap();
    assert_eq!(model.header, header());
    assert_eq!(model.denoiser().unwrap().parameters["out.bias"], [-0.3]);
    Build::of(Arc::new(model)).generate("sound").unwrap();
}

#[test]
fn version_1_is_read_as_version_2() {
    let mut json = serde_json::to_value(header()).unwrap();
    let nodes = json["networks"][DENOISER]["nodes"].clone();
    let graph = json!({ "input": [1, 4, 4], "classes": 2, "nodes": nodes, "output": "out" });
    (json["version"], json["networks"][DENOISER]) = (1.into(), graph);
    assert_eq!(parsed(&file(&json.to_string())).unwrap().header, header());
    let said = |change: fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json["networks"][DENOISER]);
        message(&file(&json.to_string()))
    };
    for (change, words) in [
        (
            (|graph| graph["input"] = json!([1, -4, 4])) as fn(&mut Value),
            "network \"denoiser\": `input`: invalid value",
        ),
        (
            |graph| drop(graph.as_object_mut().unwrap().remove("classes")),
            "network \"denoiser\": field `classes` is missing",
        ),
        (|graph| graph["output"] = json!(["out"]), "network \"denoiser\": `output`: invalid type"),
        (|graph| graph["outputs"] = json!(["conv"]), "network \"denoiser\": version 1 has no field `outputs`"),
        (|graph| graph["nodes"][4]["out_channels"] = json!("3"), "node \"conv\": invalid type: string \"3\""),
    ] {
        let message = said(change);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn shipped_models_are_read() {
    for name in ["fashion", "fashion-fast", "reference"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../models/{name}.safetensors"));
        let model = load(&path).unwrap();
        assert_eq!((model.header.version, model.denoiser().unwrap().graph.input()), (VERSION, [1, 28, 28]));
    }
}

/// The limit of the planner's work is far from what the shipped model takes in budgets that its boards have.
#[test]
fn shipped_models_are_planned_to_the_end() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.safetensors");
    for (flash, ram) in [(250 << 10, 43 << 10), (usize::MAX, 24_200)] {
        let build = Build::new(&path).target(Target::CortexM0).flash_budget(flash).ram_budget(ram);
        assert_eq!(build.generate("fashion").unwrap().warnings, [""; 0]);
    }
}

#[test]
fn a_header_of_before_predictions_and_step_lists_is_read() {
    let mut json = serde_json::to_value(header()).unwrap();
    for field in ["prediction", "samplers"] {
        json.as_object_mut().unwrap().remove(field).unwrap();
    }
    let sound = Header { samplers: BTreeMap::new(), ..header() };
    assert_eq!(parsed(&file(&json.to_string())).unwrap().header, sound);
}

#[test]
fn samplers_are_the_models_own_first() {
    let list = StepList { rule: "ddim-eta0.5".into(), times: vec![7, 3, 0] };
    let samplers = ["short", "ddim-2"].map(|name| (name.to_string(), list.clone())).into();
    let model = parsed(&serialize(&Header { samplers, ..header() }, &tensors()).unwrap()).unwrap();
    let header = &model.header;
    for name in ["short", "ddim-2"] {
        let spec = header.sampler(name).unwrap();
        assert_eq!((&spec.name[..], spec.steps), (name, 3));
        assert_eq!(spec.method, Method::named("ddim-eta0.5").unwrap());
        assert_eq!(spec.time_indices(header.schedule.steps).unwrap(), list.times);
    }
    assert_eq!(header.sampler("ddim-3").unwrap().time_indices(10).unwrap(), [8, 5, 1]);
    let unknown = header.sampler("long").unwrap_err().to_string();
    assert!(unknown.contains("\"long\"") && unknown.contains("own: ddim-2, short"), "{unknown}");
}

#[test]
fn files_that_are_no_models_name_the_file() {
    let whole = serialize(&header(), &tensors()).unwrap();
    let mut huge_header = whole.clone();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let foreign = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), Some(metadata)).unwrap();
    for bytes in [&[][..], b"not a model", &whole[..whole.len() - 3], &whole[..40], &huge_header, &foreign] {
        let error = parsed(bytes).unwrap_err().to_string();
        assert!(error.starts_with("m.safetensors: ") && error.contains("export"), "{error}");
    }
}

#[test]
fn overlapping_tensors_are_refused() {
    let bytes = serialize(&header(), &tensors()).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut json: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    json["denoiser.norm.weight"]["data_offsets"] = json["denoiser.norm.bias"]["data_offsets"].clone();
    let text = json.to_string();
    let hostile = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes[8 + length..]].concat();
    assert!(message(&hostile).contains("not a whole safetensors file"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let missing = with_tensors(|t| drop(t.remove("denoiser.conv.bias")));
    assert!(missing.contains("`denoiser.conv.bias`") && missing.contains("missing"), "{missing}");
    let shape = with_tensors(|t| drop(t.insert("denoiser.conv.bias".into(), (vec![2], vec![0.0; 2]))));
    assert!(shape.contains("`denoiser.conv.bias`") && shape.contains("[2]") && shape.contains("[3]"), "{shape}");
    let nan = with_tensors(|t| t.get_mut("denoiser.conv.weight").unwrap().1[4] = f32::NAN);
    assert!(nan.contains("`denoiser.conv.weight`") && nan.contains("value 4 is NaN"), "{nan}");
    let extra = with_tensors(|t| drop(t.insert("denoiser.other".into(), (vec![1], vec![0.0]))));
    assert!(extra.contains("\"denoiser.other\""), "{extra}");
}

#[test]
fn a_wrong_dtype_is_named() {
    let json = serde_json::to_string(&header()).unwrap();
    let zeros = [0u8; 1000];
    let tensors = tensors();
    let views = tensors.iter().map(|(name, (shape, values))| {
        let (dtype, bytes) = if name == "denoiser.conv.bias" { (Dtype::F16, 2) } else { (Dtype::F32, 4) };
        (name.as_str(), TensorView::new(dtype, shape.clone(), &zeros[..bytes * values.len()]).unwrap())
    });
    let bytes = safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_string(), json)]))).unwrap();
    let error = message(&bytes);
    assert!(error.contains("`denoiser.conv.bias`: it is F16; weights are stored as F32"), "{error}");
}

#[test]
fn inputs_that_do_not_lie_side_by_side_are_named() {
    let conv = |stride, padding| Conv2d {
        out_channels: 1,
        kernel: [3; 2],
        stride: [stride; 2],
        padding: [padding; 2].into(),
        upsample: [1; 2],
        groups: 1,
    };
    let mut b = Builder::new([1, 4, 4], 0);
    b.node("half", conv(2, 1), &[X]);
    b.node("both", conv(1, 1), &[X, "half"]);
    let error = b.finish("both").unwrap_err().to_string();
    assert!(error.contains("`both`") && error.contains("equal height and width"), "{error}");
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = serde_json::to_string(&header()).unwrap();
    let twice = text.replacen("\"version\":2", "\"version\":2,\"version\":1", 1);
    assert!(message(&file(&twice)).contains("the field \"version\" stands twice"));
}

#[test]
fn a_learned_variance_is_not_taken_for_a_prediction() {
    let mut b = Builder::new([3, 4, 4], 0);
    b.node("out", Conv2d { out_channels: 6, ..Conv2d::same(1) }, &[X]);
    let error = b.finish("out").unwrap().check_denoiser().unwrap_err().to_string();
    assert!(error.contains("`out`") && error.contains("6 channels for 3 is a learned variance"), "{error}");
    let mut b = Builder::new([3, 4, 4], 0);
    b.node("out", Conv2d { out_channels: 3, stride: [2; 2], ..Conv2d::same(3) }, &[X]);
    let error = b.finish("out").unwrap().check_denoiser().unwrap_err().to_string();
    assert!(error.contains("`out`") && error.contains("give the same shape"), "{error}");
    let ports = |name: &str, kind| vec![Port { name: name.into(), kind }];
    for (inputs, words) in [
        (ports("z", PortKind::Map([3, 4, 4])), "`z`: a denoiser has the inputs `x`, a map"),
        (ports(X, PortKind::Vector(3)), "`x`: a denoiser has the inputs `x`, a map"),
    ] {
        let name = inputs[0].name.clone();
        let mut b = Builder::with_ports(inputs);
        b.node("out", Activation { function: Function::Silu }, &[&name]);
        let error = b.finish("out").unwrap().check_denoiser().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Small files that claim much are refused before anything of that size is made.
#[test]
fn small_files_that_claim_much_are_refused() {
    let chain = |count: usize, node: fn(usize) -> Value| {
        with_header(move |header| {
            let graph = &mut header["networks"][DENOISER];
            graph["nodes"] = (0..count).map(node).collect();
            graph["outputs"] = json!([format!("n{}", count - 1)]);
        })
    };
    let many =
        chain(513, |i| json!({"name": format!("n{i}"), "op": "activation", "function": "silu", "inputs": ["x"]}));
    assert!(many.contains("the graph has 513 nodes; give 1 to 512"), "{many}");
    let wide = chain(1, |_| json!({"name": "n0", "op": "linear", "out_features": 65_536, "inputs": ["x"]}));
    assert!(wide.contains("tensor `denoiser.n0.weight`: missing"), "{wide}");
    let high = chain(1, |_| {
        json!({"name": "n0", "op": "conv2d", "out_channels": 65_536, "kernel": [1, 1], "stride": [1, 1],
               "padding": [0, 0], "upsample": [16, 16], "inputs": ["x"]})
    });
    assert!(high.contains("node `n0`: a map of [65536, 64, 64]; at most 4194304 elements"), "{high}");
    let mut b = Builder::new([1, 2048, 2048], 0);
    b.node("q", Attention { heads: 1 }, &[X, X, X]);
    for i in 0..8 {
        let before = if i == 0 { "q".to_string() } else { format!("q{}", i - 1) };
        b.node(format!("q{i}"), Attention { heads: 1 }, &[&before, &before, &before]);
    }
    let error = b.finish("q7").unwrap_err().to_string();
    assert!(error.contains("`q7`") && error.contains("281474976710656 multiply–accumulates"), "{error}");
    let text = format!("{{\"version\":2,\"x\":\"{}\"}}", "y".repeat(5 << 20));
    assert!(message(&file(&text)).contains("bytes of the `grano` header: 5242900, more than 4194304"));
    let deep = "[".repeat(100_000);
    assert!(message(&file(&deep)).contains("recursion limit"));
}

/// Steps and classes, each few enough, whose tables would fill the memory.
#[test]
fn rows_of_time_and_class_are_bounded() {
    let mut header = header();
    header.schedule.kind = ScheduleKind::Cosine;
    header.schedule.steps = 20_000;
    header.ranges.clear();
    let mut b = Builder::new([1, 4, 4], 2);
    b.node("time", Sinusoid { dim: 1024, max_period: 100.0 }, &[T]);
    b.node("rows", Linear { out_features: 3 }, &["time"]);
    b.node("conv", Conv2d { out_channels: 3, ..Conv2d::same(3) }, &[X]);
    b.node("biased", ChannelBias {}, &["conv", "rows"]);
    b.node("out", Conv2d::same(1), &["biased"]);
    let graph = b.finish("out").unwrap();
    let tensor =
        |p: Parameter| (format!("{DENOISER}.{}", p.name), (p.shape.clone(), vec![0.1; p.shape.iter().product()]));
    let tensors = graph.parameters().unwrap().into_iter().map(tensor).collect();
    header.networks.insert(DENOISER.into(), graph);
    let model = Arc::new(parsed(&serialize(&header, &tensors).unwrap()).unwrap());
    let build = Build::of(model).precision(Precision::F32);
    build.clone().samplers(["ddim-20"]).measure().unwrap();
    let error = build.clone().samplers(["ancestral-9000", "ancestral-8000"]).measure().unwrap_err().to_string();
    assert!(error.contains("steps of all samplers of the build: 17000, more than 16384"), "{error}");
    let error = build.samplers(["ancestral-9000"]).measure().unwrap_err().to_string();
    assert!(error.contains("9003 rows of time and class: elements: ") && error.contains("fewer samplers"), "{error}");
}

/// Numbers that f32 holds, and a kernel's constants do not: the error names the layer.
#[test]
fn constants_that_numbers_do_not_hold_are_named() {
    let generate = |weight: f32, precision| {
        let mut tensors = tensors();
        tensors.get_mut("denoiser.conv.weight").unwrap().1.fill(weight);
        let model = parsed(&serialize(&header(), &tensors).unwrap()).unwrap();
        Build::of(Arc::new(model)).precision(precision).generate("m").map(drop)
    };
    for (weight, precision, words) in [
        (1e5, Precision::F16, "node `conv`: a weight of 1e5, which f16 does not hold"),
        (3e38, Precision::Int8, "node `biased`: its sums do not fit into int32"),
    ] {
        let error = generate(weight, precision).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    generate(1e5, Precision::F32).unwrap();
    let mut header = header();
    header.defaults.guidance = f32::NAN;
    let networks = parsed(&serialize(&self::header(), &tensors()).unwrap()).unwrap().networks;
    let model = Model { header, networks, sha256: String::new() };
    let error = Build::of(Arc::new(model)).generate("m").unwrap_err().to_string();
    assert!(error.contains("defaults.guidance is NaN"), "{error}");
}

proptest! {
    /// Whatever bytes are flipped, loading returns.
    #[test]
    fn corruption_never_panics(flips in prop::collection::vec((0usize..2000, any::<u8>()), 1..8), cut in 0usize..2000) {
        let mut bytes = serialize(&header(), &tensors()).unwrap();
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        let _ = parsed(&bytes);
        let _ = parsed(&bytes[..cut.min(bytes.len())]);
    }
}
