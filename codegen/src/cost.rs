//! What a layer costs on a chip, by a few counts of the work in it.
//!
//! The unit is an instruction, as an emulator counts them. The coefficients say how many of them a unit of work takes
//! in the engine's inner loops, loads and loops included. They choose between algorithms and fill the report; nothing
//! else depends on them.

use grano::isa::{DspLoop, Operands, Packing};
use grano::kernel::winograd;

use crate::geometry::Geometry;
use crate::target::Target;

/// Instructions a unit of work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Per int8 product of a direct convolution, those with padding channels and pixels included.
    pub product: f64,
    /// The same of one that reads int16.
    pub fine_product: f64,
    /// Per product of a direct 3×3 convolution to a single channel, everything included, where that has a loop of its
    /// own: [`DspLoop::OneOutput`].
    pub one_output: f64,
    /// Per element of the result of [`DspLoop::OneInput`], everything included.
    pub one_input: f64,
    /// Per product of [`DspLoop::OnePixel`], of int8 and of int16.
    pub one_pixel: [f64; 2],
    /// Per element of the patches that a direct convolution gathers.
    pub column: f64,
    /// Per row of the kernel in these patches, and per piece of them where maps are enlarged or two.
    pub row: [f64; 2],
    /// Per output pixel, per output channel and per direct convolution.
    pub each: [f64; 3],
    /// What more where channels are no whole quadruples.
    pub odd_column: f64,
    /// Per element of a convolution's result: bias, requantisation, activation, store.
    pub output: f64,
    /// What more where the result or its residual is fine; fitted to counts on Arm DSP, estimated elsewhere.
    pub fine_output: f64,
    /// Per product of Winograd's method, those with padding channels and tiles included.
    pub wide_product: f64,
    /// Per element of the transformed maps.
    pub transform: f64,
    /// Per element of the result of Winograd's method: transform back, and as for `output`.
    pub wide_output: f64,
    /// In Winograd's method: per position of a block of channels and tiles, per tile at the map's edge, and per input channel
    /// of such a tile.
    pub wide_each: [f64; 3],
    /// Per tile of Winograd's method, where input channels are no whole quadruples, and where output channels are none.
    pub odd_tile: [f64; 2],
    /// Per transformed weight, where weights are transformed when they are used.
    pub weight: f64,
    /// Per element of a layer that has no products, such as a sum.
    pub element: f64,
    /// Per product of a loop that is made for no chip.
    pub plain_product: f64,
}

/// Work of a convolution by one algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Patch by patch.
    Direct,
    /// [`winograd`], with transformed weights in flash, or as many output channels' at a time in RAM.
    Winograd {
        /// How many at a time.
        group: Option<usize>,
    },
}

/// What of a convolution is codes of int16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fine {
    /// The maps that it reads.
    pub reads: bool,
    /// Its result or the residual.
    pub writes: bool,
}

/// A convolution as the cost model sees it, beside its geometry.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// By which algorithm.
    pub work: Work,
    /// What of it is int16.
    pub fine: Fine,
    /// The chip's, of direct convolutions and of [`winograd`].
    pub packings: [Packing; 2],
    /// What decides between the loops of the Arm DSP extension; none on other chips.
    pub loops: Option<Operands>,
}

/// So many units of work, and what each takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// Its name, unique to its coefficient.
    pub unit: &'static str,
    /// How many.
    pub number: usize,
    /// Instructions a unit.
    pub coefficient: f64,
}

impl Cost {
    /// Of a chip.
    #[must_use]
    pub fn of(target: Target) -> Self {
        match target {
            Target::Portable => PORTABLE,
            Target::CortexM0 => CORTEX_M0,
            Target::CortexM4 | Target::CortexM7 | Target::CortexM33 => DSP,
            Target::CortexM55 => HELIUM,
            Target::Riscv32 => RISCV32,
            Target::X86 | Target::Aarch64 | Target::Wasm32 => WIDE_VECTORS,
        }
    }

    /// Instructions of a convolution that is computed in parts, such as strips of its rows. What they count is summed
    /// before it is rounded, so that parts never seem to take less than the whole.
    #[must_use]
    pub fn convolution(&self, parts: &[Geometry], at: &Convolution) -> u64 {
        let mut all: Vec<Count> = Vec::new();
        for count in parts.iter().flat_map(|part| self.counts(part, at)) {
            match all.iter_mut().find(|other| other.unit == count.unit) {
                Some(sum) => sum.number += count.number,
                None => all.push(count),
            }
        }
        all.into_iter().map(|count| count.number as f64 * count.coefficient).sum::<f64>().round() as u64
    }

