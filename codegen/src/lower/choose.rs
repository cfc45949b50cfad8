//! Which algorithm computes each convolution.

use super::choice::Verdict;
use super::draft::{Draft, groups, steps};
use crate::algorithm::Candidate;
use crate::limits::Effort;
use crate::order;

/// What a network may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of constants more than with direct convolutions alone.
    pub flash_bytes: usize,
    /// Bytes of the arena; where direct convolutions alone take more, they are what there is.
    pub arena_bytes: usize,
}

/// A change of one layer's algorithm.
#[derive(Clone, Copy)]
struct Move {
    draft: usize,
    candidate: usize,
    saved: u64,
    flash_bytes: i64,
}

impl Move {
    /// Whether it saves more instructions per byte of flash.
    fn beats(&self, other: &Self) -> bool {
        let price = |this: &Self| u128::from(this.flash_bytes.max(1).unsigned_abs());
        u128::from(self.saved) * price(other) > u128::from(other.saved) * price(self)
    }
}

/// Starts from direct convolutions and makes, again and again, the change that saves the most instructions per byte of
/// flash of those that there is room for. Greedy, as fractional knapsacks are packed: what it misses against the best
/// packing is less than the saving of one layer. Ends where there is no effort left.
pub(super) fn choose(drafts: &mut [Draft<'_>], room: Room, effort: &Effort) {
    for draft in drafts.iter_mut() {
        draft.choose(0);
    }
    let mut flash_left = i64::try_from(room.flash_bytes).unwrap_or(i64::MAX);
    // A layer's scratch is what changes the peak, whatever the others do: what did not fit once is not tried again.
    let mut too_large: Vec<(usize, usize, usize)> = Vec::new();
    while !effort.is_spent() {
        effort.spend(drafts.len() * drafts.len() / 8);
        let open =
            |at: &Move| !too_large.iter().any(|&(draft, candidate, _)| (draft, candidate) == (at.draft, at.candidate));
        let possible = moves(drafts).filter(|at| at.flash_bytes <= flash_left && open(at));
        let Some(best) = possible.reduce(|best, at| if at.beats(&best) { at } else { best }) else { break };
        let before = drafts[best.draft].choice.as_ref().map_or(0, |choice| choice.chosen);
        drafts[best.draft].choose(best.candidate);
        // Where RAM is without end, the peak does not matter.
        let peak_bytes = || order::search(&steps(&groups(drafts)), effort).peak_bytes;
        let short_bytes =
            if room.arena_bytes == usize::MAX { 0 } else { peak_bytes().saturating_sub(room.arena_bytes) };
        if short_bytes > 0 {
            too_large.push((best.draft, best.candidate, short_bytes));
            drafts[best.draft].choose(before);
        } else {
            flash_left = flash_left.saturating_sub(best.flash_bytes);
        }
    }
    for (index, draft) in drafts.iter_mut().enumerate() {
        let Some(choice) = &mut draft.choice else { continue };
        let used = *choice.candidate();
        let verdict = |(place, candidate): (usize, &Candidate)| {
            let short_bytes = (candidate.flash_bytes as i64 - used.flash_bytes as i64).saturating_sub(flash_left);
            let refused = too_large.iter().find(|&&(draft, candidate, _)| (draft, candidate) == (index, place));
            match refused {
                _ if place == choice.chosen => Verdict::Chosen,
                _ if candidate.instructions >= used.instructions => Verdict::Slower,
                Some(&(.., short_bytes)) => Verdict::Ram(short_bytes),
                None => Verdict::Flash(usize::try_from(short_bytes).unwrap_or(0)),
            }
        };
        choice.verdicts = choice.candidates.iter().enumerate().map(verdict).collect();
    }
}

/// All changes that save instructions.
fn moves(drafts: &[Draft<'_>]) -> impl Iterator<Item = Move> {
    drafts.iter().enumerate().filter_map(|(draft, call)| Some((draft, call.choice.as_ref()?))).flat_map(
        |(draft, choice)| {
            let used = choice.candidate();
            choice.candidates.iter().enumerate().filter_map(move |(candidate, other)| {
                let saved = used.instructions.checked_sub(other.instructions).filter(|&saved| saved > 0)?;
                let flash_bytes = other.flash_bytes as i64 - used.flash_bytes as i64;
                Some(Move { draft, candidate, saved, flash_bytes })
            })
        },
    )
}
