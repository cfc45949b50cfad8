//! Kernel calls before they have an order and buffers.

use std::borrow::Cow;

use grano::kernel::Strips;

use super::choice::Choice;
use crate::algorithm::{Candidate, candidates};
use crate::cost::Cost;
use crate::fold::Folded;
use crate::geometry::Geometry;
use crate::graph::X;
use crate::kernel::Element;
use crate::op::{Donor, Kernel, Shuffle};
use crate::order::Step;
use crate::quantize::{Exit, Kernels};
use crate::target::Target;

/// A kernel call that names the values it reads.
pub(super) struct Draft<'a> {
    /// For people: the graph's node.
    pub(super) name: Cow<'a, str>,
    /// The value that is computed.
    pub(super) value: &'a str,
    /// `[channels, height, width]` of that value.
    pub(super) shape: [usize; 3],
    pub(super) element: Element,
    pub(super) macs: usize,
    pub(super) kernel: &'a Kernel,
    /// The number of the network's input that it reads.
    pub(super) port: Option<usize>,
    /// The maps.
    pub(super) inputs: Vec<&'a str>,
    /// Their types.
    pub(super) maps: Vec<Element>,
    /// The second operand of a sum, and its type.
    pub(super) second: Option<(&'a str, Element)>,
    /// How the result leaves the network.
    pub(super) head: Option<Head>,
    /// Type and number of the elements that the kernel works in.
    pub(super) scratch: Option<(Element, usize)>,
    /// Its algorithms, where it is a convolution on integers.
    pub(super) choice: Option<Choice>,
    /// Predicted, on integers.
    pub(super) instructions: Option<u64>,
    /// How the only call that reads the result runs together with this one.
    pub(super) strips: Option<Strips>,
    target: Target,
}

/// An output that leaves the network as f32, some rows at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The number of the output.
    pub output: usize,
    /// Rows of the kernel's result at a time.
    pub rows: usize,
    /// What makes pixels of the result's channels on the way.
    pub shuffle: Option<Shuffle>,
    /// `[channels, height, width]` of the kernel's result.
    pub shape: [usize; 3],
}

/// The calls in the order of the layers, the inputs first, outputs that no head hands out last.
pub(super) fn drafts<'a>(folded: &'a Folded, kernels: &'a Kernels, target: Target) -> Vec<Draft<'a>> {
    let Kernels { inputs, layers, exits, elements } = kernels;
    let cost = Cost::of(target);
    let new = |name, value, shape: [usize; 3], kernel: &'a Kernel| Draft {
        name,
        value,
        shape,
        element: elements.get(value).copied().unwrap_or(Element::F32),
        macs: 0,
        kernel,
        port: None,
        inputs: Vec::new(),
        maps: Vec::new(),
        second: None,
        head: None,
        scratch: kernel.kernel().scratch(shape, target),
        choice: None,
        instructions: None,
        strips: None,
        target,
    };
    let mut drafts = Vec::new();
    for (port, ((value, shape), kernel)) in folded.inputs.iter().zip(inputs).enumerate() {
        let verb = if matches!(kernel, Kernel::Quantize(_)) { "quantize" } else { "load" };
        let name = if value == X { verb.into() } else { format!("{verb}.{value}").into() };
        drafts.push(Draft { port: Some(port), ..new(name, value, *shape, kernel) });
    }
    for (layer, kernel) in folded.layers.iter().zip(layers) {
        let Some(kernel) = kernel else { continue };
        let (inputs, second) = (layer.kind.layer().maps(), layer.kind.layer().second());
        let shape = layer.shape;
        let head = exits.iter().enumerate().find_map(|(output, exit)| match exit {
            Exit::Head { layer: head, shuffle } if *head == layer.name => {
                Some(Head { output, rows: 1, shuffle: shuffle.clone(), shape })
            }
            _ => None,
        });
        drafts.push(Draft {
            macs: layer.macs(),
            maps: inputs.iter().map(|&input| elements[input]).collect(),
            second: second.map(|second| (second, elements[second])),
            inputs,
            head,
            ..new(layer.node().into(), &layer.name, shape, kernel)
        });
    }
    for (output, (exit, value)) in exits.iter().zip(&folded.outputs).enumerate() {
        let Exit::Store(kernel) = exit else { continue };
        let shape = folded.position(value).map_or([0; 3], |at| folded.layers[at].shape);
        let head = Head { output, rows: 1, shuffle: None, shape };
        drafts.push(Draft {
            inputs: vec![value],
            maps: vec![elements[value]],
            head: Some(head),
            element: Element::F32,
            ..new(format!("store.{value}").into(), value, shape, kernel)
        });
    }
    let integers = drafts.iter().any(|draft| matches!(draft.element, Element::I8(_) | Element::I16 { .. }));
    for draft in &mut drafts {
        let predicted = draft.kernel.kernel().instructions(&cost, target, [draft.macs, draft.len()]);
        draft.instructions = integers.then_some(predicted);
        draft.run_in(&[]);
        draft.hand_out(1);
    }
    drafts
}

