//! The ways to compute a convolution, what each takes and gives.
//!
//! - *Direct*: patch by patch.
//! - *Winograd*: F(2×2, 3×3) in integers, see the engine's `kernel::winograd`: 16 products for 36. Its weights are int16,
//!   3.6 times the flash; or they are transformed into RAM when they are used, a group of output channels at a time.
//!
//! A 3×3 convolution of a map that is first enlarged by 2 could be four 2×2 convolutions at the small size, 16 products
//! for 36, but their weights are sums of the 3×3's: rounded again to int8 they are others, and as int16 they take the
//! flash of Winograd's. Winograd's method needs 9, because the enlarged map repeats each pixel and seven of the 16
//! products vanish, and gives the direct way's bits. So the four small convolutions are not among the algorithms.

use grano::isa::{DspLoop, Operands};
use grano::kernel::winograd;

use crate::cost::{Convolution, Cost, Count, Fine, Work};
use crate::geometry::Geometry;
use crate::kernel::Element;
use crate::op::Kernel;
use crate::target::Target;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Patch by patch.
    #[default]
    Direct,
    /// Transformed weights in flash.
    Winograd,
    /// Weights are transformed into RAM.
    WinogradInRam {
        /// Output channels at a time.
        group: usize,
    },
}

/// An algorithm for a layer, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How.
    pub algorithm: Algorithm,
    /// The engine's loop, where a chip has several for direct convolutions.
    pub path: Option<DspLoop>,
    /// Predicted, see [`Cost`]; of all strips.
    pub instructions: u64,
    /// Bytes of weights, filled up to whole words.
    pub flash_bytes: usize,
    /// 32-bit words of scratch.
    pub scratch_words: usize,
}

/// A larger group must save this share of a layer's instructions, or it is not worth its RAM.
const LEAST_GAIN: f64 = 0.05;

/// The algorithms that a kernel on maps of some types can use, the direct one first; none where there is no choice. It runs
/// strip by strip where `strips`, which have the geometries of some of its rows, are there.
#[must_use]
pub fn candidates(kernel: &Kernel, maps: &[Element], strips: &[Geometry], target: Target) -> Vec<Candidate> {
    let Some(sums) = kernel.kernel().sums() else { return Vec::new() };
    let half = maps.iter().map(Element::half).max().unwrap_or_default();
    let candidate =
        |algorithm| candidate(&sums.geometry, strips, &convolution(kernel, half, algorithm, target), algorithm, target);
    let mut all = vec![candidate(Algorithm::Direct)];
    let is_head = matches!(kernel, Kernel::Conv2dHead(_));
    if !is_head && winograd::fits(&sums.geometry.engine(), half) {
        all.push(candidate(Algorithm::Winograd));
        let block = target.wide_packing().channels;
        let out_c = sums.geometry.output[0].next_multiple_of(block);
        let mut fewest = f64::INFINITY;
        for group in (block..=out_c).step_by(block) {
            let candidate = candidate(Algorithm::WinogradInRam { group });
            if (candidate.instructions as f64) < fewest * (1.0 - LEAST_GAIN) {
                fewest = candidate.instructions as f64;
                all.push(candidate);
            }
        }
    }
    all
}

/// The units of work in a kernel that reads maps of one type and runs as a whole by an algorithm; none where there is no
/// choice.
#[must_use]
pub fn counts(kernel: &Kernel, maps: Element, algorithm: Algorithm, target: Target) -> Option<Vec<Count>> {
    let geometry = kernel.kernel().sums()?.geometry;
    Some(Cost::of(target).counts(&geometry, &convolution(kernel, maps.half(), algorithm, target)))
}

/// A kernel on codes from −`half` to `half` − 1 as the cost model sees it.
fn convolution(kernel: &Kernel, half: i32, algorithm: Algorithm, target: Target) -> Convolution {
    let fine = Fine { reads: half > 128, writes: matches!(kernel, Kernel::Conv2dFine(_)) };
    let (writes_int8, adds) = match kernel {
        Kernel::Conv2dInt8(kernel) => (true, !kernel.residual_multipliers.is_empty()),
        _ => (false, false),
    };
    let maps = kernel.kernel().sums().map_or(1, |sums| 1 + usize::from(sums.channels[1] > 0));
    let loops = (target.isa() == "Dsp").then_some(Operands { reads_int8: !fine.reads, maps, writes_int8, adds });
    let work = match algorithm {
        Algorithm::Direct => Work::Direct,
        Algorithm::Winograd => Work::Winograd { group: None },
        Algorithm::WinogradInRam { group } => Work::Winograd { group: Some(group) },
    };
    Convolution { work, fine, packings: [target.packing(), target.wide_packing()], loops }
}

