//! What a depthwise convolution on integers costs, by the loop that its chip has for it.

use grano::isa::{DepthwiseLoop, Isa};

use super::kernel::DepthwiseInt8;
use crate::cost::Cost;
use crate::target::{Target, isa};

/// Channels of Arm DSP's block.
const DSP_BLOCK: usize = 4;
/// Channels of Helium's 3×3 loop.
const HELIUM_BLOCK: usize = 16;
/// Channels of Helium's other loop.
const PLANES: usize = 8;

/// Predicted instructions. Those of Arm DSP and Helium are counted from the loops, and what is around these is fitted to
/// counts in QEMU of 13 shapes, kernels of 1×7 to 9×9, of 7 to 64 channels (within 10 %).
pub(super) fn instructions(kernel: &DepthwiseInt8, cost: &Cost, target: Target) -> u64 {
    let geometry = kernel.sums.geometry.engine();
    let residual = !kernel.residual_multipliers.is_empty();
    let (path, part) = isa!(target, I => (I::depthwise_loop(&geometry, residual), I::depthwise_part(&geometry)));
    let ([height, width], channels) = ([geometry.output.height, geometry.output.width], geometry.output.channels);
    let [k_h, k_w] = geometry.kernel;
    let ([outputs, taps], table) = ([geometry.output.len(), k_h * k_w], kernel.table.is_some());
    let extra = |residual_cost: f64, table_cost: f64| {
        f64::from(u8::from(residual)) * residual_cost + f64::from(u8::from(table)) * table_cost
    };
    let parts = [0, 1].map(|axis| [height, width][axis].div_ceil(part[axis].max(1)));
    let all_parts = (parts[0] * parts[1]) as f64;
    // Pixels of the map under a part.
    let pixels = [0, 1].map(|axis| (part[axis].saturating_sub(1)) * geometry.stride[axis] + geometry.kernel[axis]);
    let is_helium = target == Target::CortexM55;
    let count = match path {
        DepthwiseLoop::Plain => (outputs * taps) as f64 * cost.plain_product + outputs as f64 * cost.output,
        DepthwiseLoop::ThreeByThree if is_helium => {
            let blocks = channels.div_ceil(HELIUM_BLOCK) as f64;
            let row = 12.0 * (width * geometry.stride[1] + 2) as f64 + 160.0;
            let pixel = 117.0 + extra(21.0, 5.0);
            blocks * (height as f64 * (row + width as f64 * pixel) + 400.0)
        }
        DepthwiseLoop::ThreeByThree => outputs as f64 * (23.4 + extra(0.0, 1.1)),
        DepthwiseLoop::AnyKernel if is_helium => {
            let row = width.div_ceil(4) as f64 * (8.0 * taps.div_ceil(16) as f64 + 18.0 + extra(5.0, 4.0)) + 13.0;
            let channel = height as f64 * parts[1] as f64 * row + all_parts * (100.0 + taps as f64);
            // A row of the map is read once for three rows of the output, or fewer.
            let copies = k_h.div_ceil(geometry.stride[0]).clamp(1, 3) as f64;
            let copied = (part[0] * k_h * pixels[1]) as f64 * (1.0 + 5.0 / copies);
            let laid_out = copied + 80.0 * pixels[0] as f64 + (part[0] * k_h * pixels[1]) as f64;
            channels as f64 * channel + all_parts * channels.div_ceil(PLANES) as f64 * laid_out
        }
        DepthwiseLoop::AnyKernel => {
            // Blocks of two outputs, or of one.
            let (together, tap) = if geometry.stride[1] <= 2 { (2, 11.0) } else { (1, 6.0) };
            let block = tap * taps as f64 + 6.0 * k_h as f64 + 27.0 * together as f64 + extra(25.0, 9.0);
            let row = width.div_ceil(together) as f64 * block + 12.0;
            let widened = 5.0 * (pixels[0] * pixels[1] + taps) as f64 + 6.0 * (pixels[0] + k_h) as f64 + 250.0;
            channels.div_ceil(DSP_BLOCK) as f64 * (height as f64 * row + all_parts * widened)
        }
    };
    count.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use crate::kernel::Requantize;
    use crate::op::Sums;

    /// Of so many channels, with the usual padding.
    fn kernel(
        [channels, height, width]: [usize; 3],
        kernel: [usize; 2],
        stride: usize,
        residual: bool,
    ) -> DepthwiseInt8 {
        let out = |len: usize, kernel: usize| (len + 2 * (kernel / 2) - kernel) / stride + 1;
        let geometry = Geometry {
            input: [channels, height, width],
            output: [channels, out(height, kernel[0]), out(width, kernel[1])],
            kernel,
            stride: [stride; 2],
            groups: channels,
            padding: [kernel[0] / 2, kernel[1] / 2],
            upsample: [1; 2],
        };
        DepthwiseInt8 {
            sums: Sums {
                geometry,
                weights: Vec::new(),
                bias: [Vec::new(), Vec::new()],
                channels: [channels, 0],
                zero_points: [0; 2],
            },
            residual_multipliers: vec![1; if residual { channels } else { 0 }],
            requantize: Requantize { shift: 0, multipliers: Vec::new(), zero_point: 0 },
            table: None,
        }
    }

    /// What QEMU counted on a Cortex-M4F and a Cortex-M55.
    #[test]
    fn predictions_are_near_the_counts() {
        let counted = [
            (kernel([32, 14, 14], [3, 3], 1, false), [146_321, 54_953]),
            (kernel([32, 14, 14], [3, 3], 1, true), [171_417, 63_392]),
            (kernel([8, 14, 14], [3, 3], 1, false), [36_773, 20_764]),
            (kernel([24, 14, 14], [3, 3], 1, false), [109_805, 58_676]),
            (kernel([64, 8, 8], [5, 5], 1, false), [198_275, 69_378]),
            (kernel([32, 14, 14], [5, 5], 1, false), [302_565, 107_434]),
            (kernel([64, 8, 8], [3, 3], 2, false), [34_178, 12_901]),
            (kernel([32, 14, 14], [7, 7], 1, false), [531_481, 160_191]),
            (kernel([16, 14, 14], [9, 9], 1, false), [427_692, 119_346]),
            (kernel([16, 1, 64], [1, 7], 1, false), [20_783, 11_151]),
            (kernel([7, 9, 9], [5, 5], 1, false), [35_580, 14_132]),
            (kernel([16, 27, 27], [3, 3], 3, false), [58_842, 16_037]),
        ];
        for (kernel, counts) in counted {
            for (target, counted) in [Target::CortexM4, Target::CortexM55].into_iter().zip(counts) {
                let predicted = instructions(&kernel, &Cost::of(target), target);
                let ratio = predicted as f64 / f64::from(counted);
                assert!((0.85..=1.15).contains(&ratio), "{:?}, {target:?}: {ratio}", kernel.sums.geometry);
            }
        }
    }
}
