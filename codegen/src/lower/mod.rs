//! *Lower*: layers become kernel calls on buffers; what can be computed in place is, and where the arena is short pairs of
//! convolutions run strip by strip.

mod choice;
mod choose;
mod draft;
mod stream;

use std::collections::BTreeMap;

use grano::kernel::Strips;

use crate::error::Result;
use crate::fold::Folded;
use crate::kernel::Element;
use crate::limits::Effort;
use crate::op::Kernel;
use crate::order::{self, Order};
use crate::plan::{Lifetime, Plan, plan};
use crate::quantize::Kernels;
use crate::target::Target;

pub use choice::{Choice, Verdict};
pub use choose::Room;
pub use draft::Head;
pub use stream::{Pair, Streamed};

use draft::{Draft, Group, drafts, groups, last_reads, steps};
use stream::stream;

/// A network as a list of kernel calls on one arena.
#[derive(Clone, Debug)]
pub struct Program {
    /// In the order in which they run.
    pub calls: Vec<Call>,
    /// What the arena holds.
    pub buffers: Vec<Buffer>,
    /// Where in the arena.
    pub plan: Plan,
    /// Whether no other order of the calls needs less memory; else it is the best that was found.
    pub exact_order: bool,
    /// The calls that can run strip by strip with the one that reads their result.
    pub pairs: Vec<Pair>,
}

impl Program {
    /// The calls by what runs at once: one, or a pair of which one takes the other's map strip by strip.
    pub fn groups(&self) -> impl Iterator<Item = &[Call]> {
        self.calls.chunk_by(|first, _| first.strips.is_some())
    }

    /// Predicted instructions of an evaluation; none where they are not predicted.
    #[must_use]
    pub fn instructions(&self) -> Option<u64> {
        self.calls.iter().map(|call| call.instructions).sum()
    }
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct Call {
    /// For people, and for the names of generated items: the graph's node.
    pub name: String,
    /// The value that is computed.
    pub value: String,
    /// `[channels, height, width]` of that value.
    pub shape: [usize; 3],
    /// How that value is stored.
    pub element: Element,
    /// Multiply–accumulates.
    pub macs: usize,
    /// What computes it.
    pub kernel: Kernel,
    /// The number of the network's input that it reads.
    pub port: Option<usize>,
    /// Buffers of the maps; the first may be where the result goes.
    pub inputs: Vec<usize>,
    /// How the maps are stored.
    pub reads: Element,
    /// Buffer of the result, or of the strip of rows that an output is handed out in.
    pub output: usize,
    /// The second operand of a sum.
    pub residual: Option<Residual>,
    /// How that operand is stored.
    pub adds: Option<Element>,
    /// How the result leaves the network.
    pub head: Option<Head>,
    /// Buffer that the kernel works in.
    pub scratch: Option<usize>,
    /// The algorithms of a convolution on integers, and which of them it uses.
    pub choice: Option<Choice>,
    /// Predicted instructions, of networks on integers.
    pub instructions: Option<u64>,
    /// How the next call, which alone reads the result, runs together with this one.
    pub strips: Option<Strips>,
    /// The chip.
    pub target: Target,
}

/// Where the second operand of a sum lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// In the output's buffer, which the result overwrites.
    InOutput,
    /// A buffer's index.
    Buffer(usize),
}

/// A part of the arena, for as long as it is needed.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Names of the values it holds, one after another.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Number of elements.
    pub len: usize,
    /// First and last call that need it.
    pub calls: [usize; 2],
    /// It begins at a multiple of so many bytes.
    pub align: usize,
}

impl Buffer {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes()
    }
}

/// Most attempts to find algorithms whose buffers, as they are laid out, fit the arena.
const ATTEMPTS: usize = 8;

/// Chooses algorithms and strips, orders the calls, gives every value a buffer, and the buffers their places.
///
/// # Errors
/// When the planner refuses the buffers.
pub fn lower(folded: &Folded, kernels: &Kernels, target: Target, room: Room, effort: &Effort) -> Result<Program> {
    stream(drafts(folded, kernels, target), target, room, effort)
}

/// The same with direct convolutions of whole maps, which take the least flash.
///
/// # Errors
/// When the planner refuses the buffers.
pub fn direct(folded: &Folded, kernels: &Kernels, target: Target, effort: &Effort) -> Result<Program> {
    arrange(&drafts(folded, kernels, target), target, effort)
}