fn candidate(
    geometry: &Geometry,
    strips: &[Geometry],
    convolution: &Convolution,
    algorithm: Algorithm,
    target: Target,
) -> Candidate {
    let parts = if strips.is_empty() { std::slice::from_ref(geometry) } else { strips };
    let (engine, [packing, wide]) = (geometry.engine(), convolution.packings);
    let (flash_bytes, scratch_words) = match algorithm {
        Algorithm::Direct => {
            let words = parts.iter().map(|part| target.scratch_words(&part.engine()));
            (packing.packed_len(&engine), words.max().unwrap_or(0))
        }
        Algorithm::Winograd => {
            (2 * winograd::packed_len(&wide, &engine), winograd::scratch_words(&wide, &engine, None))
        }
        Algorithm::WinogradInRam { group } => {
            (winograd::plain_len(&engine), winograd::scratch_words(&wide, &engine, Some(group)))
        }
    };
    let direct = convolution.loops.filter(|_| algorithm == Algorithm::Direct);
    Candidate {
        algorithm,
        path: direct.zip(parts.first()).map(|(operands, part)| DspLoop::of(&part.engine(), operands)),
        instructions: Cost::of(target).convolution(parts, convolution),
        flash_bytes: flash_bytes.next_multiple_of(4),
        scratch_words,
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path {
            Some(path) => f.pad(&format!("{}, {}", self.algorithm, path.name())),
            None => self.algorithm.fmt(f),
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Direct => f.pad("direct"),
            Self::Winograd => f.pad("winograd"),
            Self::WinogradInRam { group } => f.pad(&format!("winograd in RAM by {group}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Affine, Requantize};
    use crate::op::{AddFloat, Conv2dInt8, Sums};

    fn conv(in_c: usize, out_c: usize, side: usize, upsample: usize) -> Kernel {
        let geometry = Geometry {
            input: [in_c, side, side],
            output: [out_c, side * upsample, side * upsample],
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            upsample: [upsample; 2],
            groups: 1,
        };
        let sums = Sums {
            geometry,
            weights: Vec::new(),
            bias: [Vec::new(), Vec::new()],
            channels: [in_c, 0],
            zero_points: [0; 2],
        };
        let requantize = Requantize { shift: 0, multipliers: Vec::new(), zero_point: 0 };
        Conv2dInt8 { sums, residual_multipliers: Vec::new(), requantize, table: None }.into()
    }

    const INT8: Element = Element::I8(Affine { scale: 1.0, zero_point: 0 });

    #[test]
    fn flash_and_products_are_those_of_the_method() {
        for (upsample, flash, products) in [(1, 32, 16), (2, 18, 9)] {
            let all = candidates(&conv(32, 32, 14, upsample), &[INT8], &[], Target::CortexM4);
            let [direct, winograd, in_ram, ..] = all[..] else { panic!("{all:?}") };
            assert_eq!(direct.flash_bytes, 32 * 32 * 9);
            assert_eq!(winograd.flash_bytes, 32 * 32 * flash);
            assert_eq!(in_ram.flash_bytes, direct.flash_bytes);
            assert!(winograd.instructions < in_ram.instructions && in_ram.instructions < direct.instructions);
            // A group's transformed weights are most of its scratch.
            assert!(in_ram.scratch_words - winograd.scratch_words == 4 * 32 * products / 2);
        }
    }

    #[test]
    fn larger_groups_are_offered_while_they_save() {
        let all = candidates(&conv(64, 64, 7, 1), &[INT8], &[], Target::CortexM4);
        let groups: Vec<u64> = all[2..].iter().map(|candidate| candidate.instructions).collect();
        assert!(groups.len() > 1 && groups.windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn strips_cost_what_they_take_apart() {
        let kernel = conv(32, 32, 14, 1);
        let sums = kernel.kernel().sums().unwrap();
        let strips = [[0, 4], [4, 8], [8, 12], [12, 14]].map(|rows| sums.geometry.rows(rows));
        let [whole, parts] = [&[][..], &strips].map(|strips| candidates(&kernel, &[INT8], strips, Target::CortexM4));
        // Whole tiles and blocks: what every call takes, and the patches at more edges.
        for (whole, part) in whole[..2].iter().zip(&parts[..2]) {
            assert_eq!((whole.flash_bytes, whole.scratch_words), (part.flash_bytes, part.scratch_words));
            assert!((whole.instructions..=whole.instructions * 51 / 50).contains(&part.instructions));
        }
        // Weights are transformed once a strip.
        assert!(parts[2].instructions > whole[2].instructions && parts[2].scratch_words == whole[2].scratch_words);
    }

    #[test]
    fn only_3x3_and_codes_of_12_bits_have_a_choice() {
        let wide = |half| Element::I16 { affine: Affine { scale: 1.0, zero_point: 0 }, half };
        assert_eq!(candidates(&conv(4, 4, 8, 1), &[wide(1 << 15)], &[], Target::CortexM4).len(), 1);
        let [direct, winograd, ..] = candidates(&conv(4, 4, 8, 1), &[wide(1 << 11)], &[], Target::CortexM4)[..] else {
            panic!("fine codes have a choice")
        };
        // Products of int16 are what Winograd's method is made of anyway.
        let int8 = candidates(&conv(4, 4, 8, 1), &[INT8], &[], Target::CortexM4);
        assert!(direct.instructions > int8[0].instructions && winograd.instructions == int8[1].instructions);
        assert!(candidates(&AddFloat {}.into(), &[INT8], &[], Target::CortexM4).is_empty());
    }

    #[test]
    fn winograd_needs_fast_inner_loops() {
        for (target, takes) in [(Target::X86, false), (Target::CortexM55, false), (Target::CortexM4, true)] {
            for upsample in [1, 2] {
                let all = candidates(&conv(32, 32, 14, upsample), &[INT8], &[], target);
                assert_eq!(all[1].instructions < all[0].instructions, takes, "{target:?}");
            }
        }
    }
}
