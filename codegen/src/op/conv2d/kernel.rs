//! Kernels of convolutions, and how their weights are packed.

use grano::geometry::Geometry as EngineGeometry;
use grano::kernel::winograd;
use grano::requantize::FineTable;

use super::super::{Donor, Kernel, KernelOp, Table};
use crate::algorithm::Algorithm;
use crate::cost::Cost;
use crate::geometry::Geometry;
use crate::kernel::{Element, Requantize, halves};
use crate::lower::Call;
use crate::pack::{Array, Constants, Packed, View, parameters};
use crate::target::Target;

use super::depthwise;
use super::packed;
use super::packed_float::{self, PackedFloats};
use super::packed_head::{Output, PackedHead};

/// The integer part of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Shapes and strides.
    pub geometry: Geometry,
    /// `[out_c][k_h][k_w][in_c]`.
    pub weights: Vec<i8>,
    /// `[steps][out_c]` and `[classes + 1][out_c]`.
    pub bias: [Vec<i32>; 2],
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What padding holds, in each.
    pub zero_points: [i16; 2],
}

/// int8 or int16 map to int8.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dInt8 {
    /// Weights and sums.
    pub sums: Sums,
    /// Per output channel; empty without a residual.
    pub residual_multipliers: Vec<i32>,
    /// From sums to the output, or to the table's index.
    pub requantize: Requantize,
    /// Index + 512 to output.
    pub table: Option<Table>,
}

/// int8 or int16 map to int8 or int16, where the result or what is added to it is int16.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dFine {
    /// Weights and sums.
    pub sums: Sums,
    /// Per output channel, in units of the shifted sums; empty without a residual.
    pub residual_multipliers: Vec<i32>,
    /// What stands for 0 in the residual.
    pub residual_zero_point: i32,
    /// From sums to fine codes, or to the table's index.
    pub requantize: Requantize,
    /// Index to fine code.
    pub table: Option<FineTable>,
}

/// int8 or int16 map to f32, in strips of rows: an output of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dHead {
    /// Weights and sums.
    pub sums: Sums,
    /// The value of one unit of the sum, per output channel.
    pub scales: Vec<f32>,
}

/// int8 map to int8, a kernel a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthwiseInt8 {
    /// Weights, `[k_h][k_w][channels]`, and sums.
    pub sums: Sums,
    /// Per channel; empty without a residual.
    pub residual_multipliers: Vec<i32>,
    /// From sums to the output, or to the table's index.
    pub requantize: Requantize,
    /// Index + 512 to output.
    pub table: Option<Table>,
}

/// Floating-point maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dFloat {
    /// Shapes and strides.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// `[k_h][k_w][in_c][out_c]`.
    pub weights: Vec<f32>,
    /// `[steps][out_c]` and `[classes + 1][out_c]`.
    pub bias: [Vec<f32>; 2],
    /// What is applied last.
    pub activation: grano::kernel::Activation,
    /// How weights are stored.
    pub stored: Element,
    /// Whether it hands f32 out in strips of rows: an output of the network.
    pub is_head: bool,
}

/// Floating-point maps, a kernel a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthwiseFloat {
    /// Shapes and strides.
    pub geometry: Geometry,
    /// `[k_h][k_w][channels]`.
    pub weights: Vec<f32>,
    /// `[steps][channels]` and `[classes + 1][channels]`.
    pub bias: [Vec<f32>; 2],
    /// What is applied last.
    pub activation: grano::kernel::Activation,
    /// How weights are stored.
    pub stored: Element,
}

parameters! {
    PackedBias => Bias<'a, T> { steps: View<T>, classes: View<T>, }
}
parameters! {
    PackedSums => Sums<'a> {
        geometry: EngineGeometry,
        channels: [usize; 2],
        zero_points: [i16; 2],
        weights: View<i8>,
        bias: PackedBias<i32>,
    }
}
parameters! {
    PackedWinograd => WinogradSums<'a, T> {
        geometry: EngineGeometry,
        channels: [usize; 2],
        zero_points: [i16; 2],
        weights: View<T>,
        bias: PackedBias<i32>,
    }
}
parameters! {
    PackedRequantize => Requantize<'a> { shift: u32, multipliers: View<i32>, zero_point: i32, }
}
parameters! {
    PackedEpilogue => Epilogue<'a> {
        residual_multipliers: View<i32>,
        requantize: PackedRequantize,
        table: Option<Array<i8, 1024>>,
    }
}
parameters! {
    PackedFineEpilogue => FineEpilogue<'a> {
        residual_multipliers: View<i32>,
        residual_zero_point: i32,
        requantize: PackedRequantize,
        table: Option<Array<i16, 257>>,
    }
}

/// Writes constants for a target.
pub(super) struct Packer<'a> {
    pub(super) constants: &'a mut Constants,
    pub(super) target: Target,
}

