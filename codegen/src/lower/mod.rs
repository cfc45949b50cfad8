//! *Lower*: layers become kernel calls on buffers; what can be computed in place is.

mod choose;
mod draft;

use std::collections::BTreeMap;

use crate::algorithm::Algorithm;
use crate::error::Result;
use crate::fold::Folded;
use crate::kernel::{Element, Kernel};
use crate::order::{self, Order};
use crate::plan::{Lifetime, Plan, plan};
use crate::quantize::Kernels;
use crate::target::Target;

pub use choose::{Choice, Room, Verdict};

use choose::choose;
use draft::{Draft, drafts, last_reads, steps};

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

/// Chooses algorithms, orders the calls, gives every value a buffer, and the buffers their places.
///
/// # Errors
/// When the planner refuses the buffers.
pub fn lower(folded: &Folded, kernels: &Kernels, target: Target, room: Room) -> Result<Program> {
    let mut drafts = drafts(folded, kernels, target);
    let mut tight = room;
    for _ in 0..ATTEMPTS {
        choose(&mut drafts, tight);
        let program = arrange(&drafts)?;
        let over = program.plan.arena_bytes.saturating_sub(room.arena_bytes);
        if over == 0 {
            return Ok(program);
        }
        // The choice goes by what is live, which the layout may miss.
        tight.arena_bytes = tight.arena_bytes.saturating_sub(over);
    }
    choose(&mut drafts, Room::default());
    arrange(&drafts)
}

/// Orders the calls and lays out their buffers.
fn arrange(drafts: &[Draft<'_>]) -> Result<Program> {
    let Order { steps, exact, .. } = order::search(&steps(drafts));
    let ordered: Vec<&Draft<'_>> = steps.iter().map(|&step| &drafts[step]).collect();
    let (calls, buffers) = place(&ordered);
    let lifetimes: Vec<Lifetime> = buffers.iter().map(Buffer::lifetime).collect();
    let plan = plan(&lifetimes)?;
    Ok(Program { calls, buffers, plan, exact_order: exact })
}

/// Calls on buffers.
fn place(drafts: &[&Draft<'_>]) -> (Vec<Call>, Vec<Buffer>) {
    let last_reads = last_reads(drafts);
    let mut buffers: Vec<Buffer> = Vec::new();
    let allot = |buffers: &mut Vec<Buffer>, name: &str, element, len, calls| {
        buffers.push(Buffer { name: name.to_string(), element, len, calls });
        buffers.len() - 1
    };
    // The call that computes a value, and where it puts it.
    let mut holders: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, (draft, &last)) in drafts.iter().zip(&last_reads).enumerate() {
        let holder = |value: &str| holders.get(value).map_or(Place::Outside, |&(_, place)| place);
        let donor = draft.donors().into_iter().find_map(|value| match holders.get(value) {
            Some(&(maker, Place::Buffer(buffer))) if last_reads[maker] == at && draft.fits(drafts[maker]) => {
                Some((value, buffer))
            }
            _ => None,
        });
        let output = match donor {
            _ if draft.is_output => Place::Outside,
            Some((_, buffer)) => {
                buffers[buffer].calls[1] = last;
                buffers[buffer].name += &format!(" → {}", draft.value);
                Place::Buffer(buffer)
            }
            None => Place::Buffer(allot(&mut buffers, draft.value, draft.element, draft.len(), [at, last])),
        };
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
        let scratch = draft
            .scratch
            .map(|(element, len)| allot(&mut buffers, &format!("{} scratch", draft.name), element, len, [at, at]));
        calls.push(Call {
            name: draft.name.to_string(),
            value: draft.value.to_string(),
            shape: draft.shape,
            element: draft.element,
            macs: draft.macs,
            kernel,
            inputs: inputs.into_iter().map(holder).collect(),
            output,
            residual,
            block: draft.block,
            scratch,
            choice: draft.choice.clone(),
            instructions: draft.instructions,
        });
        holders.insert(draft.value, (at, output));
    }
    (calls, buffers)
}

impl Buffer {
    /// What the planner sees of it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let [first, last] = self.calls;
        Lifetime { name: self.name.clone(), bytes: self.bytes(), first, last, align: self.element.bytes().max(4) }
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
