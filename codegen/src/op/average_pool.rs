//! The mean of windows of a map, or of all of it, channel by channel.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, one, wrong};
use crate::backward::{Tape, transposed};
use crate::error::{Error, Result};
use crate::fold::{Layer, Node};
use crate::geometry::{Geometry, Padding, extent};
use crate::graph::{self, Conv2d, Shape};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, View, parameters, proved};
use crate::quantize::{Quantizer, multiplier};
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// The mean of those elements of each window that lie in the map (PyTorch's `avg_pool2d` with
/// `count_include_pad=False`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AveragePool {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Distance between neighbouring windows.
    pub stride: [usize; 2],
    /// What windows may hold besides the map, on each side less than a window.
    pub padding: Padding,
}

/// The mean over all positions, as a map `[channels, 1, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAveragePool {}

impl AveragePool {
    fn geometry(&self, node: &str, input: [usize; 3]) -> Result<Geometry> {
        let Self { kernel, stride, padding } = *self;
        let [channels, height, width] = input;
        let extent = |axis: usize, size: usize| {
            let (before, after) = (padding.before[axis], padding.after[axis]);
            let extent = extent(node, size, 1, [before, after], [kernel[axis], stride[axis]])?;
            if before >= kernel[axis] || (extent - 1) * stride[axis] >= size + before {
                return Err(Error::node(
                    node,
                    format!(
                        "a window of {} within padding of {before} and {after}; each is to hold some of the map: give less padding",
                        kernel[axis]
                    ),
                ));
            }
            Ok(extent)
        };
        let output = [channels, extent(0, height)?, extent(1, width)?];
        Ok(Geometry { input, output, kernel, stride, padding: padding.before, upsample: [1; 2], groups: channels })
    }
}

/// One window as large as the map.
fn whole(input: [usize; 3]) -> Geometry {
    let [channels, height, width] = input;
    let (output, kernel) = ([channels, 1, 1], [height, width]);
    Geometry { input, output, kernel, stride: [1; 2], padding: [0; 2], upsample: [1; 2], groups: channels }
}

impl Operation for AveragePool {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "one map")? {
            Shape::Map(map) => Ok(Shape::Map(self.geometry(node, *map)?.output)),
            _ => Err(wrong(node, inputs, "one map")),
        }
    }

    fn macs(&self, _: &[Shape], output: Shape) -> u64 {
        let sides = output.map().unwrap_or_default().into_iter().chain(self.kernel);
        sides.fold(1, |product, side| product.saturating_mul(side as u64))
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        let map = at.shapes[0].map().unwrap_or_default();
        self.geometry(at.node, map).map_or(Vec::new(), |geometry| average(&geometry, at.inputs[0]))
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let geometry = self.geometry(node.name(), node.map(0)?)?;
        Ok(Folding::layer(Pool { input: node.input(0).into(), geometry }))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        if self.padding != [0; 2].into() {
            return Err(Error::node(&node.name, "no backward pass for means over windows with padding; give none"));
        }
        let Self { kernel, stride, .. } = *self;
        let [map, output] = [&node.inputs[input], &node.name].map(|value| tape.map(value));
        let channels = map[0];
        let share = 1.0 / (kernel[0] * kernel[1]) as f32;
        let depthwise = Conv2d { out_channels: channels, groups: channels, ..Conv2d::same(1) };
        if kernel == stride {
            // Every pixel of a window gets the same; those that no window holds get nothing.
            let after = [0, 1].map(|axis| map[1 + axis] - kernel[axis] * output[1 + axis]);
            let conv = Conv2d { upsample: kernel, padding: Padding { before: [0; 2], after }, ..depthwise };
            return Ok(tape.conv2d("spread", gradient, conv, vec![share; channels]));
        }
        let conv = Conv2d { kernel, stride, padding: [0; 2].into(), ..depthwise };
        let weight = vec![share; channels * kernel[0] * kernel[1]];
        transposed(&mut tape, &node.name, &conv, &weight, [map, output], gradient)
    }
}

impl Operation for GlobalAveragePool {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "one map")? {
            Shape::Map(map) => Ok(Shape::Map(whole(*map).output)),
            _ => Err(wrong(node, inputs, "one map")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        average(&whole(at.shapes[0].map().unwrap_or_default()), at.inputs[0])
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        Ok(Folding::layer(Pool { input: node.input(0).into(), geometry: whole(node.map(0)?) }))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let [channels, height, width] = tape.map(&node.inputs[input]);
        let conv = Conv2d { out_channels: channels, groups: channels, upsample: [height, width], ..Conv2d::same(1) };
        Ok(tape.conv2d("spread", gradient, conv, vec![1.0 / (height * width) as f32; channels]))
    }
}

/// The means of windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The map.
    pub input: String,
    /// The windows.
    pub geometry: Geometry,
}

impl LayerOp for Pool {
    fn maps(&self) -> Vec<&str> {
        vec![&self.input]
    }

    fn macs(&self, _: [usize; 3]) -> usize {
        self.geometry.macs()
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        average(&self.geometry, &at.values[&self.input])
    }

