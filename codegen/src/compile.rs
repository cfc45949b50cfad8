//! *Compile*: all stages between a model and what runs: folded, in the device's numbers, lowered, planned and packed.
//!
//! What comes out serves two ends: [`crate::emit`] writes it as static Rust, [`crate::runtime`] runs it in process.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::fold::fold;
use crate::geometry::engine_shape;
use crate::graph::{Graph, Port, Shape};
use crate::kernel::Element;
use crate::limits::{Effort, MOST_ROW_ELEMENTS, MOST_ROW_PRODUCTS, MOST_STEPS, at_most};
use crate::lower::{Call, Program, Room, direct, lower};
use crate::model::{DENOISER, Model, Network};
use crate::op::pair;
use crate::pack::{Constants, Packed};
use crate::quantize::{Kernels, Numbers, kernels};
use crate::target::Target;

/// A model's networks, ready to run, on one block of constants.
pub struct Compiled {
    /// The denoiser first, where there is one.
    pub networks: Vec<CompiledNetwork>,
    /// All constants.
    pub constants: Constants,
    /// The chip.
    pub target: Target,
    /// Whether the search for orders, algorithms and strips ended early, at [`crate::limits::Effort`].
    pub gave_up: bool,
}

/// A network, ready to run.
pub struct CompiledNetwork {
    /// Its name in the model.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<Port>,
    /// What it gives, by name, `[channels, height, width]`.
    pub outputs: Vec<(String, [usize; 3])>,
    /// Number of classes; label `classes` means "no class".
    pub classes: usize,
    /// The time index of each row.
    pub times: Vec<usize>,
    /// Its calls and buffers.
    pub program: Program,
    /// What runs at once, in order.
    pub groups: Vec<Group>,
}

/// One call, or two that run strip by strip, with its constants packed.
pub struct Group {
    /// The graph's node, or both nodes.
    pub name: String,
    /// Its calls in the program.
    pub calls: Range<usize>,
    /// What runs.
    pub packed: Box<dyn Packed>,
    /// Bytes of each call's constants.
    pub call_bytes: Vec<usize>,
}

/// What a build may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of constants.
    pub flash_bytes: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
}

/// A network on its way, with the numbers that it is computed in.
struct Draft<'a> {
    name: &'a str,
    network: &'a Network,
    folded: crate::fold::Folded,
    kernels: Kernels,
}

/// Compiles the networks of a model for the rows of some time indices. `numbers` gives the numbers of each by name. Faster
/// algorithms take what flash and RAM the slowest leave, the denoiser's first.
///
/// # Errors
/// Names the network's node that cannot be compiled, and why.
pub fn compile<'a>(
    model: &'a Model,
    times: &[usize],
    target: Target,
    budget: Budget,
    numbers: impl Fn(&str) -> Result<Numbers<'a>>,
) -> Result<Compiled> {
    let effort = Effort::default();
    let mut drafts = Vec::new();
    for (name, network) in &model.networks {
        check_rows(name, &network.graph, times.len())?;
        let folded = fold(network, times)?;
        let kernels = kernels(&folded, numbers(name)?)?;
        drafts.push(Draft { name, network, folded, kernels });
    }
    drafts.sort_by_key(|draft| draft.name != DENOISER);
    // What faster algorithms may take is what the slowest, which take the least, leave; of flash without end, all.
    let least_bytes: Vec<usize> = match budget.flash_bytes {
        usize::MAX => vec![0; drafts.len()],
        _ => drafts.iter().map(|draft| draft.least_bytes(target, &effort)).collect::<Result<_>>()?,
    };
    let mut room_bytes = budget.flash_bytes.saturating_sub(least_bytes.iter().sum());
    let mut constants = Constants::new(target.align());
    let mut networks = Vec::new();
    for (draft, least_bytes) in drafts.into_iter().zip(least_bytes) {
        let room = Room { flash_bytes: room_bytes, arena_bytes: budget.arena_bytes };
        let program = lower(&draft.folded, &draft.kernels, target, room, &effort)?;
        let before = constants.len();
        let groups = pack(&program, &mut constants);
        room_bytes = room_bytes.saturating_sub((constants.len() - before).saturating_sub(least_bytes));
        let shape = |name: &String| draft.folded.position(name).map_or([0; 3], |at| draft.folded.layers[at].shape);
        networks.push(CompiledNetwork {
            name: draft.name.into(),
            inputs: draft.network.graph.inputs.clone(),
            outputs: draft.folded.outputs.iter().map(|name| (name.clone(), shape(name))).collect(),
            classes: draft.folded.classes,
            times: draft.folded.times.clone(),
            program,
            groups,
        });
    }
    Ok(Compiled { networks, constants, target, gave_up: effort.is_spent() })
}