impl Packer<'_> {
    pub(super) fn bias(&mut self, [steps, classes]: &[Vec<i32>; 2]) -> PackedBias<i32> {
        PackedBias { steps: self.constants.push(steps), classes: self.constants.push(classes) }
    }

    pub(super) fn requantize(&mut self, requantize: &Requantize) -> PackedRequantize {
        let Requantize { shift, multipliers, zero_point } = requantize;
        PackedRequantize { shift: *shift, multipliers: self.constants.push(multipliers), zero_point: *zero_point }
    }

    pub(super) fn epilogue(
        &mut self,
        residual: &[i32],
        requantize: &Requantize,
        table: Option<&Table>,
    ) -> PackedEpilogue {
        PackedEpilogue {
            requantize: self.requantize(requantize),
            residual_multipliers: self.constants.push(residual),
            table: table.map(|table| self.constants.array(table)),
        }
    }

    pub(super) fn sums(&mut self, sums: &Sums) -> PackedSums {
        let geometry = sums.geometry.engine();
        PackedSums {
            weights: self.placed(&sums.weights, &geometry),
            bias: self.bias(&sums.bias),
            geometry,
            channels: sums.channels,
            zero_points: sums.zero_points,
        }
    }

    /// Weights `[out_c][taps]` in the chip's order.
    fn placed(&mut self, weights: &[i8], geometry: &EngineGeometry) -> View<i8> {
        let taps = geometry.patch_len();
        let mut packed = vec![0; self.target.packing().packed_len(geometry)];
        for (index, &weight) in weights.iter().enumerate() {
            packed[self.target.place_weight(geometry, index / taps, index % taps)] = weight;
        }
        self.target.recode(geometry, &mut packed);
        self.constants.push(&packed)
    }

    /// With transformed weights.
    pub(super) fn winograd(&mut self, sums: &Sums) -> PackedWinograd<i16> {
        let (packing, geometry, in_c) = (self.target.wide_packing(), sums.geometry.engine(), sums.geometry.input[0]);
        let mut packed = vec![0i16; winograd::packed_len(&packing, &geometry)];
        for (out_channel, weights) in sums.weights.chunks_exact(TAPS * in_c).enumerate() {
            for in_channel in 0..in_c {
                let tap = |tap: usize| i16::from(weights[tap * in_c + in_channel]);
                let taps = [0, 3, 6].map(|row| [tap(row), tap(row + 1), tap(row + 2)]);
                let u = winograd::transform(taps, geometry.upsample);
                for (position, u) in u.into_iter().enumerate().take(winograd::positions(geometry.upsample)) {
                    packed[winograd::place(&packing, &geometry, position, out_channel, in_channel)] = u;
                }
            }
        }
        let weights = self.constants.push(&packed);
        self.winograd_sums(sums, weights)
    }

    /// With weights as they are, in the order in which the device transforms them.
    pub(super) fn winograd_in_ram(&mut self, sums: &Sums) -> PackedWinograd<i8> {
        let (geometry, in_c) = (sums.geometry.engine(), sums.geometry.input[0]);
        let mut placed = vec![0i8; winograd::plain_len(&geometry)];
        for (out_channel, weights) in sums.weights.chunks_exact(TAPS * in_c).enumerate() {
            for (at, &weight) in weights.iter().enumerate() {
                placed[winograd::plain_place(&geometry, at / in_c, out_channel, at % in_c)] = weight;
            }
        }
        let weights = self.constants.push(&placed);
        self.winograd_sums(sums, weights)
    }

    fn winograd_sums<W>(&mut self, sums: &Sums, weights: View<W>) -> PackedWinograd<W> {
        PackedWinograd {
            weights,
            bias: self.bias(&sums.bias),
            geometry: sums.geometry.engine(),
            channels: sums.channels,
            zero_points: sums.zero_points,
        }
    }
}

/// Taps of a kernel of Winograd's method.
const TAPS: usize = 9;

impl KernelOp for Conv2dInt8 {
    fn describe(&self) -> String {
        describe(&self.sums.geometry)
    }

    fn donor(&self) -> Donor {
        Donor::Second
    }

    fn sums(&self) -> Option<&Sums> {
        Some(&self.sums)
    }

    fn row_elements(&self) -> usize {
        rows(&self.sums.bias)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new((packed::int8(self, call, constants), call.reads))
    }
}

impl KernelOp for Conv2dFine {
    fn describe(&self) -> String {
        describe(&self.sums.geometry)
    }

    fn donor(&self) -> Donor {
        Donor::Second
    }

    fn sums(&self) -> Option<&Sums> {
        Some(&self.sums)
    }

    fn row_elements(&self) -> usize {
        rows(&self.sums.bias)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(packed::fine(self, call, constants))
    }
}

