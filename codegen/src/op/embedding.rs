//! A vector a class.

use serde::{Deserialize, Serialize};

use super::{At, Folding, Operation, one, wrong};
use crate::error::Result;
use crate::fold::{Node, Rows};
use crate::geometry::dimension;
use crate::graph::Shape;

/// Row `label` of `weight` `[classes + 1, dim]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Length of the output.
    pub dim: usize,
}

impl Operation for Embedding {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "`label`")? {
            Shape::Label => Ok(Shape::Vector(dimension(node, self.dim)?)),
            _ => Err(wrong(node, inputs, "`label`")),
        }
    }

    fn parameters(&self, _: &[Shape], classes: usize) -> Vec<(&'static str, Vec<usize>)> {
        vec![("weight", vec![classes + 1, self.dim])]
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        at.parameter("weight")[at.label * self.dim..][..self.dim].to_vec()
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let row = |row: &[f32]| row.iter().map(|&v| v.into()).collect();
        let classes = node.parameter("weight").chunks_exact(self.dim).map(row).collect();
        Ok(Folding::Rows(Rows { steps: vec![vec![0.0; self.dim]], classes }))
    }
}
