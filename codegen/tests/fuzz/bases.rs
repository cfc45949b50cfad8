//! Sound files, from which mutations start.

use std::collections::BTreeMap;

use grano_codegen::graph::{Activation, Add, Builder, Conv2d, Function, Graph, GroupNorm, Linear, Port, PortKind};
use grano_codegen::load::serialize;
use grano_codegen::model::{Header, Ranges};
use grano_networks::{blocks, calibrate, mixer, toy};
use serde_json::{Value, json};

use super::case::Case;

/// Denoisers with every op between them, one of them as version 1 holds it, and networks of other kinds.
pub fn all() -> Vec<Case> {
    let [toy, mixer, blocks] = [toy::model, mixer::model, blocks::model].map(|model| Case::of(&model().unwrap()));
    vec![version_1(&toy), toy, mixer, blocks, others()]
}

/// The same as version 1 holds it.
pub fn version_1(case: &Case) -> Case {
    let mut old = case.clone();
    old.header["version"] = json!(1);
    for graph in old.header["networks"].as_object_mut().unwrap().values_mut() {
        let ports = graph["inputs"].as_array().unwrap();
        let of = |kind: &str| ports.iter().find_map(|port| port.get(kind)).cloned();
        let (input, classes) = (of("map").unwrap(), of("label").map_or(json!(0), |label| label["classes"].clone()));
        let (nodes, output) = (graph["nodes"].clone(), graph["outputs"][0].clone());
        *graph = json!({ "input": input, "classes": classes, "nodes": nodes, "output": output });
    }
    old
}

/// An encoder with a vector among its inputs and two outputs, and a classifier.
fn others() -> Case {
    let port = |name: &str, kind| Port { name: name.into(), kind };
    let mut b =
        Builder::with_ports(vec![port("picture", PortKind::Map([2, 6, 6])), port("style", PortKind::Vector(3))]);
    b.node("stem", Conv2d { out_channels: 4, stride: [2; 2], ..Conv2d::same(3) }, &["picture"]);
    b.node("norm", GroupNorm { groups: 2, eps: 1e-5 }, &["stem"]);
    b.node("silu", Activation { function: Function::ClippedSilu { limit: 4.0 } }, &["norm"]);
    b.node("latent", Conv2d { out_channels: 2, ..Conv2d::same(1) }, &["silu"]);
    b.node("of.picture", Linear { out_features: 3 }, &["silu"]);
    b.node("of.style", Linear { out_features: 3 }, &["style"]);
    b.node("mood", Add {}, &["of.picture", "of.style"]);
    let encoder = b.finish_all(&["latent", "mood"]).unwrap();
    let mut b = Builder::with_ports(vec![port("latent", PortKind::Map([2, 3, 3]))]);
    b.node("logits", Linear { out_features: 5 }, &["latent"]);
    let networks: BTreeMap<String, Graph> =
        [("encoder".to_string(), encoder), ("classifier".to_string(), b.finish("logits").unwrap())].into();
    let mut random = calibrate::random(7);
    let mut tensors = BTreeMap::new();
    let mut ranges = BTreeMap::new();
    for (name, graph) in &networks {
        for parameter in graph.parameters().unwrap() {
            let values = (0..parameter.shape.iter().product()).map(|_| random()).collect();
            tensors.insert(format!("{name}.{}", parameter.name), (parameter.shape, values));
        }
        let values = graph.shapes().unwrap().into_keys().map(|value| (value, vec![[-2.0, 3.0]])).collect();
        ranges.insert(name.clone(), Ranges { times: vec![0], values, fine: Vec::new() });
    }
    let header = Header { networks, ranges, ..calibrate::header(10, "ddim-2") };
    Case::of(&serialize(&header, &tensors).unwrap())
}

/// Every string of the bases, for mutations to mix.
pub fn strings(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| strings(value, all)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            all.push(name.clone());
            strings(value, all);
        }),
        _ => {}
    }
}
