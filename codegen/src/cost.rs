//! What a layer costs on a chip, by a few counts of the work in it.
//!
//! The unit is an instruction, as an emulator counts them. The coefficients say how many of them a unit of work takes
//! in the engine's inner loops, loads and loops included. They choose between algorithms and fill the report; nothing
//! else depends on them.

use grano::isa::Packing;
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
    /// own.
    pub one_output: Option<f64>,
    /// Per element of the patches that a direct convolution gathers.
    pub column: f64,
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
    /// Per tile of Winograd's method, where input channels are no whole quadruples, and where output channels are none.
    pub odd_tile: [f64; 2],
    /// Per transformed weight, where weights are transformed when they are used.
    pub weight: f64,
    /// Per element of a layer that has no products, such as a sum.
    pub element: f64,
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
    pub fn convolution(&self, parts: &[Geometry], work: Work, fine: Fine, packings: [Packing; 2]) -> u64 {
        let mut all: Vec<(usize, f64)> = Vec::new();
        for (count, coefficient) in parts.iter().flat_map(|part| self.counts(part, work, fine, packings)) {
            match all.iter_mut().find(|(_, other)| *other == coefficient) {
                Some((sum, _)) => *sum += count,
                None => all.push((count, coefficient)),
            }
        }
        all.into_iter().map(|(count, coefficient)| count as f64 * coefficient).sum::<f64>().round() as u64
    }

    /// Work of a convolution, and instructions a unit of each kind.
    fn counts(&self, geometry: &Geometry, work: Work, fine: Fine, [direct, wide]: [Packing; 2]) -> Vec<(usize, f64)> {
        let Geometry { input: [in_c, ..], output: [out_c, out_h, out_w], .. } = *geometry;
        let outputs = out_c * out_h * out_w;
        let products = |packing: Packing, pixels: usize, taps: usize| {
            pixels.next_multiple_of(packing.pixels) * taps * out_c.next_multiple_of(packing.channels)
        };
        let one_output = self.one_output.filter(|_| {
            let plain = [geometry.stride, geometry.padding, geometry.upsample] == [[1; 2]; 3];
            let whole = geometry.input[1] == out_h;
            out_c == 1 && plain && whole && geometry.kernel == [3; 2] && matches!(in_c, 16 | 32)
        });
        let product = if fine.reads { self.fine_product } else { self.product };
        let mut counts = match (work, one_output) {
            (Work::Direct, Some(product)) => vec![(outputs * geometry.taps(), product)],
            (Work::Direct, None) => {
                let columns = out_h * out_w * geometry.taps();
                let more = if in_c.is_multiple_of(4) { 0.0 } else { self.odd_column };
                vec![
                    (products(direct, out_h * out_w, direct.patch_taps(&geometry.engine())), product),
                    (columns, self.column + more),
                    (outputs, self.output),
                ]
            }
            (Work::Winograd { group }, _) => {
                let tiles = out_h.div_ceil(2) * out_w.div_ceil(2);
                let positions = winograd::positions(geometry.upsample);
                let passes = group.map_or(1, |group| out_c.div_ceil(group));
                let weights = if group.is_some() { positions * in_c * out_c } else { 0 };
                let odd = |channels: usize| if channels.is_multiple_of(4) { 0 } else { tiles };
                vec![
                    (positions * products(wide, tiles, wide.padded_taps(in_c)), self.wide_product),
                    (passes * positions * tiles * in_c, self.transform),
                    (outputs, self.wide_output),
                    (weights, self.weight),
                    (passes * odd(in_c), self.odd_tile[0]),
                    (odd(out_c), self.odd_tile[1]),
                ]
            }
        };
        counts.extend(fine.writes.then_some((outputs, self.fine_output)));
        counts
    }

    /// Instructions of any other layer.
    #[must_use]
    pub fn other(&self, macs: usize, elements: usize) -> u64 {
        (macs as f64 * self.product + elements as f64 * self.element).round() as u64
    }
}

/// Two products an instruction: the inner loops take 12 instructions for 16 products of int8, 11 for 16 of int16. The
/// rest of Winograd's method is fitted to counts in QEMU at three sizes (within 4 %: of an odd map, the lowest tiles take
/// fewer products than this), that of others estimated from the code around them.
const DSP: Cost = Cost {
    product: 12.0 / 16.0,
    fine_product: 1.5,
    one_output: Some(1.16),
    column: 1.2,
    odd_column: 0.6,
    output: 13.0,
    fine_output: 40.0,
    wide_product: 11.0 / 16.0,
    transform: 3.2,
    wide_output: 16.0,
    odd_tile: [800.0, 250.0],
    weight: 3.0,
    element: 7.0,
};

/// Two channels × four pixels of VMLADAVA: sixteen products for one instruction, and half a load each. Fitted to
/// instructions counted on 3×3 convolutions. Winograd's method has no vectors there: with int16 lanes half as many
/// products fit an instruction, which leaves nothing for its transforms.
const HELIUM: Cost = Cost { product: 0.1, fine_product: 0.25, column: 0.08, output: 2.2, element: 2.0, ..PORTABLE };

/// One product at a time: two loads shared by a tile, a multiplication, an addition.
const PORTABLE: Cost = Cost {
    product: 4.0,
    fine_product: 4.0,
    one_output: None,
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
};

/// Fitted to counts in QEMU: direct convolutions of 3×3 at three sizes and of 1×1, and four by Winograd's method
/// (within 3 %), whose transforms are the portable ones. No 64-bit product makes outputs dear.
const CORTEX_M0: Cost = Cost {
    product: 3.64,
    fine_product: 3.64,
    one_output: None,
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
};

/// Fitted to counts in QEMU of seven direct convolutions (within 7 %) and four by Winograd's method (within 1 %), whose
/// transforms are the portable ones.
const RISCV32: Cost = Cost {
    product: 2.3,
    fine_product: 2.3,
    one_output: None,
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
};

/// 32 or more int8 products an instruction, estimated. Winograd's method has no vectors there: on the reference U-Net it
/// took an evaluation from 0.35 to 1.8 ms.
const WIDE_VECTORS: Cost =
    Cost { product: 0.05, fine_product: 0.1, column: 0.1, output: 0.5, fine_output: 10.0, element: 0.3, ..PORTABLE };