impl KernelOp for Conv2dHead {
    fn describe(&self) -> String {
        describe(&self.sums.geometry)
    }

    fn sums(&self) -> Option<&Sums> {
        Some(&self.sums)
    }

    fn row_elements(&self) -> usize {
        rows(&self.sums.bias)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let mut packer = Packer { constants, target: call.target };
        let sums = packer.sums(&self.sums);
        let head = PackedHead { sums, scales: packer.constants.push(&self.scales) };
        Box::new(Output::new(head, call))
    }
}

impl KernelOp for DepthwiseInt8 {
    fn describe(&self) -> String {
        format!("depthwise {}", describe(&self.sums.geometry))
    }

    fn donor(&self) -> Donor {
        Donor::Second
    }

    fn instructions(&self, cost: &Cost, target: Target, _: [usize; 2]) -> u64 {
        depthwise::instructions(self, cost, target)
    }

    fn row_elements(&self) -> usize {
        rows(&self.sums.bias)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(packed::depthwise(self, call, constants))
    }
}

impl KernelOp for Conv2dFloat {
    fn describe(&self) -> String {
        describe(&self.geometry)
    }

    fn donor(&self) -> Donor {
        Donor::Second
    }

    fn scratch(&self, _: [usize; 3], target: Target) -> Option<(Element, usize)> {
        Some((Element::F32, target.float_scratch(&self.geometry.engine())))
    }

    fn row_elements(&self) -> usize {
        rows(&self.bias)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        if self.stored == Element::F16 {
            let floats = floats(&self.geometry, &self.weights, &self.bias, |values| constants.push(&halves(values)));
            packed_float::conv2d_float_f16(floats, self, call)
        } else {
            let floats = floats(&self.geometry, &self.weights, &self.bias, |values| constants.push(values));
            packed_float::conv2d_float_f32(floats, self, call)
        }
    }
}

impl KernelOp for DepthwiseFloat {
    fn describe(&self) -> String {
        format!("depthwise {}", describe(&self.geometry))
    }

    fn donor(&self) -> Donor {
        Donor::Second
    }

    fn row_elements(&self) -> usize {
        rows(&self.bias)
    }

    fn pack(&self, _: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let activation = self.activation;
        if self.stored == Element::F16 {
            let floats = floats(&self.geometry, &self.weights, &self.bias, |values| constants.push(&halves(values)));
            Box::new(floats.depthwise(activation))
        } else {
            let floats = floats(&self.geometry, &self.weights, &self.bias, |values| constants.push(values));
            Box::new(floats.depthwise(activation))
        }
    }
}

/// What floating-point convolutions have in common, in the order in which it lies among the constants.
fn floats<T>(
    geometry: &Geometry,
    weights: &[f32],
    [steps, classes]: &[Vec<f32>; 2],
    mut push: impl FnMut(&[f32]) -> View<T>,
) -> PackedFloats<T> {
    let weights = push(weights);
    let bias = PackedBias { steps: push(steps), classes: push(classes) };
    PackedFloats { geometry: geometry.engine(), weights, bias }
}

/// Elements of rows of time and class.
fn rows<T>([steps, classes]: &[Vec<T>; 2]) -> usize {
    steps.len() + classes.len()
}

/// Such as `convolution 3×3, 14×14×32`.
fn describe(geometry: &Geometry) -> String {
    let ([c, h, w], [k_h, k_w]) = (geometry.input, geometry.kernel);
    let pair =
        |what: &str, [v, h]: [usize; 2]| if [v, h] == [1, 1] { String::new() } else { format!(" {what} {v}×{h}") };
    let (stride, upsample) = (pair("stride", geometry.stride), pair("enlarged", geometry.upsample));
    format!("convolution {k_h}×{k_w}{stride}, {h}×{w}×{c}{upsample}")
}

/// Two calls that run strip by strip, and the bytes of either's constants.
pub(crate) fn pair(first: &Call, last: &Call, constants: &mut Constants) -> (Box<dyn Packed>, Vec<usize>) {
    let mut call_bytes = Vec::new();
    let [first_kernel, last_kernel] = [first, last].map(|call| {
        let Kernel::Conv2dInt8(kernel) = &call.kernel else {
            unreachable!("only int8 convolutions run strip by strip")
        };
        let before = constants.len();
        let packed = packed::int8(kernel, call, constants);
        call_bytes.push(constants.len() - before);
        packed
    });
    let Some(strips) = first.strips else { unreachable!("the first of a pair says how it runs") };
    (Box::new(packed::Pair { first: first_kernel, last: last_kernel, strips }), call_bytes)
}

impl Call {
    /// How it computes a convolution.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.choice.as_ref().map_or(Algorithm::Direct, crate::lower::Choice::algorithm)
    }
}
