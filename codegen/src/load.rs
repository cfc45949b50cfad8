//! Reads and writes model files. Nothing in a file is trusted: sizes and offsets are checked by
//! `safetensors`, everything above them here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::model::{Header, METADATA_KEY, Model, Network, VERSION};

/// Reads a model file.
///
/// # Errors
/// Names the file, tensor or node that is wrong, and what to do.
pub fn load(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    parse(&bytes, path)
}

/// Reads a model from a file's bytes; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Model> {
    let not_safetensors = |error| Error::file(path, format!("not a whole safetensors file ({error}); export it again"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY)).ok_or_else(|| {
        Error::file(
            path,
            format!("no `{METADATA_KEY}` in its metadata: not a grano model; make one with `grano-train export`"),
        )
    })?;
    let mut header = header(text, path)?;
    let mut unclaimed: BTreeSet<String> = tensors.names().into_iter().map(String::from).collect();
    let mut networks = BTreeMap::new();
    for (name, graph) in &mut header.networks {
        graph.sort()?;
        let parameters = parameters(name, graph, &tensors, &mut unclaimed)?;
        networks.insert(name.clone(), Network { graph: graph.clone(), parameters });
    }
    if let Some(name) = unclaimed.first() {
        return Err(Error::tensor(name, "no node of the graph has a parameter of this name"));
    }
    header.schedule.betas()?;
    for name in header.samplers.keys() {
        header.sampler(name)?.time_indices(header.schedule.steps)?;
    }
    if header.data.range != [-1.0, 1.0] {
        return Err(Error::file(path, format!("data range {:?}; grano knows [-1, 1]", header.data.range)));
    }
    for (name, graph) in &header.networks {
        if graph.classes != header.data.labels.len() {
            return Err(Error::file(
                path,
                format!(
                    "network `{name}` has {} classes, but {} labels are named",
                    graph.classes,
                    header.data.labels.len()
                ),
            ));
        }
    }
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Model { header, networks, sha256 })
}

/// Makes a model file's bytes.
///
/// # Errors
/// When tensors and graph do not fit each other.
pub fn serialize(header: &Header, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Vec<u8>> {
    let json = serde_json::to_string(header).map_err(|error| Error::Model(format!("header: {error}")))?;
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), &shape[..], values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
            view.map(|view| (*name, view)).map_err(|error| Error::tensor(name, error.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(METADATA_KEY.to_string(), json)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| Error::Model(format!("safetensors: {error}")))
}

/// Parses the header in three steps, so that a wrong version or an unknown op is named as such.
fn header(text: &str, path: &Path) -> Result<Header> {
    let bad = |error: serde_json::Error| Error::file(path, format!("bad `{METADATA_KEY}` header: {error}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
    let version = value["version"].as_u64();
    if version != Some(VERSION.into()) {
        let found = version.map_or("missing".to_string(), |version| version.to_string());
        return Err(Error::file(
            path,
            format!("header version {found}; this grano reads version {VERSION}: export the model again"),
        ));
    }
    let graphs = value["networks"].as_object().into_iter().flat_map(|networks| networks.values());
    for node in graphs.filter_map(|graph| graph["nodes"].as_array()).flatten() {
        if let Err(error) = serde_json::from_value::<Node>(node.clone()) {
            return Err(Error::node(node["name"].as_str().unwrap_or("(unnamed)"), error.to_string()));
        }
    }
    serde_json::from_value(value).map_err(bad)
}

fn parameters(
    network: &str,
    graph: &Graph,
    tensors: &SafeTensors<'_>,
    unclaimed: &mut BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut parameters = BTreeMap::new();
    for parameter in graph.parameters()? {
        let name = format!("{network}.{}", parameter.name);
        let view = tensors.tensor(&name).map_err(|_| Error::tensor(&name, "missing; the graph needs it"))?;
        unclaimed.remove(&name);
        if view.dtype() != Dtype::F32 {
            return Err(Error::tensor(&name, format!("it is {:?}; weights are stored as F32", view.dtype())));
        }
        if view.shape() != parameter.shape {
            return Err(Error::tensor(
                &name,
                format!("its shape is {:?}; the graph needs {:?}", view.shape(), parameter.shape),
            ));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::tensor(&name, format!("value {at} is {}; the training diverged", values[at])));
        }
        parameters.insert(parameter.name, values);
    }
    Ok(parameters)
}
