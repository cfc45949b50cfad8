//! The header's JSON. Errors name the network, the port or node, and the field.
//!
//! Version 2 says which ports a network has. In version 1 every network is a denoiser, with the ports `x`, `t` and `label`:
//! `input` is x's shape, `classes` the number of classes, `output` the name of the only output. It is read as version 2.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::graph::{Node, Port, denoiser_ports};
use crate::limits::quoted;
use crate::model::{Header, METADATA_KEY, VERSION};

/// The oldest version that is read.
const OLDEST: u32 = 1;

/// Reads a header of any version.
///
/// # Errors
/// Names what is wrong.
pub(super) fn parse(text: &str) -> Result<Header> {
    let wrong = |error: serde_json::Error| bad("", &error);
    let mut header: Value = super::json::parse(text).map_err(wrong)?;
    let version = header["version"].as_u64().and_then(|version| u32::try_from(version).ok());
    match version {
        Some(version) if (OLDEST..=VERSION).contains(&version) => {}
        Some(version) if version > VERSION => {
            return Err(Error::Model(format!(
                "header version {version}; this grano reads versions {OLDEST} to {VERSION}: build with a newer grano, or export the model with this one"
            )));
        }
        _ => {
            return Err(Error::Model(format!(
                "header version {}; this grano reads versions {OLDEST} to {VERSION}: export the model again",
                shown(&header["version"])
            )));
        }
    }
    let Some(networks) = header.get_mut("networks").and_then(Value::as_object_mut) else {
        return Err(Error::Model("header: `networks` is missing, or no object of networks by name".into()));
    };
    for (name, graph) in networks {
        check_graph(graph, version == Some(1)).map_err(|error| match error {
            Error::Model(reason) => Error::Model(format!("network {}: {reason}", quoted(name))),
            error => error,
        })?;
    }
    // serde does not see unknown fields beside those that say which kind of schedule or port it is.
    only(&header["schedule"], &["kind", "steps", "beta_start", "beta_end", "sigma_min", "sigma_max"])
        .map_err(|field| unknown("`schedule`", &field))?;
    header["version"] = VERSION.into();
    serde_json::from_value(header).map_err(wrong)
}

/// That every port and node of a network can be read, which is turned into version 2.
fn check_graph(graph: &mut Value, is_version_1: bool) -> Result<()> {
    let Some(graph) = graph.as_object_mut() else {
        return Err(Error::Model("no object of `inputs`, `nodes` and `outputs`".into()));
    };
    if is_version_1 {
        let input = take(graph, "input")?;
        let classes = take(graph, "classes")?;
        let output: String = take(graph, "output")?;
        for (field, value) in [("inputs", json!(denoiser_ports(input, classes))), ("outputs", json!([output]))] {
            if graph.insert(field.into(), value).is_some() {
                return Err(Error::Model(format!("version 1 has no field `{field}`; remove it, or write version 2")));
            }
        }
    }
    each::<Port>(graph, "inputs", "input")?;
    for (index, port) in graph["inputs"].as_array().into_iter().flatten().enumerate() {
        // A name and one kind.
        let mut kinds = ["map", "vector", "time", "label"].into_iter().filter(|kind| port.get(kind).is_some());
        let kind = kinds.next().unwrap_or_default();
        only(port, &["name", kind]).map_err(|field| unknown(&format!("input number {index}"), &field))?;
    }
    each::<Node>(graph, "nodes", "node")?;
    each::<String>(graph, "outputs", "output")
}

/// That an object has no other fields than these.
///
/// # Errors
/// The field.
fn only(object: &Value, fields: &[&str]) -> Result<(), String> {
    let names = object.as_object().into_iter().flat_map(Map::keys);
    names.into_iter().find(|name| !fields.contains(&name.as_str())).map_or(Ok(()), |name| Err(quoted(name)))
}

fn unknown(what: &str, field: &str) -> Error {
    Error::Model(format!("{what}: unknown field {field}; remove it"))
}

/// A field of version 1, which leaves the graph.
fn take<T: DeserializeOwned>(graph: &mut Map<String, Value>, field: &str) -> Result<T> {
    let value = graph.remove(field).ok_or_else(|| Error::Model(format!("field `{field}` is missing")))?;
    serde_json::from_value(value).map_err(|error| bad(&format!("`{field}`"), &error))
}

/// That every element of a list can be read.
fn each<T: DeserializeOwned>(graph: &Map<String, Value>, field: &str, what: &str) -> Result<()> {
    let Some(list) = graph.get(field).and_then(Value::as_array) else {
        return Err(Error::Model(format!("field `{field}` is missing, or no list")));
    };
    for (index, value) in list.iter().enumerate() {
        let name = || value["name"].as_str().map_or_else(|| format!("number {index}"), quoted);
        serde_json::from_value::<T>(value.clone()).map_err(|error| bad(&format!("{what} {}", name()), &error))?;
    }
    Ok(())
}

/// What serde says of a value, on one line; it may quote the file.
fn bad(what: &str, error: &serde_json::Error) -> Error {
    let reason = crate::limits::one_line(&error.to_string());
    let reason: String = reason.chars().take(500).collect();
    let what = if what.is_empty() { format!("bad `{METADATA_KEY}` header") } else { what.into() };
    Error::Model(format!("{what}: {reason}"))
}

/// A value for a message.
fn shown(value: &Value) -> String {
    if value.is_null() { "missing".into() } else { quoted(&value.to_string()) }
}