    /// Work of a convolution.
    #[must_use]
    pub fn counts(&self, geometry: &Geometry, at: &Convolution) -> Vec<Count> {
        let Geometry { input: [in_c, ..], output: [out_c, out_h, out_w], kernel: [k_h, k_w], .. } = *geometry;
        let Convolution { work, fine, packings: [direct, wide], loops } = *at;
        let (outputs, pixels) = (out_c * out_h * out_w, out_h * out_w);
        let count = |unit, number, coefficient| Count { unit, number, coefficient };
        let mut counts = match work {
            Work::Direct => {
                let engine = geometry.engine();
                let taps = direct.patch_taps(&engine);
                let which = loops.map(|operands| DspLoop::of(&engine, operands));
                let product = if fine.reads { ("fine product", self.fine_product) } else { ("product", self.product) };
                // A last channel without another takes half a block, where nothing is added to it.
                let halves = loops.is_some_and(|operands| operands.writes_int8 && !operands.adds);
                let blocks = if halves { out_c } else { out_c.next_multiple_of(direct.channels) };
                let products = match which {
                    Some(DspLoop::OneOutput) => return vec![count("one output", outputs * taps, self.one_output)],
                    Some(DspLoop::OneInput) => return vec![count("one input", outputs, self.one_input)],
                    Some(DspLoop::OnePixel) => {
                        let [int8, int16] = self.one_pixel;
                        let (unit, coefficient) = if fine.reads { ("fine pixel", int16) } else { ("one pixel", int8) };
                        count(unit, taps * out_c.next_multiple_of(direct.channels), coefficient)
                    }
                    Some(DspLoop::FourPixels) => {
                        count(product.0, pixels.next_multiple_of(direct.pixels) * taps * blocks, product.1)
                    }
                    None => {
                        let blocks = out_c.next_multiple_of(direct.channels);
                        count(product.0, pixels.next_multiple_of(direct.pixels) * taps * blocks, product.1)
                    }
                };
                let has_rows = !in_c.is_multiple_of(4) && k_h * k_w > 1;
                let maps = loops.map_or(1, |operands| operands.maps);
                let in_pieces = !has_rows && (maps > 1 || geometry.upsample != [1; 2] || fine.reads);
                let pieces = if in_pieces { pixels * k_h * k_w * maps } else { 0 };
                let odd = if in_c.is_multiple_of(4) { 0 } else { pixels * geometry.taps() };
                vec![
                    products,
                    count("column", pixels * geometry.taps(), self.column),
                    count("odd column", odd, self.odd_column),
                    count("row", pixels * k_h, self.row[0]),
                    count("piece", pieces, self.row[1]),
                    count("output", outputs, self.output),
                    count("pixel", pixels, self.each[0]),
                    count("channel", out_c, self.each[1]),
                    count("layer", 1, self.each[2]),
                ]
            }
            Work::Winograd { group } => {
                let (tiles_h, tiles_w) = (out_h.div_ceil(2), out_w.div_ceil(2));
                let tiles = tiles_h * tiles_w;
                let positions = winograd::positions(geometry.upsample);
                // The lowest tiles of an odd map have no lower outputs: a row of positions is left out on Arm DSP.
                let rows = if positions == 9 { 3 } else { 4 };
                let left_out = if loops.is_some() && out_h % 2 == 1 { tiles_w } else { 0 };
                let passes = group.map_or(1, |group| out_c.div_ceil(group));
                let weights = if group.is_some() { positions * in_c * out_c } else { 0 };
                let odd = |channels: usize| if channels.is_multiple_of(4) { 0 } else { tiles };
                let block = wide.padded_taps(in_c) * out_c.next_multiple_of(wide.channels);
                let block_count = positions * tiles.div_ceil(wide.pixels) * out_c.div_ceil(wide.channels);
                // Tiles all of whose inputs are on the map.
                let [_, in_h, in_w] = geometry.input;
                let side = if positions == 9 { 2 } else { 3 };
                let inner = |len: usize| len.saturating_sub(side) / (side - 1);
                let edges = tiles.saturating_sub(inner(in_h) * inner(in_w));
                let products =
                    positions * tiles.next_multiple_of(wide.pixels) * block - positions / rows * left_out * block;
                vec![
                    count("wide product", products, self.wide_product),
                    count("transform", passes * positions * tiles * in_c, self.transform),
                    count("wide output", outputs, self.wide_output),
                    count("weight", weights, self.weight),
                    count("wide position", block_count, self.wide_each[0]),
                    count("edge tile", passes * edges, self.wide_each[1]),
                    count("edge channel", passes * edges * in_c, self.wide_each[2]),
                    count("tile of odd inputs", passes * odd(in_c), self.odd_tile[0]),
                    count("tile of odd outputs", odd(out_c), self.odd_tile[1]),
                ]
            }
        };
        counts.extend(fine.writes.then_some(count("fine output", outputs, self.fine_output)));
        counts
    }

