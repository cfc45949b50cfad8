//! Hostile and broken model files: each gives one error that names what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use grano_codegen::Result;
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::{Builder, Function, Op, X};
use grano_codegen::load::{parse, serialize};
use grano_codegen::model::{DENOISER, Data, Defaults, Header, METADATA_KEY, Model, StepList, VERSION};
use grano_codegen::schedule::{Method, Prediction};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

fn header() -> Header {
    let conv =
        Op::Conv2d { out_channels: 1, kernel: [3; 2], stride: [1; 2], padding: [1; 2], upsample: [1; 2], groups: 1 };
    let mut b = Builder::new([1, 4, 4], 0);
    b.node("conv", conv, &[X]);
    b.node("silu", Op::Activation { function: Function::Silu }, &["conv"]);
    Header {
        version: VERSION,
        networks: BTreeMap::from([(DENOISER.to_string(), b.finish("silu").unwrap())]),
        schedule: NoiseSchedule { kind: ScheduleKind::Cosine, steps: 10 },
        prediction: Prediction::Epsilon,
        samplers: BTreeMap::new(),
        data: Data { labels: Vec::new(), range: [-1.0, 1.0] },
        ranges: BTreeMap::new(),
        likelihood: None,
        defaults: Defaults { sampler: "ddim-2".into(), guidance: 1.0 },
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors() -> Tensors {
    BTreeMap::from([
        ("denoiser.conv.weight".to_string(), (vec![1, 1, 3, 3], vec![0.5; 9])),
        ("denoiser.conv.bias".to_string(), (vec![1], vec![0.1])),
    ])
}

fn parsed(bytes: &[u8]) -> Result<Model> {
    parse(bytes, Path::new("m.safetensors"))
}

/// The message for a file whose header JSON was changed.
fn with_header(change: impl Fn(&mut serde_json::Value)) -> String {
    let mut json = serde_json::to_value(header()).unwrap();
    change(&mut json);
    let tensors = tensors();
    let bytes: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata = HashMap::from([(METADATA_KEY.to_string(), json.to_string())]);
    parsed(&safetensors::serialize(views, Some(metadata)).unwrap()).unwrap_err().to_string()
}

/// The message for a file whose tensors were changed.
fn with_tensors(change: impl Fn(&mut Tensors)) -> String {
    let mut tensors = tensors();
    change(&mut tensors);
    parsed(&serialize(&header(), &tensors).unwrap()).unwrap_err().to_string()
}

#[test]
fn a_sound_file_is_read() {
    let model = parsed(&serialize(&header(), &tensors()).unwrap()).unwrap();
    assert_eq!(model.header, header());
    assert_eq!(model.denoiser().unwrap().parameters["conv.bias"], [0.1]);
}

#[test]
fn a_header_of_before_predictions_and_step_lists_is_read() {
    let mut json = serde_json::to_value(header()).unwrap();
    for field in ["prediction", "samplers"] {
        json.as_object_mut().unwrap().remove(field).unwrap();
    }
    assert_eq!(serde_json::from_value::<Header>(json).unwrap(), header());
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
    assert!(unknown.contains("`long`") && unknown.contains("own: ddim-2, short"), "{unknown}");
}

#[test]
fn bad_step_lists_name_the_sampler() {
    for (list, words) in [
        (json!({"rule": "ddim", "times": []}), "0 steps"),
        (json!({"rule": "ddim", "times": [10, 1]}), "time index 10"),
        (json!({"rule": "ddim", "times": [5, 5]}), "5 after 5"),
        (json!({"rule": "euler", "times": [5]}), "`euler`"),
    ] {
        let error = with_header(|header| header["samplers"]["short"] = list.clone());
        assert!(error.contains("`short`") && error.contains(words), "{error}");
    }
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
    let text = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    // The second tensor's bytes begin where the first one's do.
    let overlapping = text.replacen("[4,40]", "[0,36]", 1);
    let text = if overlapping == text { text.replacen("[36,40]", "[ 0, 4]", 1) } else { overlapping };
    let mut hostile = bytes.clone();
    hostile.splice(8..8 + length, text.into_bytes());
    let length = (hostile.len() - 40 - 8) as u64;
    hostile[..8].copy_from_slice(&length.to_le_bytes());
    assert_ne!(hostile, bytes);
    assert!(parsed(&hostile).unwrap_err().to_string().starts_with("m.safetensors: "));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let missing = with_tensors(|t| drop(t.remove("denoiser.conv.bias")));
    assert!(missing.contains("`denoiser.conv.bias`") && missing.contains("missing"), "{missing}");
    let shape = with_tensors(|t| drop(t.insert("denoiser.conv.bias".into(), (vec![2], vec![0.0; 2]))));
    assert!(shape.contains("`denoiser.conv.bias`") && shape.contains("[2]") && shape.contains("[1]"), "{shape}");
    let nan = with_tensors(|t| t.get_mut("denoiser.conv.weight").unwrap().1[4] = f32::NAN);
    assert!(nan.contains("`denoiser.conv.weight`") && nan.contains("value 4 is NaN"), "{nan}");
    let extra = with_tensors(|t| drop(t.insert("denoiser.other".into(), (vec![1], vec![0.0]))));
    assert!(extra.contains("`denoiser.other`"), "{extra}");
}

#[test]
fn a_wrong_dtype_is_named() {
    let json = serde_json::to_string(&header()).unwrap();
    let (weight, bias) = ([0u8; 36], [0u8; 2]);
    let views = [
        ("denoiser.conv.weight", TensorView::new(Dtype::F32, vec![1, 1, 3, 3], &weight).unwrap()),
        ("denoiser.conv.bias", TensorView::new(Dtype::F16, vec![1], &bias).unwrap()),
    ];
    let bytes = safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_string(), json)]))).unwrap();
    let error = parsed(&bytes).unwrap_err().to_string();
    assert!(error.contains("`denoiser.conv.bias`") && error.contains("F16"), "{error}");
}