    fn float(&self, _: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(AveragePoolFloat { geometry: self.geometry }.into())
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let (input, output) = (quantizer.int8(&self.input)?, quantizer.output()?);
        let counts: BTreeSet<usize> =
            windows(&self.geometry).map(|[rows, columns]| rows.len() * columns.len()).collect();
        let ratios: Vec<f64> = counts.iter().map(|&count| input.scale / output.scale / count as f64).collect();
        let largest = counts.last().map_or(0, |&count| count as i64);
        let (shift, multipliers) = multiplier(&ratios, 255 * largest).ok_or_else(|| {
            Error::node(&layer.name, format!("a mean of {largest} elements; int8 sums hold 8421504: pool in two steps"))
        })?;
        let kernel = AveragePoolInt8 {
            geometry: self.geometry,
            zero_points: [input.zero_point, output.zero_point],
            counts: counts.iter().map(|&count| count as i32).collect(),
            shift,
            multipliers,
        };
        Ok((kernel.into(), Element::I8(output)))
    }
}

/// int8 means.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePoolInt8 {
    /// The windows.
    pub geometry: Geometry,
    /// Of the input and of the output.
    pub zero_points: [i32; 2],
    /// The numbers of elements that windows have, rising.
    pub counts: Vec<i32>,
    /// From sums to the output's code.
    pub shift: u32,
    /// The same, for each count.
    pub multipliers: Vec<i32>,
}

/// Floating-point means.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePoolFloat {
    /// The windows.
    pub geometry: Geometry,
}

parameters! {
    PackedInt8 => AveragePoolInt8<'a> {
        geometry: grano::geometry::Geometry,
        zero_points: [i32; 2],
        counts: View<i32>,
        shift: u32,
        multipliers: View<i32>,
    }
}
parameters! {
    PackedFloat => AveragePoolFloat { geometry: grano::geometry::Geometry, }
}

fn describe(geometry: &Geometry) -> String {
    let [height, width] = geometry.kernel;
    format!("average of {height}×{width}")
}

impl KernelOp for AveragePoolInt8 {
    fn describe(&self) -> String {
        describe(&self.geometry)
    }

    fn pack(&self, _: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 {
            geometry: self.geometry.engine(),
            zero_points: self.zero_points,
            counts: constants.push(&self.counts),
            shift: self.shift,
            multipliers: constants.push(&self.multipliers),
        })
    }
}

impl KernelOp for AveragePoolFloat {
    fn describe(&self) -> String {
        describe(&self.geometry)
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((PackedFloat { geometry: self.geometry.engine() }, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AveragePoolInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run::<I>(#input, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        machine!(parts.machine, I => kernel.run::<I>(parts.maps[0], parts.output));
    }
}

impl Packed for (PackedFloat, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AveragePoolFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run::<I, _>(#input, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            machine!(parts.machine, I => kernel.run::<I, T>(parts.maps[0], parts.output));
        });
    }
}

/// The rows and columns of the map in each window, row by row.
fn windows(geometry: &Geometry) -> impl Iterator<Item = [std::ops::Range<usize>; 2]> {
    let Geometry { input: [_, height, width], output: [_, rows, columns], kernel, stride, padding, .. } = *geometry;
    let window = move |axis: usize, out: usize, size: usize| {
        let end = (out * stride[axis] + kernel[axis]).saturating_sub(padding[axis]);
        (out * stride[axis]).saturating_sub(padding[axis])..end.min(size)
    };
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [window(0, y, height), window(1, x, width)]))
}

/// The mean of the map's elements in each window.
fn average(geometry: &Geometry, x: &[f32]) -> Vec<f32> {
    let [_, height, width] = geometry.input;
    let mean = |plane: &[f32], [rows, columns]: [std::ops::Range<usize>; 2]| {
        let count = rows.len() * columns.len();
        let row = |row: usize| plane[row * width..][columns.clone()].iter().map(|&v| f64::from(v)).sum::<f64>();
        (rows.map(row).sum::<f64>() / count as f64) as f32
    };
    x.chunks_exact(height * width)
        .flat_map(|plane| windows(geometry).map(|at| mean(plane, at)).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::{assert_equal, with_weights};
    use crate::graph::{Builder, Conv2d, X};

    #[test]
    fn padding_does_not_count() {
        let pool = AveragePool { kernel: [2, 2], stride: [1, 2], padding: [1, 0].into() };
        let geometry = pool.geometry("pool", [1, 2, 2]).unwrap();
        assert_eq!(geometry.output, [1, 3, 1]);
        assert_eq!(average(&geometry, &[1.0, 2.0, 3.0, 6.0]), [1.5, 3.0, 4.5]);
        assert_eq!(average(&whole([2, 1, 2]), &[1.0, 2.0, 3.0, 6.0]), [1.5, 4.5]);
    }

    #[test]
    fn windows_without_a_map_are_refused() {
        for padding in [Padding::from([2, 0]), Padding { before: [0; 2], after: [2, 0] }] {
            let pool = AveragePool { kernel: [2, 1], stride: [1, 1], padding };
            assert!(pool.geometry("pool", [1, 2, 2]).unwrap_err().to_string().starts_with("node `pool`"));
        }
    }

    #[test]
    fn pools_keep_their_values() {
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("conv", Conv2d { out_channels: 3, ..Conv2d::same(3) }, &[X]);
        b.node("pool", AveragePool { kernel: [3; 2], stride: [2; 2], padding: [1; 2].into() }, &["conv"]);
        b.node("mean", GlobalAveragePool {}, &["pool"]);
        let network = with_weights(b.finish("mean").unwrap());
        assert_equal(&network, &fold(&network, &[5]).unwrap());
    }
}
