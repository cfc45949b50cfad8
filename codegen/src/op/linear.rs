//! A matrix times a vector, or times all elements of a map.

use serde::{Deserialize, Serialize};

use super::{At, Convolution, Folding, Operation, one, wrong};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{Node, Rows};
use crate::geometry::{Geometry, dimension};
use crate::graph::{self, Conv2d, Shape};

/// `weight` `[out_features, in_features]` times a vector, plus `bias` `[out_features]`. A map counts as the vector of its
/// elements in the order `[channels, height, width]` (PyTorch's `flatten`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Length of the output.
    pub out_features: usize,
}

impl Linear {
    /// As a convolution: a kernel as large as the map meets every element once.
    fn geometry(&self, input: [usize; 3]) -> Geometry {
        Geometry {
            input,
            output: [self.out_features, 1, 1],
            kernel: [input[1], input[2]],
            stride: [1; 2],
            padding: [0; 2],
            upsample: [1; 2],
            groups: 1,
        }
    }
}

impl Operation for Linear {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "one vector or map")? {
            Shape::Vector(_) | Shape::Map(_) => {
                dimension(node, self.out_features)?;
                let input = inputs[0].map().unwrap_or_default();
                if !self.geometry(input).engine().is_valid() {
                    return Err(Error::node(
                        node,
                        "its weights have more elements than the engine counts (2²⁸); make it smaller",
                    ));
                }
                Ok(Shape::Vector(self.out_features))
            }
            _ => Err(wrong(node, inputs, "one vector or map")),
        }
    }

    fn macs(&self, inputs: &[Shape], _: Shape) -> u64 {
        let elements: usize = inputs.iter().filter_map(|input| input.map()).flatten().product();
        elements as u64 * self.out_features as u64
    }

    fn parameters(&self, inputs: &[Shape], _: usize) -> Vec<(&'static str, Vec<usize>)> {
        let in_features = inputs.first().and_then(|input| input.map()).map_or(0, |map| map.iter().product());
        vec![("weight", vec![self.out_features, in_features]), ("bias", vec![self.out_features])]
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        linear(at.inputs[0], at.parameter("weight"), at.parameter("bias"))
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let (weight, bias) = (node.parameter("weight"), node.parameter("bias"));
        if let Some(rows) = node.rows(0) {
            return Ok(Folding::Rows(linear_rows(rows, weight, bias)));
        }
        let input = node.map(0)?;
        let geometry = self.geometry(input);
        let convolution = Convolution {
            node: node.name().into(),
            inputs: vec![(node.input(0).into(), input[0])],
            geometry,
            weight: weight.to_vec(),
            bias: Rows::constant(bias),
            residual: None,
            activation: None,
        };
        Ok(Folding::layer(convolution))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let read = &node.inputs[input];
        let [channels, height, width] = tape.map(read);
        let (features, elements) = (self.out_features, channels * height * width);
        let weight = tape.parameter(node, "weight");
        if tape.is_vector(read) {
            let transposed = (0..elements * features).map(|i| weight[i % features * elements + i / features]);
            return Ok(tape.linear("turned", gradient, transposed.collect(), elements));
        }
        // Position (y, x) of a map of one pixel meets tap (height − 1 − y, width − 1 − x) alone.
        let conv = Conv2d {
            out_channels: channels,
            kernel: [height, width],
            padding: [height - 1, width - 1].into(),
            ..Conv2d::same(1)
        };
        let area = height * width;
        let value =
            |i: usize| weight[i / area % features * elements + i / area / features * area + (area - 1 - i % area)];
        Ok(tape.conv2d("turned", gradient, conv, (0..elements * features).map(value).collect()))
    }
}

/// `weight` `[out, in]` times `x`, plus `bias`.
fn linear(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, &v)| f64::from(w) * f64::from(v)).sum::<f64>();
    weight.chunks_exact(x.len()).zip(bias).map(|(row, &bias)| (dot(row) + f64::from(bias)) as f32).collect()
}

/// Linear in both parts; the bias goes with time.
fn linear_rows(rows: &Rows, weight: &[f32], bias: &[f32]) -> Rows {
    let product = |row: &Vec<f64>| -> Vec<f64> {
        weight.chunks_exact(row.len()).map(|w| w.iter().zip(row).map(|(&w, v)| f64::from(w) * v).sum()).collect()
    };
    let with_bias = |row: &Vec<f64>| product(row).iter().zip(bias).map(|(v, &b)| v + f64::from(b)).collect();
    Rows { steps: rows.steps.iter().map(with_bias).collect(), classes: rows.classes.iter().map(product).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::Add;
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::{assert_equal, with_weights};
    use crate::graph::{Builder, Conv2d, X};

    #[test]
    fn a_map_is_the_vector_of_its_elements() {
        let conv = Conv2d { out_channels: 3, ..Conv2d::same(3) };
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("conv", conv, &[X]);
        b.node("hidden", Linear { out_features: 5 }, &["conv"]);
        b.node("logits", Linear { out_features: 5 }, &["hidden"]);
        b.node("sum", Add {}, &["logits", "hidden"]);
        let network = with_weights(b.finish("sum").unwrap());
        assert_equal(&network, &fold(&network, &[5]).unwrap());
    }
}