#[test]
fn graphs_that_cannot_be_computed_name_the_node() {
    let node =
        |change: fn(&mut serde_json::Value)| with_header(|json| change(&mut json["networks"][DENOISER]["nodes"]));
    let unknown = node(|nodes| nodes[1]["op"] = "warp".into());
    assert!(unknown.contains("`silu`") && unknown.contains("warp") && unknown.contains("conv2d"), "{unknown}");
    let cycle = node(|nodes| nodes[0]["inputs"][0] = "silu".into());
    assert!(cycle.contains("cycle"), "{cycle}");
    let dangling = node(|nodes| nodes[1]["inputs"][0] = "nowhere".into());
    assert!(dangling.contains("`silu`") && dangling.contains("`nowhere`"), "{dangling}");
    let twins = node(|nodes| nodes[1]["name"] = "conv".into());
    assert!(twins.contains("`conv`"), "{twins}");
    let huge = node(|nodes| nodes[0]["padding"] = json!([u64::MAX, 1]));
    assert!(huge.contains("`conv`"), "{huge}");
    let zero = node(|nodes| nodes[0]["stride"] = json!([0, 1]));
    assert!(zero.contains("`conv`"), "{zero}");
    let vector = node(|nodes| nodes[0]["inputs"][0] = "t".into());
    assert!(vector.contains("`conv`") && vector.contains("map"), "{vector}");
    let groups = node(|nodes| nodes[0]["groups"] = 2.into());
    assert!(groups.contains("`conv`") && groups.contains("2 groups"), "{groups}");
    let none = node(|nodes| nodes[0]["groups"] = 0.into());
    assert!(none.contains("`conv`") && none.contains("0 groups"), "{none}");
    let norm = |groups: u64, eps: f64| {
        with_header(move |json| {
            let node = json!({"name": "silu", "op": "group_norm", "groups": groups, "eps": eps, "inputs": ["x"]});
            json["networks"][DENOISER]["nodes"][1] = node;
        })
    };
    for error in [norm(2, 1e-5), norm(0, 1e-5), norm(1, 0.0)] {
        assert!(error.contains("`silu`") && error.contains("multiple of `groups`"), "{error}");
    }
    let attention = |heads: u64, inputs: [&'static str; 3]| {
        with_header(move |json| {
            json["networks"][DENOISER]["nodes"][1] =
                json!({"name": "silu", "op": "attention", "heads": heads, "inputs": inputs});
        })
    };
    let heads = attention(2, ["x", "x", "x"]);
    assert!(heads.contains("`silu`") && heads.contains("2 heads of 1 channels"), "{heads}");
    let shapes = attention(1, ["x", "x", "t"]);
    assert!(shapes.contains("`silu`") && shapes.contains("equal shape"), "{shapes}");
}

#[test]
fn inputs_that_do_not_lie_side_by_side_are_named() {
    let conv = |stride, padding| Op::Conv2d {
        out_channels: 1,
        kernel: [3; 2],
        stride: [stride; 2],
        padding: [padding; 2],
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
fn headers_from_elsewhere_are_refused() {
    let version = with_header(|json| json["version"] = 7.into());
    assert!(version.contains("version 7") && version.contains("version 1"), "{version}");
    let labels = with_header(|json| json["data"]["labels"] = json!(["cat"]));
    assert!(labels.contains("labels"), "{labels}");
    let schedule = with_header(|json| json["schedule"]["steps"] = 0.into());
    assert!(schedule.contains("noise schedule"), "{schedule}");
    let input = with_header(|json| json["networks"][DENOISER]["input"] = json!([1, u64::MAX, 4]));
    assert!(input.contains("input") || input.contains("header"), "{input}");
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
