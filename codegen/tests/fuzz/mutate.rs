//! Mutations: of the header's JSON tree, of the tensors, of the file's bytes.

use grano_codegen::graph::Graph;
use grano_codegen::{Precision, Purpose, Target};
use serde_json::{Number, Value, json};

use super::bases::strings;
use super::case::{Case, Order, Tensor};
use super::random::Random;

/// Names that something might not bear.
const HOSTILE: [&str; 22] = [
    "",
    " ",
    "a\ncargo::rustc-env=X=yes",
    "a\rb",
    "\u{0}",
    "\u{2028}",
    "\u{202e}",
    "self",
    "fn",
    "g",
    "MODEL",
    "x",
    "t",
    "label",
    "denoiser",
    "\"; } panic!(); //",
    "*/",
    "</title><script>",
    "../../x",
    "ä",
    "ddim-99999999999999999999",
    "a`b",
];

/// Numbers at which something ends.
const WHOLE: [u64; 22] =
    [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 63, 127, 128, 255, 256, 2047, 65_535, 65_536, 1 << 24, 1 << 32, 1 << 53, u64::MAX];
const REAL: [f64; 20] = [
    -1.0, -0.0, 0.5, 1e-3, 1e-9, 1e-12, 1e-30, 1e-38, 1e-45, 1e-60, 1e-300, 1e3, 1e6, 1e9, 1e12, 1e30, 3.4e38, 1e39,
    1e300, -1e39,
];

/// The file and the order of a seed.
pub fn case(bases: &[Case], seed: u64) -> (Vec<u8>, Order) {
    let mut random = Random::new(seed);
    let mut case = random.pick(bases).clone();
    // Many changes at once are refused for one of them.
    for _ in 0..1 + random.below(2) {
        match random.below(16) {
            0..12 => {
                change(&mut random, &mut case.header);
                if !random.one_in(4) {
                    repair(&mut random, &mut case);
                }
            }
            12..15 => change_tensor(&mut random, &mut case.tensors),
            _ => {}
        }
    }
    let mut bytes = case.bytes();
    if random.one_in(16) {
        change_bytes(&mut random, &mut bytes);
    }
    (bytes, order(&mut random))
}

fn order(random: &mut Random) -> Order {
    let budget = |random: &mut Random| match random.below(4) {
        0 => random.below(20_000),
        1 => *random.pick(&[0, 1, 1000, 5000]),
        _ => usize::MAX,
    };
    let names = [
        "ddim-1",
        "ddim-2-eta0.5",
        "dpm-3",
        "ancestral-4",
        "ancestral-10-large",
        "consistency-1",
        "ddim-100",
        "euler-2",
    ];
    let samplers = (0..random.below(3)).map(|_| (*random.pick(&names)).to_string()).collect();
    Order {
        precision: *random.pick(&Precision::ALL),
        purpose: if random.one_in(8) { Purpose::Likelihood } else { Purpose::Sampling },
        target: *random.pick(&Target::ALL),
        samplers,
        budgets: [budget(random), budget(random)],
        guided: *random.pick(&[None, Some(false), Some(true)]),
    }
}

/// Number of values in a tree.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The value of a number in a tree, itself being 0.
fn at(value: &mut Value, mut number: usize) -> &mut Value {
    if number == 0 {
        return value;
    }
    number -= 1;
    let children: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(list) => Box::new(list.iter_mut()),
        Value::Object(fields) => Box::new(fields.values_mut()),
        _ => unreachable!("a leaf has no children"),
    };
    for child in children {
        let size = count(child);
        if number < size {
            return at(child, number);
        }
        number -= size;
    }
    unreachable!("a number below the tree's count")
}

/// A place in the header. Ranges are most of it, so that the rest is chosen more often than its size says.
fn place<'a>(random: &mut Random, header: &'a mut Value) -> &'a mut Value {
    let part =
        *random.pick(&["networks", "networks", "networks", "ranges", "schedule", "samplers", "data", "defaults", ""]);
    let root = match header.get(part) {
        Some(_) => &mut header[part],
        None => header,
    };
    let number = random.below(count(root));
    at(root, number)
}

fn change(random: &mut Random, header: &mut Value) {
    let mut words = Vec::new();
    strings(header, &mut words);
    let other = place(random, header).clone();
    let value = place(random, header);
    match value {
        Value::Number(number) => *value = changed_number(random, number),
        Value::String(text) => {
            *text = match random.below(6) {
                0 => (*random.pick(&HOSTILE)).to_string(),
                1 => text.repeat(1 + random.below(40)),
                _ => random.pick(&words).clone(),
            }
        }
        Value::Array(list) if !random.one_in(8) => change_list(random, list, other),
        Value::Object(fields) if !random.one_in(8) && !fields.is_empty() => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = random.pick(&names);
            match random.below(4) {
                0 => drop(fields.remove(name)),
                1 => {
                    let value = fields[name].clone();
                    fields.insert((*random.pick(&HOSTILE)).to_string(), value);
                }
                2 => {
                    let value = fields.remove(name).unwrap_or_default();
                    fields.insert(random.pick(&words).clone(), value);
                }
                _ => drop(fields.insert(random.pick(&words).clone(), other)),
            }
        }
        _ => {
            *value = match random.below(5) {
                0 => Value::Null,
                1 => json!(true),
                2 => json!([]),
                3 => json!({}),
                _ => other,
            }
        }
    }
}

