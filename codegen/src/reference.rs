//! The naive interpreter: what a graph means, without a thought for speed.
//!
//! f32 values, f64 sums in a fixed order. Passes, kernels and libtorch are compared with it.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::{LABEL, PortKind, Shape, T, X};
use crate::model::Network;
use crate::op::At;

/// A value of the graph, `[channels, height, width]` or a vector, row-major.
pub type Values = BTreeMap<String, Vec<f32>>;

/// Every value of a denoiser for one picture `x` `[channels, height, width]`, time index and label.
///
/// # Errors
/// As [`evaluate`].
pub fn run(network: &Network, x: &[f32], t: usize, label: usize) -> Result<Values> {
    evaluate(network, &BTreeMap::from([(X, x)]), t, label)
}

/// Every value of a network for its maps and vectors by port, time index and label. A network without such ports takes no
/// notice of `t` and `label`.
///
/// # Errors
/// When the graph is not sound, or an input is missing, superfluous, or of the wrong length.
pub fn evaluate(network: &Network, inputs: &BTreeMap<&str, &[f32]>, t: usize, label: usize) -> Result<Values> {
    let graph = &network.graph;
    let shapes = graph.shapes()?;
    if label > graph.classes() {
        return Err(Error::Model(format!("label {label}: the network has {} classes", graph.classes())));
    }
    let mut values = Values::new();
    for port in &graph.inputs {
        let (value, len) = match (Shape::from(port.kind).map(), port.kind) {
            (Some(map), _) => {
                let value = inputs.get(port.name.as_str());
                let value = value.ok_or_else(|| Error::Model(format!("the input `{}` is missing", port.name)))?;
                (value.to_vec(), map.iter().product())
            }
            (None, PortKind::Time {}) => (vec![t as f32], 1),
            (None, _) => (vec![label as f32], 1),
        };
        if value.len() != len {
            let (name, got) = (&port.name, value.len());
            return Err(Error::Model(format!("the input `{name}` has {got} values; the network reads {len}")));
        }
        values.insert(port.name.clone(), value);
    }
    if let Some(name) = inputs.keys().find(|&&name| !values.contains_key(name) || [T, LABEL].contains(&name)) {
        return Err(Error::Model(format!("the network has no map or vector `{name}` among its inputs")));
    }
    for node in &graph.nodes {
        let at = At {
            inputs: node.inputs.iter().map(|input| &values[input][..]).collect(),
            shapes: node.inputs.iter().map(|input| shapes[input]).collect(),
            output: shapes[&node.name],
            parameters: &network.parameters,
            node: &node.name,
            t,
            label,
        };
        let value = node.op.operation().reference(&at);
        values.insert(node.name.clone(), value);
    }
    Ok(values)
}