/// Orders the calls and lays out their buffers.
fn arrange(drafts: &[Draft<'_>], target: Target, effort: &Effort) -> Result<Program> {
    effort.spend(drafts.len() * drafts.len() / 8);
    let groups = groups(drafts);
    let Order { steps, exact, .. } = order::search(&steps(&groups), effort);
    let ordered: Vec<&Group<'_, '_>> = steps.iter().map(|&step| &groups[step]).collect();
    let (calls, buffers) = place(&ordered, target);
    let lifetimes: Vec<Lifetime> = buffers.iter().map(Buffer::lifetime).collect();
    let plan = plan(&lifetimes, effort)?;
    Ok(Program { calls, buffers, plan, exact_order: exact, pairs: Vec::new() })
}

/// Calls on buffers.
fn place(groups: &[&Group<'_, '_>], target: Target) -> (Vec<Call>, Vec<Buffer>) {
    let last_reads = last_reads(groups);
    // The last call of every group.
    let ends: Vec<usize> = groups
        .iter()
        .scan(0, |calls, group| {
            *calls += group.drafts().count();
            Some(*calls - 1)
        })
        .collect();
    let mut buffers: Vec<Buffer> = Vec::new();
    let allot = |buffers: &mut Vec<Buffer>, name: &str, element: Element, len, calls| {
        let align = target.align().max(element.bytes());
        buffers.push(Buffer { name: name.to_string(), element, len, calls, align });
        buffers.len() - 1
    };
    // The group that computes a value, and the buffer that it puts it in.
    let mut holders: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let (last, first_call, last_call) = (group.last, calls.len(), ends[last_reads[at]]);
        let donor = group.donors().into_iter().find_map(|value| match holders.get(value) {
            Some(&(maker, buffer)) if last_reads[maker] == at && last.fits(groups[maker].last) => Some((value, buffer)),
            _ => None,
        });
        let meanwhile = [first_call, ends[at]];
        let some_rows = |buffers: &mut Vec<Buffer>, value: &str| {
            let (element, len) = group.window()?;
            Some(allot(buffers, &format!("{value}, some rows"), element, len, meanwhile))
        };
        let output = match (&last.head, donor) {
            (Some(_), _) => some_rows(&mut buffers, last.value).unwrap_or_default(),
            (None, Some((_, buffer))) => {
                buffers[buffer].calls[1] = last_call;
                buffers[buffer].name += &format!(" → {}", last.value);
                buffer
            }
            (None, None) => allot(&mut buffers, last.value, last.element, last.len(), [first_call, last_call]),
        };
        if let Some((first, _)) = group.first
            && let Some(window) = some_rows(&mut buffers, first.value)
        {
            holders.insert(first.value, (at, window));
        }
        let scratch = group
            .scratch()
            .map(|(element, len)| allot(&mut buffers, &format!("{} scratch", last.name), element, len, meanwhile));
        for draft in group.drafts() {
            let holder = |value: &str| holders.get(value).map_or(0, |&(_, buffer)| buffer);
            let (mut inputs, mut second, mut kernel) = (draft.inputs.clone(), draft.added(), draft.kernel.clone());
            // A sum overwrites its second operand.
            if let (Some(second), Some((value, _)), Some(exchanged)) = (&mut second, donor, kernel.kernel().exchanged())
                && value == inputs[0]
            {
                std::mem::swap(second, &mut inputs[0]);
                kernel = exchanged;
            }
            let residual = second.map(|second| match donor {
                Some((value, _)) if value == second => Residual::InOutput,
                _ => Residual::Buffer(holder(second)),
            });
            calls.push(Call {
                name: draft.name.to_string(),
                value: draft.value.to_string(),
                shape: draft.shape,
                element: draft.element,
                macs: draft.macs,
                kernel,
                port: draft.port,
                inputs: inputs.into_iter().map(holder).collect(),
                reads: draft.maps.first().copied().unwrap_or(Element::F32),
                output: if draft.value == last.value { output } else { holder(draft.value) },
                residual,
                adds: draft.second.map(|(_, element)| element),
                head: draft.head.clone(),
                scratch,
                choice: draft.choice.clone(),
                instructions: draft.instructions,
                strips: draft.strips,
                target,
            });
        }
        if last.head.is_none() {
            holders.insert(last.value, (at, output));
        }
    }
    (calls, buffers)
}

impl Buffer {
    /// What the planner sees of it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let [first, last] = self.calls;
        Lifetime { name: self.name.clone(), bytes: self.bytes(), first, last, align: self.align }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{fold, tests::network};
    use crate::quantize::{Numbers, kernels};

    #[test]
    fn a_residual_block_overwrites_its_residual() {
        let folded = fold(&network(), &[0, 1]).unwrap();
        let kernels = kernels(&folded, Numbers::Floats(Element::F32)).unwrap();
        let program = lower(&folded, &kernels, Target::default(), Room::default(), &Effort::default()).unwrap();
        let block = &program.calls[2];
        assert_eq!(block.name, "conv");
        // It reads h and adds h: the buffer of h cannot take the result.
        assert!(matches!(block.residual, Some(Residual::Buffer(_))));
        assert_eq!(program.calls[0].port, Some(0));
        let head = program.calls.last().unwrap().head.clone().unwrap();
        assert_eq!((head.output, head.shape, head.shuffle.unwrap().block), (0, [4, 2, 2], 2));
    }
}
