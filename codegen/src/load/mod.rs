//! Reads and writes model files. Nothing in a file is trusted: sizes and offsets are checked by `safetensors`, JSON by
//! `header`, what it says by `check`, how much it asks for by [`crate::limits`]. What is read compiles, or one error
//! says what is wrong, where, and what to do.

mod check;
mod header;
mod json;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::limits::{MOST_FILE_BYTES, MOST_HEADER_BYTES, MOST_NETWORKS, at_most, check_name, quoted};
use crate::model::{Header, METADATA_KEY, Model, Network};

pub(crate) use check::check;

/// Reads a model file.
///
/// # Errors
/// Names the file, and the field, tensor or node that is wrong, and says what to do.
pub fn load(path: &Path) -> Result<Model> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Error::io(path, error))?;
    file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, error))?;
    parse(&bytes, path)
}

/// Reads a model from a file's bytes; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Model> {
    let in_file = |error: Error| match error {
        error @ (Error::Io { .. } | Error::File { .. }) => error,
        error => Error::file(path, error.to_string()),
    };
    read(bytes, path).map_err(in_file)
}

fn read(bytes: &[u8], path: &Path) -> Result<Model> {
    if bytes.len() as u64 > MOST_FILE_BYTES {
        return Err(Error::file(path, format!("more than {MOST_FILE_BYTES} bytes: no model for a small chip")));
    }
    let not_safetensors = |error: safetensors::SafeTensorError| {
        Error::file(path, format!("not a whole safetensors file ({}); export it again", quoted(&error.to_string())))
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY)).ok_or_else(|| {
        Error::file(
            path,
            format!("no `{METADATA_KEY}` in its metadata: not a grano model; make one with `grano-train export`"),
        )
    })?;
    at_most(&format!("bytes of the `{METADATA_KEY}` header"), text.len(), MOST_HEADER_BYTES)?;
    let mut header = header::parse(text)?;
    at_most("networks", header.networks.len(), MOST_NETWORKS)?;
    let mut unclaimed: BTreeSet<String> = tensors.names().into_iter().map(String::from).collect();
    let mut networks = BTreeMap::new();
    for (name, graph) in &mut header.networks {
        check_name("network", name)?;
        graph.sort()?;
        let parameters = parameters(name, graph, &tensors, &mut unclaimed)?;
        networks.insert(name.clone(), Network { graph: graph.clone(), parameters });
    }
    if let Some(name) = unclaimed.first() {
        return Err(Error::Model(format!(
            "tensor {}: no node of the graph has a parameter of this name",
            quoted(name)
        )));
    }
    check(&header)?;
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

/// A network's tensors, which leave `unclaimed`.
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