fn changed_number(random: &mut Random, number: &Number) -> Value {
    let old = number.as_f64().unwrap_or_default();
    match random.below(8) {
        0 => json!(*random.pick(&WHOLE)),
        1..4 => json!(*random.pick(&WHOLE[..9])),
        4 => json!(*random.pick(&REAL)),
        5 => json!(number.as_u64().unwrap_or_default().wrapping_add(1)),
        6 => json!(number.as_u64().unwrap_or_default().saturating_sub(1)),
        _ => json!(old * *random.pick(&[-1.0, 2.0, 0.5, 10.0, 1e6, 1e-6])),
    }
}

fn change_list(random: &mut Random, list: &mut Vec<Value>, other: Value) {
    let at = random.below(list.len());
    match random.below(8) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 if !list.is_empty() => list.insert(random.below(list.len()), list[at].clone()),
        2 if !list.is_empty() => {
            let with = random.below(list.len());
            list.swap(at, with);
        }
        3 => list.truncate(at),
        4 => list.reverse(),
        5 => list.insert(at, other),
        6 if !list.is_empty() => chain(random, list, at),
        _ => {
            if let Some(value) = list.get_mut(at) {
                *value = other;
            }
        }
    }
}

/// Repeats an element; a node reads its copy before it, so that the graph stays one.
fn chain(random: &mut Random, list: &mut Vec<Value>, at: usize) {
    let times = *random.pick(&[1, 2, 10, 70, 300, 600]);
    for time in 0..times {
        let mut copy = list[at].clone();
        if let Some(name) = copy["name"].as_str().map(str::to_string) {
            let new = format!("{}.{time}", &name[..name.len().min(80)]);
            if !random.one_in(8) {
                copy["name"] = json!(new.chars().filter(char::is_ascii).collect::<String>());
                // What read the one reads the other.
                for reader in list.iter_mut() {
                    let inputs = reader.get_mut("inputs").and_then(Value::as_array_mut);
                    inputs
                        .into_iter()
                        .flatten()
                        .filter(|input| **input == json!(name))
                        .for_each(|input| *input = json!(new));
                }
                let inputs = copy.get_mut("inputs").and_then(Value::as_array_mut);
                if let Some(first) = inputs.and_then(|inputs| inputs.first_mut()) {
                    *first = json!(name);
                }
            }
        }
        list.insert(at, copy);
    }
}

/// Gives the networks the tensors that their graphs now need, where these are small: mutations of a graph are to come
/// further than to the first tensor that does not fit.
fn repair(random: &mut Random, case: &mut Case) {
    let Some(networks) = case.header["networks"].as_object() else { return };
    let mut tensors = Vec::new();
    for (network, graph) in networks {
        let mut graph = graph.clone();
        if let (Some(input), Some(classes), Some(output)) =
            (graph.get("input"), graph.get("classes"), graph.get("output"))
        {
            let ports = json!([
                { "name": "x", "map": input }, { "name": "t", "time": {} }, { "name": "label", "label": { "classes": classes } },
            ]);
            graph = json!({ "inputs": ports, "nodes": graph["nodes"], "outputs": [output] });
        }
        let Ok(mut graph) = serde_json::from_value::<Graph>(graph) else { return };
        let Ok(parameters) = graph.sort().and_then(|()| graph.parameters()) else { return };
        for parameter in parameters {
            let name = format!("{network}.{}", parameter.name);
            let len = parameter.shape.iter().try_fold(1usize, |len, side| len.checked_mul(*side));
            let Some(len) = len.filter(|&len| len <= 1 << 18) else { return };
            let known = case.tensors.iter().find(|tensor| tensor.name == name && tensor.shape == parameter.shape);
            let values = match known {
                Some(tensor) => tensor.values.clone(),
                None => (0..len).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect(),
            };
            tensors.push(Tensor { name, shape: parameter.shape, values });
        }
    }
    case.tensors = tensors;
    // Every value has a range, and every class a label.
    let Some(networks) = case.header["networks"].as_object().cloned() else { return };
    for (network, graph) in &networks {
        let mut words = Vec::new();
        strings(graph, &mut words);
        let nodes = graph["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str());
        let nodes: Vec<String> = nodes.map(str::to_string).collect();
        let Some(ranges) = case.header.get_mut("ranges").and_then(|all| all.get_mut(network)) else { continue };
        let count = ranges["times"].as_array().map_or(0, Vec::len);
        if let Some(values) = ranges.get_mut("values").and_then(Value::as_object_mut) {
            values.retain(|name, _| words.contains(name));
            for node in nodes {
                values.entry(node).or_insert_with(|| json!(vec![[-1.5, 2.5]; count]));
            }
        }
    }
}

fn change_tensor(random: &mut Random, tensors: &mut Vec<Tensor>) {
    if tensors.is_empty() {
        return;
    }
    let at = random.below(tensors.len());
    if random.one_in(12) {
        tensors.remove(at);
        return;
    }
    let extreme = *random.pick(&[
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-45,
        1e-30,
        1e-6,
        100.0,
        7e4,
        1e9,
        1e15,
        1e30,
        3e38,
        -3e38,
        f32::NAN,
        f32::INFINITY,
    ]);
    let tensor = &mut tensors[at];
    match random.below(6) {
        0 => tensor.values.fill(extreme),
        1 => tensor.values.iter_mut().for_each(|value| *value *= extreme),
        2 => tensor.shape.push(1),
        3 => tensor.name += *random.pick(&HOSTILE[..]),
        _ if tensor.values.is_empty() => {}
        _ => {
            let element = random.below(tensor.values.len());
            tensor.values[element] = extreme;
        }
    }
}

fn change_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        // Most of a file is tensors; what stands before them says more.
        let reach = if random.one_in(2) { bytes.len().min(4000) } else { bytes.len() };
        let at = random.below(reach);
        match random.below(5) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.next() as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
}
