//! Where in the arena the operands of each layer lie, found once, so that running a layer takes no heap.

use grano::blob::Buffer;

use crate::compile::{CompiledNetwork, Group};
use crate::error::{Error, Result};
use crate::lower;
use crate::run::MOST_MAPS;

/// The result, scratch, the rows between two kernels.
const WRITTEN: usize = 3;
/// The maps, and the second operand of a sum.
const READ: usize = MOST_MAPS + 1;

/// Where a layer's operands lie, found once, so that running it takes no heap.
pub(crate) struct Wiring {
    /// What it borrows of the arena, in the order of offsets: first its place among the pieces, those that it writes before
    /// those that it reads.
    pub(crate) pieces: Vec<(usize, Buffer)>,
    /// Places of the maps among the pieces that are read; none for one that lies in the output.
    pub(crate) maps: Vec<Option<usize>>,
    pub(crate) is_in_place: bool,
    /// The second operand of a sum, by its place among the pieces that are read.
    pub(crate) residual: WiredResidual,
    /// Number of the network's input.
    pub(crate) port: Option<usize>,
    /// Number of the network's output.
    pub(crate) head: usize,
}

/// Of every layer of a network.
pub(crate) fn wire(network: &CompiledNetwork) -> Result<Vec<Wiring>> {
    network.groups.iter().map(|group| Wiring::new(&network.program, group)).collect()
}

impl Wiring {
    fn new(program: &lower::Program, group: &Group) -> Result<Self> {
        let calls = &program.calls[group.calls.clone()];
        let (first, last) = (&calls[0], &calls[calls.len() - 1]);
        let residual = match last.residual {
            Some(lower::Residual::Buffer(buffer)) => Some(buffer),
            _ => None,
        };
        // Each buffer once.
        let mut read: Vec<usize> = Vec::new();
        for &buffer in first.inputs.iter().chain(&residual) {
            if buffer != last.output && !read.contains(&buffer) {
                read.push(buffer);
            }
        }
        let window = first.strips.map(|_| first.output);
        let written = [Some(last.output), last.scratch, window];
        let all = written.into_iter().chain(read.iter().copied().map(Some)).enumerate();
        let place =
            |buffer: usize| Buffer { offset: program.plan.offsets[buffer], len: program.buffers[buffer].bytes() };
        let mut pieces: Vec<(usize, Buffer)> = all
            .filter_map(|(index, buffer)| Some((index, place(buffer?))))
            .filter(|(_, buffer)| buffer.len > 0)
            .collect();
        pieces.sort_by_key(|(_, buffer)| buffer.offset);
        let apart = pieces.is_sorted_by(|(_, a), (_, b)| a.offset + a.len <= b.offset);
        if !apart || first.inputs.len() > MOST_MAPS {
            return Err(Error::node(&group.name, "its buffers overlap, or it reads too many maps to run in process"));
        }
        let among = |buffer: usize| read.iter().position(|&known| known == buffer);
        Ok(Self {
            pieces,
            maps: first.inputs.iter().map(|&buffer| among(buffer)).collect(),
            is_in_place: first.inputs.first() == Some(&last.output),
            residual: match last.residual {
                None => WiredResidual::None,
                Some(lower::Residual::InOutput) => WiredResidual::InOutput,
                Some(lower::Residual::Buffer(buffer)) => among(buffer).map_or(WiredResidual::None, WiredResidual::Read),
            },
            port: first.port,
            head: last.head.as_ref().map_or(0, |head| head.output),
        })
    }
}

/// The second operand of a sum.
#[derive(Clone, Copy)]
pub(crate) enum WiredResidual {
    None,
    InOutput,
    Read(usize),
}

/// Pieces of the arena, each at its place; none where the arena is too short. They are apart and in the order of offsets.
pub(crate) fn lend<'a>(arena: &'a mut [u8], pieces: &[(usize, Buffer)]) -> Option<[&'a mut [u8]; WRITTEN + READ]> {
    let mut lent: [&mut [u8]; WRITTEN + READ] = Default::default();
    let (mut rest, mut at) = (arena, 0);
    for &(place, Buffer { offset, len }) in pieces {
        let (_, after) = rest.split_at_mut_checked(offset.checked_sub(at)?)?;
        let (piece, after) = after.split_at_mut_checked(len)?;
        (lent[place], rest, at) = (piece, after, offset + len);
    }
    Some(lent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_lent_to_their_places() {
        let buffer = |offset, len| Buffer { offset, len };
        let mut arena: Vec<u8> = (0..16).collect();
        let pieces = lend(&mut arena, &[(3, buffer(0, 2)), (0, buffer(4, 4)), (7, buffer(8, 4))]).unwrap();
        let mut expected: [&[u8]; WRITTEN + READ] = [&[]; WRITTEN + READ];
        (expected[0], expected[3], expected[7]) = (&[4, 5, 6, 7], &[0, 1], &[8, 9, 10, 11]);
        assert_eq!(pieces, expected);
        assert!(lend(&mut arena, &[(0, buffer(12, 5))]).is_none());
        assert!(lend(&mut arena, &[(0, buffer(0, 5)), (1, buffer(4, 4))]).is_none());
    }
}