impl<'a> Draft<'a> {
    /// The name of the second operand.
    pub(super) fn added(&self) -> Option<&'a str> {
        self.second.map(|(value, _)| value)
    }

    /// Values whose buffer the result may take, if nothing reads them afterwards, the best first.
    pub(super) fn donors(&self) -> Vec<&'a str> {
        let added = self.added();
        let reads_once = |value: &&str| self.inputs.iter().chain(&added).filter(|&other| other == value).count() == 1;
        let first = self.inputs.first().copied();
        let (second, first) = match self.kernel.kernel().donor() {
            _ if self.head.is_some() => (None, None),
            Donor::None => (None, None),
            Donor::First => (None, first),
            Donor::Second => (added, None),
            Donor::Either => (added, first),
        };
        second.into_iter().chain(first).filter(reads_once).collect()
    }

    /// The geometry of an int8 convolution of one int8 map.
    pub(super) fn streamable(&self) -> Option<Geometry> {
        match (self.kernel, &self.maps[..]) {
            (Kernel::Conv2dInt8(kernel), [Element::I8(_)]) => Some(kernel.sums.geometry),
            _ => None,
        }
    }

    /// About how much effort it takes to weigh its algorithms when it runs in so many parts.
    pub(super) fn trials(&self, parts: usize) -> usize {
        self.choice.as_ref().map_or(1, |_| parts * (4 + self.shape[0] / 4))
    }

    /// Has the kernel run strip by strip, or the whole map at once where there are none, by the direct way for now.
    pub(super) fn run_in(&mut self, strips: &[Geometry]) {
        let candidates = candidates(self.kernel, &self.maps, strips, self.target);
        self.choice = (!candidates.is_empty()).then(|| Choice::new(candidates));
        self.choose(0);
    }

    /// Has a head hand out so many rows at a time, or all at once where its kernel cannot make some alone.
    pub(super) fn hand_out(&mut self, rows: usize) {
        let Some(head) = &mut self.head else { return };
        let [_, height, _] = head.shape;
        let geometry = match self.kernel {
            Kernel::Conv2dHead(kernel) => Some(kernel.sums.geometry),
            Kernel::Conv2dFloat(kernel) => Some(kernel.geometry),
            _ => None,
        };
        let splits = geometry.is_none_or(|geometry| geometry.engine().splits());
        let rows = if splits { rows.min(height) } else { height };
        head.rows = rows;
        let Some(geometry) = geometry else { return self.run_in(&[]) };
        let parts: Vec<Geometry> = match rows < height {
            true => (0..height).step_by(rows).map(|from| geometry.rows([from, (from + rows).min(height)])).collect(),
            false => vec![geometry],
        };
        if let Kernel::Conv2dFloat(_) = self.kernel {
            let len = parts.iter().map(|part| self.target.float_scratch(&part.engine())).max().unwrap_or(0);
            self.scratch = Some((Element::F32, len));
        }
        self.run_in(if rows < height { &parts } else { &[] });
    }

    /// Elements of scratch that making pixels of a row takes.
    fn least_scratch(&self) -> usize {
        let shuffle = self.head.as_ref().and_then(|head| head.shuffle.as_ref());
        shuffle.map_or(0, |shuffle| shuffle.input[0] * shuffle.input[2])
    }

    /// Has the kernel use one of its algorithms.
    pub(super) fn choose(&mut self, candidate: usize) {
        let least = self.least_scratch();
        let Some(choice) = &mut self.choice else {
            self.scratch = match self.scratch {
                Some((element, len)) => Some((element, len.max(least))),
                None => (least > 0).then_some((Element::F32, least)),
            };
            return;
        };
        choice.chosen = candidate;
        let Candidate { scratch_words, instructions, .. } = *choice.candidate();
        self.scratch = Some((Element::I32, scratch_words.max(least)));
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
    pub(super) fn reads(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.inputs.iter().copied().chain(self.added())
    }

    /// Values that it computes in the arena.
    pub(super) fn makes(&self) -> Option<&'a str> {
        self.head.is_none().then_some(self.value)
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
        let maker = drafts.iter().find(|draft| draft.makes() == last.inputs.first().copied())?;
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
        let (source, second) = (first.inputs[0], self.last.added());
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

    /// Type and number of the elements of the rows that are there between two calls, or of an output.
    pub(super) fn window(&self) -> Option<(Element, usize)> {
        if let Some(Head { rows, shape: [channels, _, width], .. }) = self.last.head {
            return Some((Element::F32, rows * width * channels));
        }
        let (first, strips) = self.first?;
        let [channels, _, width] = first.shape;
        Some((first.element, strips.window_rows() * width * channels))
    }
}

/// What the search for an order sees of the calls.
pub(super) fn steps(groups: &[Group<'_, '_>]) -> Vec<Step> {
    let maker = |value: &str| groups.iter().position(|group| group.last.makes() == Some(value));
    let room = |(element, len): (Element, usize)| (element.bytes() * len).next_multiple_of(4);
    let step = |group: &Group<'_, '_>| {
        let overwrites = group.donors().into_iter().filter_map(maker);
        Step {
            reads: group.reads().filter_map(maker).collect(),
            overwrites: overwrites.filter(|&maker| group.last.fits(groups[maker].last)).collect(),
            bytes: if group.last.head.is_some() { 0 } else { room((group.last.element, group.last.len())) },
            scratch_bytes: group.scratch().map_or(0, room) + group.window().map_or(0, room),
        }
    };
    groups.iter().map(step).collect()
}

/// For each group the last one that reads its result, or itself.
pub(super) fn last_reads(groups: &[&Group<'_, '_>]) -> Vec<usize> {
    let last_read = |(index, group): (usize, &&Group<'_, '_>)| {
        groups.iter().rposition(|reader| reader.reads().any(|value| Some(value) == group.last.makes())).unwrap_or(index)
    };
    groups.iter().enumerate().map(last_read).collect()
}
