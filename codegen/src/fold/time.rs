//! *Time*: the sampler's steps are known, so every vector that depends on step and class alone becomes constant rows.
//!
//! Such a vector may depend on time and class only as a sum of one part each; a table then holds steps + classes rows
//! rather than steps × classes.

use std::collections::BTreeMap;

use super::{Folded, Layer, Rows};
use crate::error::{Error, Result};
use crate::graph::{self, Shape};
use crate::model::Network;
use crate::op::Folding;

/// A node that is being folded.
pub struct Node<'a> {
    node: &'a graph::Node,
    shapes: &'a BTreeMap<String, Shape>,
    parameters: &'a BTreeMap<String, Vec<f32>>,
    rows: &'a BTreeMap<&'a str, Rows>,
    times: &'a [usize],
}

impl Node<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// The names of its inputs.
    #[must_use]
    pub fn inputs(&self) -> &[String] {
        &self.node.inputs
    }

    /// The name of an input.
    #[must_use]
    pub fn input(&self, input: usize) -> &str {
        &self.node.inputs[input]
    }

    /// Its `weight` or `bias`.
    #[must_use]
    pub fn parameter(&self, kind: &str) -> &[f32] {
        &self.parameters[&format!("{}.{kind}", self.node.name)]
    }

    /// The time index of each row.
    #[must_use]
    pub fn times(&self) -> &[usize] {
        self.times
    }

    /// The rows of an input that depends on step and class alone.
    #[must_use]
    pub fn rows(&self, input: usize) -> Option<&Rows> {
        self.rows.get(self.input(input))
    }

    /// The same where nothing else will do.
    ///
    /// # Errors
    /// Names the node when the input depends on a map.
    pub fn rows_of_vector(&self, input: usize) -> Result<&Rows> {
        self.rows(input).ok_or_else(|| {
            Error::node(
                self.name(),
                format!(
                    "its input `{}` is a vector that does not come from `t` and `label` alone; only those can be folded into tables",
                    self.input(input)
                ),
            )
        })
    }

    /// The shape of an input that is computed on the device, as a map.
    ///
    /// # Errors
    /// Names the node when the input is the time index or the label, or depends on them alone.
    pub fn map(&self, input: usize) -> Result<[usize; 3]> {
        let name = self.input(input);
        self.shapes[name].map().filter(|_| self.rows(input).is_none()).ok_or_else(|| {
            Error::node(self.name(), format!("its input `{name}` depends on time and class alone; give it a map"))
        })
    }
}

/// Replaces all that depends on `t` and `label` by rows.
///
/// # Errors
/// Names the node that mixes time and class through something that is not a sum.
pub(super) fn fold(network: &Network, times: &[usize]) -> Result<Folded> {
    let graph = &network.graph;
    let shapes = graph.shapes()?;
    let mut rows: BTreeMap<&str, Rows> = BTreeMap::new();
    let mut layers = Vec::new();
    for node in &graph.nodes {
        let at = Node { node, shapes: &shapes, parameters: &network.parameters, rows: &rows, times };
        match node.op.operation().fold(&at)? {
            Folding::Rows(folded) => {
                rows.insert(&node.name, folded);
            }
            Folding::Layer(kind) => {
                let shape = shapes[&node.name].map().unwrap_or_default();
                layers.push(Layer { name: node.name.clone(), shape, kind: *kind });
            }
        }
    }
    if let Some(output) = graph.outputs.iter().find(|output| rows.contains_key(output.as_str())) {
        return Err(Error::node(output, "an output that depends on time and class alone; there is nothing to compute"));
    }
    let map = |port: &graph::Port| Some((port.name.clone(), Shape::from(port.kind).map()?));
    Ok(Folded {
        inputs: graph.inputs.iter().filter_map(map).collect(),
        classes: graph.classes(),
        times: times.to_vec(),
        layers,
        outputs: graph.outputs.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, silu, with_weights};
    use super::*;
    use crate::graph::{Add, Builder, ChannelBias, Embedding, LABEL, Linear, Port, PortKind, Sinusoid, T, X};

    #[test]
    fn rows_give_what_the_time_network_gives() {
        let network = network();
        assert_equal(&network, &fold(&network, &[3, 50]).unwrap());
    }

    #[test]
    fn mixing_time_and_class_is_refused_by_name() {
        let mut b = Builder::new([1, 4, 4], 2);
        b.node("time", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("class", Embedding { dim: 4 }, &[LABEL]);
        b.node("both", Add {}, &["time", "class"]);
        b.node("mixed", silu(), &["both"]);
        b.node("rows", Linear { out_features: 1 }, &["mixed"]);
        b.node("out", ChannelBias {}, &[X, "rows"]);
        let network = with_weights(b.finish("out").unwrap());
        assert!(fold(&network, &[0, 1]).unwrap_err().to_string().starts_with("node `mixed`"));
    }

    #[test]
    fn an_output_without_a_map_is_refused() {
        let mut b = Builder::with_ports(vec![Port { name: T.into(), kind: PortKind::Time {} }]);
        b.node("time", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        let network = with_weights(b.finish("time").unwrap());
        assert!(fold(&network, &[0]).unwrap_err().to_string().starts_with("node `time`"));
    }
}
