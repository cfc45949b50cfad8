//! Kernel calls before they have an order and buffers.

use std::collections::BTreeMap;

use grano::kernel::AttentionInt8;
use grano::shape::Shape;

use super::choose::Choice;
use crate::algorithm::{Candidate, candidates};
use crate::cost::Cost;
use crate::fold::{Folded, Kind, Layer};
use crate::graph::X;
use crate::kernel::{Element, Kernel};
use crate::order::Step;
use crate::quantize::Kernels;
use crate::target::Target;

/// A kernel call that names the values it reads.
pub(super) struct Draft<'a> {
    /// For people: the graph's node.
    pub(super) name: &'a str,
    /// The value that is computed.
    pub(super) value: &'a str,
    /// `[channels, height, width]` of that value.
    pub(super) shape: [usize; 3],
    pub(super) element: Element,
    pub(super) macs: usize,
    pub(super) kernel: &'a Kernel,
    /// The maps.
    pub(super) inputs: Vec<&'a str>,
    /// The second operand of a sum.
    pub(super) second: Option<&'a str>,
    /// Side of the blocks of pixels that the result's channels become, in place.
    pub(super) block: Option<usize>,
    /// Type and number of the elements that the kernel works in.
    pub(super) scratch: Option<(Element, usize)>,
    /// Least number of those elements, whatever the kernel's algorithm.
    least_scratch: usize,
    /// Its algorithms, where it is a convolution on integers.
    pub(super) choice: Option<Choice>,
    /// Predicted, on integers.
    pub(super) instructions: Option<u64>,
    /// Whether the sampler takes the result.
    pub(super) is_output: bool,
}

/// The calls in the order of the layers.
pub(super) fn drafts<'a>(folded: &'a Folded, (kernels, elements): &'a Kernels, target: Target) -> Vec<Draft<'a>> {
    let mut drafts = Vec::new();
    let cost = Cost::of(target);
    let (quantize, kernels) = match kernels.split_first() {
        Some((quantize @ Kernel::Quantize { .. }, kernels)) => (Some(quantize), kernels),
        _ => (None, &kernels[..]),
    };
    drafts.extend(quantize.map(|kernel| Draft {
        name: "quantize",
        value: X,
        shape: folded.input,
        element: elements[X],
        macs: 0,
        kernel,
        inputs: vec![X],
        second: None,
        block: None,
        scratch: None,
        least_scratch: 0,
        choice: None,
        instructions: Some(cost.other(0, folded.input.iter().product())),
        is_output: false,
    }));
    drafts.extend(folded.layers.iter().zip(kernels).map(|(layer, kernel)| {
        let (name, inputs, second) = operands(layer);
        let maps: Vec<Element> = inputs.iter().map(|&input| elements[input]).collect();
        let candidates = candidates(kernel, &maps, target);
        let mut draft = Draft {
            name,
            value: &layer.name,
            shape: layer.shape,
            element: elements[&layer.name],
            macs: layer.macs(),
            kernel,
            inputs,
            second,
            block: None,
            scratch: scratch(kernel, layer.shape, target),
            least_scratch: 0,
            choice: (!candidates.is_empty()).then(|| Choice::new(candidates)),
            instructions: quantize.map(|_| cost.other(layer.macs(), layer.shape.iter().product())),
            is_output: layer.name == folded.output,
        };
        draft.choose(0);
        draft
    }));
    join_depth_to_space(&mut drafts);
    drafts
}

/// A network that ends in a convolution and a depth_to_space writes the convolution's sums to the sampler's map, and
/// there makes pixels of channels, a row at a time: the map between the two is never in the arena.
fn join_depth_to_space(drafts: &mut Vec<Draft<'_>>) {
    let [.., head, last] = &mut drafts[..] else { return };
    let &Kernel::DepthToSpace { input: [channels, _, width], block } = last.kernel else { return };
    let converts = matches!(head.kernel, Kernel::Conv2dInt8Head { .. } | Kernel::Conv2dFloat { .. });
    if !converts || last.inputs != [head.value] || head.inputs.contains(&X) || head.element != last.element {
        return;
    }
    let (element, len) = head.scratch.unwrap_or((head.element, 0));
    let row_len = (channels * width * head.element.bytes()).div_ceil(element.bytes());
    head.scratch = Some((element, len.max(row_len)));
    head.least_scratch = row_len;
    head.block = Some(block);
    (head.value, head.shape, head.is_output) = (last.value, last.shape, true);
    drafts.pop();
}