impl Compiled {
    /// That the engine takes every kernel's parameters: what generated code asserts when it is compiled.
    ///
    /// # Errors
    /// Names the layer, and what it lacks.
    pub(crate) fn prove(&self) -> Result<()> {
        let bytes = self.constants.bytes();
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        let constants = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
        constants.copy_from_slice(bytes);
        for group in self.networks.iter().flat_map(|network| &network.groups) {
            let refused = |reason| Error::node(&group.name, format!("the engine cannot compute it: {reason}"));
            group.packed.prove(constants, self.target).map_err(refused)?;
        }
        Ok(())
    }
}

impl Draft<'_> {
    /// Bytes of constants with direct convolutions alone.
    fn least_bytes(&self, target: Target, effort: &Effort) -> Result<usize> {
        let mut constants = Constants::new(target.align());
        pack(&direct(&self.folded, &self.kernels, target, effort)?, &mut constants);
        Ok(constants.len())
    }
}

/// That a network's rows of time and class take neither too much memory nor too long to compute.
fn check_rows(name: &str, graph: &Graph, steps: usize) -> Result<()> {
    at_most("time indices, a row each", steps, MOST_STEPS)?;
    let rows = (steps + graph.classes() + 1) as u64;
    let shapes = graph.shapes()?;
    let is_condition = |shape: Shape| matches!(shape, Shape::Time | Shape::Label);
    let mut conditions: BTreeSet<&str> =
        graph.inputs.iter().filter(|port| is_condition(port.kind.into())).map(|port| port.name.as_str()).collect();
    let (mut elements, mut products) = (0_u64, 0_u64);
    for node in &graph.nodes {
        let len = |value: &str| shapes[value].map().map_or(0, |map| map.iter().product::<usize>() as u64);
        let read = node.inputs.iter().filter(|input| conditions.contains(input.as_str()));
        if read.clone().count() == node.inputs.len() {
            let inputs: Vec<Shape> = node.inputs.iter().map(|input| shapes[input]).collect();
            let macs = node.op.operation().macs(&inputs, shapes[&node.name]);
            products = products.saturating_add(rows.saturating_mul(macs));
            elements = elements.saturating_add(rows * len(&node.name));
            conditions.insert(&node.name);
        } else {
            elements = elements.saturating_add(read.map(|input| rows * len(input)).sum());
        }
    }
    let advice = "name fewer samplers or steps, or train a smaller network";
    let count = |what: &str| format!("network `{name}`, {rows} rows of time and class: {what}");
    at_most(&count("elements"), elements, MOST_ROW_ELEMENTS)
        .and_then(|()| at_most(&count("products"), products, MOST_ROW_PRODUCTS))
        .map_err(|error| Error::Model(format!("{error}; {advice}")))
}

/// Packs all calls.
fn pack(program: &Program, constants: &mut Constants) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for calls in program.groups() {
        let start = groups.last().map_or(0, |group| group.calls.end);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let before = constants.len();
        let (packed, call_bytes) = match calls {
            [first, last] => pair(first, last, constants),
            _ => {
                let packed = calls[0].kernel.kernel().pack(&calls[0], constants);
                (packed, vec![constants.len() - before])
            }
        };
        groups.push(Group { name: names.join("+"), calls: start..start + calls.len(), packed, call_bytes });
    }
    groups
}

impl CompiledNetwork {
    /// The call whose result is a group's.
    #[must_use]
    pub fn last_call(&self, group: &Group) -> &Call {
        &self.program.calls[group.calls.end - 1]
    }

    /// Where a group's value can be read in the arena after it has run: its name, shape, buffer and type.
    #[must_use]
    pub fn tap(&self, group: &Group) -> Option<(&str, grano::shape::Shape, grano::blob::Buffer, Element)> {
        let call = self.last_call(group);
        let buffer = &self.program.buffers[call.output];
        let place = grano::blob::Buffer { offset: self.program.plan.offsets[call.output], len: buffer.bytes() };
        let is_kept = call.head.is_none() && call.element != Element::I32;
        is_kept.then(|| (call.value.as_str(), engine_shape(call.shape), place, call.element))
    }
}