    /// Instructions of any other layer.
    #[must_use]
    pub fn other(&self, macs: usize, elements: usize) -> u64 {
        (macs as f64 * self.product + elements as f64 * self.element).round() as u64
    }
}

/// Two products an instruction: the inner loops take 12 instructions for 16 products of int8, 11 for 16 of int16. Fitted by
/// `grano-networks`' example `fit` to 168 layers on a Cortex-M4F, of which 155 are within 25 %; what reads int16 is estimated
/// from the loops, what writes it from counts at three sizes.
const DSP: Cost = Cost {
    product: 0.785,
    fine_product: 0.9,
    one_output: 1.16,
    one_input: 13.0,
    one_pixel: [1.02, 1.85],
    column: 1.74,
    row: [21.5, 137.0],
    each: [64.3, 32.9, 600.0],
    odd_column: 0.68,
    output: 6.4,
    fine_output: 40.0,
    wide_product: 0.723,
    transform: 3.07,
    wide_output: 12.9,
    wide_each: [10.5, 227.0, 9.5],
    odd_tile: [840.0, 380.0],
    weight: 2.66,
    element: 7.0,
    plain_product: 20.0,
};

/// Two channels × four pixels of VMLADAVA: sixteen products for one instruction, and half a load each. Fitted to
/// instructions counted on 3×3 convolutions. Winograd's method has no vectors there: with int16 lanes half as many
/// products fit an instruction, which leaves nothing for its transforms.
const HELIUM: Cost = Cost { product: 0.1, fine_product: 0.25, column: 0.08, output: 2.2, element: 2.0, ..PORTABLE };

/// One product at a time: two loads shared by a tile, a multiplication, an addition.
const PORTABLE: Cost = Cost {
    product: 4.0,
    fine_product: 4.0,
    one_output: 0.0,
    one_input: 0.0,
    one_pixel: [0.0; 2],
    row: [0.0; 2],
    each: [0.0; 3],
    wide_each: [0.0; 3],
    column: 4.0,
    odd_column: 0.0,
    output: 25.0,
    fine_output: 40.0,
    wide_product: 4.0,
    transform: 8.0,
    wide_output: 45.0,
    odd_tile: [0.0; 2],
    weight: 8.0,
    element: 20.0,
    plain_product: 20.0,
};

/// Fitted to counts in QEMU: direct convolutions of 3×3 at three sizes and of 1×1, and four by Winograd's method
/// (within 3 %), whose transforms are the portable ones. No 64-bit product makes outputs dear.
const CORTEX_M0: Cost = Cost {
    product: 3.64,
    fine_product: 3.64,
    one_output: 0.0,
    one_input: 0.0,
    one_pixel: [0.0; 2],
    row: [0.0; 2],
    each: [0.0; 3],
    wide_each: [0.0; 3],
    column: 8.5,
    odd_column: 0.0,
    output: 83.0,
    fine_output: 40.0,
    wide_product: 3.53,
    transform: 35.7,
    wide_output: 262.0,
    odd_tile: [0.0; 2],
    weight: 43.0,
    element: 65.0,
    plain_product: 20.8,
};

/// Fitted to counts in QEMU of seven direct convolutions (within 7 %) and four by Winograd's method (within 1 %), whose
/// transforms are the portable ones.
const RISCV32: Cost = Cost {
    product: 2.3,
    fine_product: 2.3,
    one_output: 0.0,
    one_input: 0.0,
    one_pixel: [0.0; 2],
    row: [0.0; 2],
    each: [0.0; 3],
    wide_each: [0.0; 3],
    column: 7.7,
    odd_column: 0.0,
    output: 71.0,
    fine_output: 40.0,
    wide_product: 2.47,
    transform: 24.7,
    wide_output: 181.0,
    odd_tile: [0.0; 2],
    weight: 27.0,
    element: 20.0,
    plain_product: 5.8,
};

/// 32 or more int8 products an instruction, estimated. Winograd's method has no vectors there: on the reference U-Net it
/// took an evaluation from 0.35 to 1.8 ms.
const WIDE_VECTORS: Cost = Cost {
    product: 0.05,
    fine_product: 0.1,
    column: 0.1,
    output: 0.5,
    fine_output: 10.0,
    element: 0.3,
    plain_product: 0.3,
    ..PORTABLE
};