impl<'a> Draft<'a> {
    /// Values whose buffer the result may take, if nothing reads them afterwards, the best first.
    ///
    /// An element of the result may only overwrite elements that are read for it alone: a convolution cannot
    /// overwrite its map, but what is added to it.
    pub(super) fn donors(&self) -> Vec<&'a str> {
        let reads_once =
            |value: &&str| self.inputs.iter().chain(&self.second).filter(|&other| other == value).count() == 1;
        let all = match self.kernel {
            _ if self.is_output => Vec::new(),
            Kernel::ActivationInt8 { .. }
            | Kernel::ActivationFloat { .. }
            | Kernel::GroupNormInt8 { .. }
            | Kernel::GroupNormFloat { .. }
            | Kernel::AttentionInt8 { .. }
            | Kernel::AttentionFloat { .. } => vec![self.inputs[0]],
            Kernel::AddInt8 { .. } | Kernel::AddFloat => {
                self.second.into_iter().chain(self.inputs.first().copied()).collect()
            }
            _ => self.second.into_iter().collect(),
        };
        all.into_iter().filter(reads_once).collect()
    }

    /// Has the kernel use one of its algorithms.
    pub(super) fn choose(&mut self, candidate: usize) {
        let Some(choice) = &mut self.choice else { return };
        choice.chosen = candidate;
        let Candidate { scratch_words, instructions, .. } = *choice.candidate();
        self.scratch = Some((Element::I32, scratch_words.max(self.least_scratch)));
        self.instructions = Some(instructions);
    }

    /// Elements of the result.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the result takes as much room as the other's.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.len() == other.len() && self.element.bytes() == other.element.bytes()
    }

    /// Values in the arena that are read.
    fn reads(&self) -> impl Iterator<Item = &'a str> + '_ {
        let quantizes = matches!(self.kernel, Kernel::Quantize { .. });
        self.inputs.iter().copied().filter(move |_| !quantizes).chain(self.second)
    }
}

/// What the search for an order sees of the calls.
pub(super) fn steps(drafts: &[Draft<'_>]) -> Vec<Step> {
    let makers: BTreeMap<&str, usize> = drafts.iter().enumerate().map(|(index, draft)| (draft.value, index)).collect();
    let room = |element: Element, len: usize| (element.bytes() * len).next_multiple_of(4);
    let step = |draft: &Draft<'_>| Step {
        reads: draft.reads().filter_map(|value| makers.get(value).copied()).collect(),
        overwrites: draft
            .donors()
            .into_iter()
            .filter_map(|value| makers.get(value).copied())
            .filter(|&maker| draft.fits(&drafts[maker]))
            .collect(),
        bytes: if draft.is_output { 0 } else { room(draft.element, draft.len()) },
        scratch_bytes: draft.scratch.map_or(0, |(element, len)| room(element, len)),
    };
    drafts.iter().map(step).collect()
}

/// For each call the last one that reads its result, or itself.
pub(super) fn last_reads(drafts: &[&Draft<'_>]) -> Vec<usize> {
    let last_read = |(index, draft): (usize, &&Draft<'_>)| {
        drafts.iter().rposition(|reader| reader.reads().any(|value| value == draft.value)).unwrap_or(index)
    };
    drafts.iter().enumerate().map(last_read).collect()
}

/// A layer's name for people, its maps, and the second operand of its sum.
fn operands(layer: &Layer) -> (&str, Vec<&str>, Option<&str>) {
    match &layer.kind {
        Kind::Conv2d(conv) => {
            (&conv.node, conv.inputs.iter().map(|(input, _)| input.as_str()).collect(), conv.residual.as_deref())
        }
        Kind::Add { inputs: [a, b] } => (&layer.name, vec![a], Some(b)),
        Kind::GroupNorm(norm) => (&norm.node, vec![&norm.input], None),
        _ => (&layer.name, layer.inputs(), None),
    }
}

/// Type and number of the elements of scratch that a kernel without a choice takes.
fn scratch(kernel: &Kernel, [channels, height, width]: [usize; 3], target: Target) -> Option<(Element, usize)> {
    match kernel {
        Kernel::Conv2dFloat { geometry, .. } => Some((Element::F32, target.float_scratch(&geometry.engine()))),
        Kernel::GroupNormInt8 { .. } => Some((Element::I32, 2 * channels)),
        Kernel::GroupNormFloat { .. } => Some((Element::F32, 2 * channels)),
        Kernel::AttentionInt8 { heads, .. } => {
            Some((Element::I32, AttentionInt8::scratch_words(Shape { height, width, channels }, *heads)))
        }
        Kernel::AttentionFloat { heads, .. } => Some((Element::F32, height * width * (1 + channels / heads))),
        _ => None,
    }
}
