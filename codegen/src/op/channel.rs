//! A gain and a bias a channel: weights of their own, or rows of time and class.

use serde::{Deserialize, Serialize};

use super::{At, Folding, Operation, ScaleShiftRows, one, wrong};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{Node, Rows};
use crate::graph::{self, Shape};

/// A map times `weight` `[channels]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelGain {}

/// A map plus a vector `[channels]`, its second input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelBias {}

impl Operation for ChannelGain {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "one map")? {
            map @ Shape::Map(_) => Ok(*map),
            _ => Err(wrong(node, inputs, "one map")),
        }
    }

    fn parameters(&self, inputs: &[Shape], _: usize) -> Vec<(&'static str, Vec<usize>)> {
        let channels = inputs.first().and_then(|input| input.map()).map_or(0, |[channels, ..]| channels);
        vec![("weight", vec![channels])]
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        per_channel(at.inputs[0], at.channels(0)[1], at.parameter("weight"), |v, gain| v * gain)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let gains = Rows::constant(node.parameter("weight"));
        let shifts = gains.times(&vec![0.0; node.map(0)?[0]]);
        Ok(Folding::layer(ScaleShiftRows::new(node.input(0), gains, shifts)))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, _: usize, gradient: &str) -> Result<String> {
        let weight = tape.parameter(node, "weight");
        Ok(tape.node("gain", Self {}, &[gradient], &[("weight", weight)]))
    }
}

impl Operation for ChannelBias {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [map @ (Shape::Map([c, ..]) | Shape::Vector(c)), Shape::Vector(n)] if c == n => Ok(*map),
            _ => Err(wrong(node, inputs, "a map or vector, and a vector with an element per channel")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        per_channel(at.inputs[0], at.channels(0)[1], at.inputs[1], |v, bias| v + bias)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let gains = Rows::constant(&vec![1.0; node.map(0)?[0]]);
        Ok(Folding::layer(ScaleShiftRows::new(node.input(0), gains, node.rows_of_vector(1)?.clone())))
    }

    fn backward(&self, _: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        match input {
            0 => Ok(gradient.into()),
            _ => Err(Error::node(&node.name, "its vector must come from time and class alone")),
        }
    }
}

/// A map and an element per channel.
pub(crate) fn per_channel(x: &[f32], area: usize, vector: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    x.chunks_exact(area).zip(vector).flat_map(|(map, &v)| map.iter().map(|&x| f(x, v)).collect::<Vec<_>>()).collect()
}
