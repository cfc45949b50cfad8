//! *Lower*: layers become kernel calls on buffers; what can be computed in place is, and where the arena is short pairs of
//! convolutions run strip by strip.

mod choose;
mod draft;
mod stream;

use std::collections::BTreeMap;

use grano::kernel::Strips;

use crate::algorithm::Algorithm;
use crate::error::Result;
use crate::fold::Folded;
use crate::kernel::{Element, Kernel};
use crate::order::{self, Order};
use crate::plan::{Lifetime, Plan, plan};
use crate::quantize::Kernels;
use crate::target::Target;

pub use choose::{Choice, Room, Verdict};
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
    /// Where the maps come from; the first may be where the result goes.
    pub inputs: Vec<Place>,
    /// Where the result goes.
    pub output: Place,
    /// The second operand of a sum.
    pub residual: Option<Residual>,
    /// Side of the blocks of pixels that the result's channels become, in place.
    pub block: Option<usize>,
    /// Buffer that the kernel works in.
    pub scratch: Option<usize>,
    /// The algorithms of a convolution on integers, and which of them it uses.
    pub choice: Option<Choice>,
    /// Predicted instructions, of networks on integers.
    pub instructions: Option<u64>,
    /// How the next call, which alone reads the result, runs together with this one.
    pub strips: Option<Strips>,
}

impl Call {
    /// How it computes a convolution.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.choice.as_ref().map_or(Algorithm::Direct, Choice::algorithm)
    }
}

/// Where a map lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the sampler's hands, f32.
    Outside,
    /// A buffer's index.
    Buffer(usize),
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
pub fn lower(folded: &Folded, kernels: &Kernels, target: Target, room: Room) -> Result<Program> {
    stream(drafts(folded, kernels, target), target, room)
}

/// The same with direct convolutions of whole maps, which take the least flash.
///
/// # Errors
/// When the planner refuses the buffers.
pub fn direct(folded: &Folded, kernels: &Kernels, target: Target) -> Result<Program> {
    arrange(&drafts(folded, kernels, target), target)
}

/// Orders the calls and lays out their buffers.
fn arrange(drafts: &[Draft<'_>], target: Target) -> Result<Program> {
    let groups = groups(drafts);
    let Order { steps, exact, .. } = order::search(&steps(&groups));
    let ordered: Vec<&Group<'_, '_>> = steps.iter().map(|&step| &groups[step]).collect();
    let (calls, buffers) = place(&ordered, target);
    let lifetimes: Vec<Lifetime> = buffers.iter().map(Buffer::lifetime).collect();
    let plan = plan(&lifetimes)?;
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
    // The group that computes a value, and where it puts it.
    let mut holders: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let (last, first_call, last_call) = (group.last, calls.len(), ends[last_reads[at]]);
        let donor = group.donors().into_iter().find_map(|value| match holders.get(value) {
            Some(&(maker, Place::Buffer(buffer))) if last_reads[maker] == at && last.fits(groups[maker].last) => {
                Some((value, buffer))
            }
            _ => None,
        });
        let output = match donor {
            _ if last.is_output => Place::Outside,
            Some((_, buffer)) => {
                buffers[buffer].calls[1] = last_call;
                buffers[buffer].name += &format!(" → {}", last.value);
                Place::Buffer(buffer)
            }
            None => Place::Buffer(allot(&mut buffers, last.value, last.element, last.len(), [first_call, last_call])),
        };
        let meanwhile = [first_call, ends[at]];
        if let Some(((first, _), (element, len))) = group.first.zip(group.window()) {
            let window = allot(&mut buffers, &format!("{}, some rows", first.value), element, len, meanwhile);
            holders.insert(first.value, (at, Place::Buffer(window)));
        }
        let scratch = group
            .scratch()
            .map(|(element, len)| allot(&mut buffers, &format!("{} scratch", last.name), element, len, meanwhile));
        for draft in group.drafts() {
            let holder = |value: &str| holders.get(value).map_or(Place::Outside, |&(_, place)| place);
            let (mut inputs, mut second, mut kernel) = (draft.inputs.clone(), draft.second, draft.kernel.clone());
            // A sum overwrites its second operand.
            if let (Some(second), Some((value, _))) = (&mut second, donor)
                && value == inputs[0]
            {
                std::mem::swap(second, &mut inputs[0]);
                if let Kernel::AddInt8 { multipliers, .. } = &mut kernel {
                    multipliers.reverse();
                }
            }
            let residual = second.map(|second| match holder(second) {
                Place::Buffer(buffer) if donor.is_none_or(|(value, _)| value != second) => Residual::Buffer(buffer),
                _ => Residual::InOutput,
            });
            calls.push(Call {
                name: draft.name.to_string(),
                value: draft.value.to_string(),
                shape: draft.shape,
                element: draft.element,
                macs: draft.macs,
                kernel,
                inputs: inputs.into_iter().map(holder).collect(),
                output: if draft.value == last.value { output } else { holder(draft.value) },
                residual,
                block: draft.block,
                scratch,
                choice: draft.choice.clone(),
                instructions: draft.instructions,
                strips: draft.strips,
            });
        }
        holders.insert(last.value, (at, output));
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
    use crate::float;
    use crate::fold::{fold, tests::network};

    #[test]
    fn a_residual_block_overwrites_its_residual() {
        let folded = fold(&network(), &[0, 1]).unwrap();
        let program =
            lower(&folded, &float::kernels(&folded, Element::F32).unwrap(), Target::default(), Room::default())
                .unwrap();
        let block = &program.calls[1];
        assert_eq!(block.name, "conv");
        // It reads h and adds h: the buffer of h cannot take the result.
        assert!(matches!(block.residual, Some(Residual::Buffer(_))));
        assert_eq!(program.calls[0].inputs, [Place::Outside]);
        assert_eq!(program.calls.last().unwrap().output, Place::Outside);
    }
}
