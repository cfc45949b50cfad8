//! *Time*: the sampler's steps are known, so every vector becomes constant rows.
//!
//! A vector may depend on time and class only as a sum of one part each; a table then holds
//! steps + classes rows rather than steps × classes.

use std::collections::BTreeMap;

use super::{Conv2d, Folded, GroupNorm, Kind, Layer, Rows};
use crate::error::{Error, Result};
use crate::graph::{LABEL, Op, Shape, T, X};
use crate::model::Network;
use crate::reference::{Geometry, sinusoid};

/// Replaces all that depends on `t` and `label` by rows.
///
/// # Errors
/// Names the node that mixes time and class through something that is not a sum.
pub fn fold(network: &Network, times: &[usize]) -> Result<Folded> {
    let graph = &network.graph;
    let shapes = graph.shapes()?;
    let mut vectors: BTreeMap<&str, Rows> = BTreeMap::new();
    let mut layers = Vec::new();
    for node in &graph.nodes {
        let parameter = |kind: &str| &network.parameters[&format!("{}.{kind}", node.name)];
        if let Shape::Vector(_) = shapes[&node.name] {
            let input = |i: usize| vectors.get(node.inputs[i].as_str());
            let rows = match &node.op {
                Op::Sinusoid { dim, max_period } => {
                    let row = |&t: &usize| sinusoid(t, *dim, *max_period).iter().map(|&v| v.into()).collect();
                    Rows { steps: times.iter().map(row).collect(), classes: Vec::new() }
                }
                Op::Embedding { dim } => {
                    let row = |row: &[f32]| row.iter().map(|&v| v.into()).collect();
                    let classes = parameter("weight").chunks_exact(*dim).map(row).collect();
                    Rows { steps: vec![vec![0.0; *dim]], classes }
                }
                Op::Linear { .. } => input(0)
                    .map(|rows| linear(rows, parameter("weight"), parameter("bias")))
                    .ok_or_else(|| vector_of_map(&node.name))?,
                Op::Activation { function } => {
                    let mut rows = input(0).ok_or_else(|| vector_of_map(&node.name))?.clone();
                    let constant_time = rows.steps.len() == 1;
                    if !constant_time && !rows.classes.is_empty() {
                        return Err(Error::node(
                            &node.name,
                            "a non-linear function of time and class together; apply it to each and add the results, so that tables stay small",
                        ));
                    }
                    if !rows.classes.is_empty() {
                        let constant = std::mem::replace(&mut rows.steps, vec![vec![0.0; rows.classes[0].len()]]);
                        rows.classes
                            .iter_mut()
                            .for_each(|row| row.iter_mut().zip(&constant[0]).for_each(|(v, c)| *v += c));
                    }
                    let chosen = if rows.classes.is_empty() { &mut rows.steps } else { &mut rows.classes };
                    chosen.iter_mut().flatten().for_each(|v| *v = function.apply(*v));
                    rows
                }
                Op::Add => match (input(0), input(1)) {
                    (Some(a), Some(b)) => a.plus(b),
                    _ => return Err(vector_of_map(&node.name)),
                },
                _ => return Err(vector_of_map(&node.name)),
            };
            vectors.insert(&node.name, rows);
            continue;
        }
        let Shape::Map(shape) = shapes[&node.name] else { return Err(vector_of_map(&node.name)) };
        let input = node.inputs[0].clone();
        let kind = match &node.op {
            Op::Conv2d { .. } => {
                let geometry = Geometry::of(node, &shapes)?;
                let channels = |name: &String| match shapes[name] {
                    Shape::Map([channels, ..]) => channels,
                    _ => 0,
                };
                Kind::Conv2d(Conv2d {
                    node: node.name.clone(),
                    inputs: node.inputs.iter().map(|input| (input.clone(), channels(input))).collect(),
                    geometry,
                    weight: parameter("weight").clone(),
                    bias: Rows::constant(parameter("bias")),
                    residual: None,
                    activation: None,
                })
            }
            Op::GroupNorm { groups, eps } => Kind::GroupNorm(GroupNorm {
                node: node.name.clone(),
                input,
                groups: *groups,
                eps: *eps,
                weight: parameter("weight").clone(),
                bias: parameter("bias").clone(),
                activation: None,
            }),
            Op::Attention { heads } => {
                Kind::Attention { inputs: [input, node.inputs[1].clone(), node.inputs[2].clone()], heads: *heads }
            }
            Op::ChannelGain => Kind::ChannelGain { input, gain: parameter("weight").clone() },
            Op::ChannelBias => {
                let rows = vectors.get(node.inputs[1].as_str()).ok_or_else(|| vector_of_map(&node.name))?;
                Kind::ChannelBias { input, rows: rows.clone() }
            }
            Op::Add => Kind::Add { inputs: [input, node.inputs[1].clone()] },
            Op::Activation { function } => Kind::Activation { input, function: *function },
            Op::DepthToSpace { block } => Kind::DepthToSpace { input, block: *block },
            Op::Linear { .. } | Op::Sinusoid { .. } | Op::Embedding { .. } => return Err(vector_of_map(&node.name)),
        };
        layers.push(Layer { name: node.name.clone(), shape, kind });
    }
    debug_assert!(![X, T, LABEL].contains(&graph.output.as_str()));
    Ok(Folded {
        input: graph.input,
        classes: graph.classes,
        times: times.to_vec(),
        layers,
        output: graph.output.clone(),
    })
}

/// Linear in both parts; the bias goes with time.
fn linear(rows: &Rows, weight: &[f32], bias: &[f32]) -> Rows {
    let product = |row: &Vec<f64>| -> Vec<f64> {
        weight.chunks_exact(row.len()).map(|w| w.iter().zip(row).map(|(&w, v)| f64::from(w) * v).sum()).collect()
    };
    let with_bias = |row: &Vec<f64>| product(row).iter().zip(bias).map(|(v, &b)| v + f64::from(b)).collect();
    Rows { steps: rows.steps.iter().map(with_bias).collect(), classes: rows.classes.iter().map(product).collect() }
}

fn vector_of_map(name: &str) -> Error {
    Error::node(name, "a vector that does not come from `t` and `label` alone; only those can be folded into tables")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, with_weights};
    use super::*;
    use crate::graph::{Builder, Function};

    #[test]
    fn rows_give_what_the_time_network_gives() {
        let network = network();
        assert_equal(&network, &fold(&network, &[3, 50]).unwrap());
    }

    #[test]
    fn mixing_time_and_class_is_refused_by_name() {
        let mut b = Builder::new([1, 4, 4], 2);
        b.node("time", Op::Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("class", Op::Embedding { dim: 4 }, &[LABEL]);
        b.node("both", Op::Add, &["time", "class"]);
        b.node("mixed", Op::Activation { function: Function::Silu }, &["both"]);
        b.node("rows", Op::Linear { out_features: 1 }, &["mixed"]);
        b.node("out", Op::ChannelBias, &[X, "rows"]);
        let network = with_weights(b.finish("out").unwrap());
        assert!(fold(&network, &[0, 1]).unwrap_err().to_string().starts_with("node `mixed`"));
    }
}
