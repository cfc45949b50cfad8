//! Kernel calls before they have an order and buffers.

use grano::kernel::Strips;
use grano::shape::Shape;

use super::choose::Choice;
use crate::algorithm::{Candidate, candidates};
use crate::cost::Cost;
use crate::fold::{Folded, Kind, Layer};
use crate::graph::X;
use crate::kernel::{Element, Kernel};
use crate::order::Step;
use crate::quantize::Kernels;
use crate::reference::Geometry;
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
    /// Their types.
    maps: Vec<Element>,
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
    /// How the only call that reads the result runs together with this one.
    pub(super) strips: Option<Strips>,
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
        maps: Vec::new(),
        second: None,
        block: None,
        scratch: None,
        least_scratch: 0,
        choice: None,
        instructions: Some(cost.other(0, folded.input.iter().product())),
        is_output: false,
        strips: None,
    }));
    drafts.extend(folded.layers.iter().zip(kernels).map(|(layer, kernel)| {
        let (name, inputs, second) = operands(layer);
        let maps: Vec<Element> = inputs.iter().map(|&input| elements[input]).collect();
        let mut draft = Draft {
            name,
            value: &layer.name,
            shape: layer.shape,
            element: elements[&layer.name],
            macs: layer.macs(),
            kernel,
            inputs,
            maps,
            second,
            block: None,
            scratch: scratch(kernel, layer.shape, target),
            least_scratch: 0,
            choice: None,
            instructions: quantize.map(|_| cost.other(layer.macs(), layer.shape.iter().product())),
            is_output: layer.name == folded.output,
            strips: None,
        };
        draft.run_in(&[], target);
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

    /// The geometry of an int8 convolution of one int8 map.
    pub(super) fn streamable(&self) -> Option<Geometry> {
        match (self.kernel, &self.maps[..]) {
            (Kernel::Conv2dInt8 { sums, .. }, [Element::I8(_)]) => Some(sums.geometry),
            _ => None,
        }
    }

    /// Has the kernel run strip by strip, or the whole map at once where there are none, by the direct way for now.
    pub(super) fn run_in(&mut self, strips: &[Geometry], target: Target) {
        let candidates = candidates(self.kernel, &self.maps, strips, target);
        self.choice = (!candidates.is_empty()).then(|| Choice::new(candidates));
        self.choose(0);
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

/// A call, or two that run as one.
pub(super) struct Group<'d, 'a> {
    /// The one whose map the other takes strip by strip.
    pub(super) first: Option<(&'d Draft<'a>, Strips)>,
    /// The one whose result is the group's.
    pub(super) last: &'d Draft<'a>,
}

/// The calls as they run, in the order of their results.
pub(super) fn groups<'d, 'a>(drafts: &'d [Draft<'a>]) -> Vec<Group<'d, 'a>> {
    let first = |last: &Draft<'_>| {
        let maker = drafts.iter().find(|draft| draft.value == last.inputs[0])?;
        Some((maker, maker.strips?))
    };
    let lasts = drafts.iter().filter(|draft| draft.strips.is_none());
    lasts.map(|last| Group { first: first(last), last }).collect()
}

impl<'d, 'a> Group<'d, 'a> {
    /// In the order in which they stand in the program.
    pub(super) fn drafts(&self) -> impl Iterator<Item = &'d Draft<'a>> {
        self.first.map(|(first, _)| first).into_iter().chain([self.last])
    }

    /// As [`Draft::donors`]; a pair may also overwrite the map that the first of them reads.
    pub(super) fn donors(&self) -> Vec<&'a str> {
        let Some((first, strips)) = self.first else { return self.last.donors() };
        let (source, second) = (first.inputs[0], self.last.second);
        let all = second.into_iter().chain((second != Some(source)).then_some(source));
        all.filter(|&value| value != source || strips.may_overwrite()).collect()
    }

    /// Values in the arena that are read.
    fn reads(&self) -> impl Iterator<Item = &'a str> + '_ {
        let between = self.first.map(|(first, _)| first.value);
        self.drafts().flat_map(Draft::reads).filter(move |&value| Some(value) != between)
    }

    /// Type and number of the elements that the kernels work in, one after the other.
    pub(super) fn scratch(&self) -> Option<(Element, usize)> {
        self.drafts().filter_map(|draft| draft.scratch).max_by_key(|&(element, len)| element.bytes() * len)
    }

    /// Type and number of the elements of the rows that are there between two calls.
    pub(super) fn window(&self) -> Option<(Element, usize)> {
        let (first, strips) = self.first?;
        let [channels, _, width] = first.shape;
        Some((first.element, strips.window_rows() * width * channels))
    }
}

/// What the search for an order sees of the calls.
pub(super) fn steps(groups: &[Group<'_, '_>]) -> Vec<Step> {
    let maker = |value: &str| groups.iter().position(|group| group.last.value == value);
    let room = |(element, len): (Element, usize)| (element.bytes() * len).next_multiple_of(4);
    let step = |group: &Group<'_, '_>| {
        let overwrites = group.donors().into_iter().filter_map(maker);
        Step {
            reads: group.reads().filter_map(maker).collect(),
            overwrites: overwrites.filter(|&maker| group.last.fits(groups[maker].last)).collect(),
            bytes: if group.last.is_output { 0 } else { room((group.last.element, group.last.len())) },
            scratch_bytes: group.scratch().map_or(0, room) + group.window().map_or(0, room),
        }
    };
    groups.iter().map(step).collect()
}

/// For each group the last one that reads its result, or itself.
pub(super) fn last_reads(groups: &[&Group<'_, '_>]) -> Vec<usize> {
    let last_read = |(index, group): (usize, &&Group<'_, '_>)| {
        groups.iter().rposition(|reader| reader.reads().any(|value| value == group.last.value)).unwrap_or(index)
    };
    groups.iter().enumerate().map(last_read).collect()
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
            Some((Element::I32, target.attention_scratch(Shape { height, width, channels }, *heads)))
        }
        Kernel::AttentionFloat { heads, .. } => Some((Element::F32, height * width * (1 + channels / heads))),
        _ => None,
    }
}
