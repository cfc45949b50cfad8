//! Which pairs of convolutions run strip by strip, so that the map between them is never whole.
//!
//! Only where the arena is short: calls in whose time too much is live are streamed, a row at a time at first, which takes
//! the least. Then each pair that is streamed gets the height of strips, and all layers get the algorithms, with which the
//! network takes the fewest instructions that there is room for: higher strips start kernels less often, lower ones leave
//! more room for scratch.

use grano::kernel::{Strip, Strips};

use super::choose::{Room, choose};
use super::draft::Draft;
use super::{ATTEMPTS, Program, arrange};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::limits::Effort;
use crate::target::Target;

/// Two convolutions that can run strip by strip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Their names.
    pub names: [String; 2],
    /// Bytes of the map between them.
    pub map_bytes: usize,
    /// How they run so; none where each runs by itself.
    pub streamed: Option<Streamed>,
}

/// How a pair runs strip by strip, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Rows of the second's result at a time.
    pub rows: usize,
    /// Bytes of the rows that are there of the map between.
    pub window_bytes: usize,
    /// What the arena was short of when it took both whole maps and direct convolutions.
    pub short_bytes: usize,
}

/// A pair's places among the drafts, and what is known of it.
struct Candidate {
    drafts: [usize; 2],
    geometries: [Geometry; 2],
    /// What the arena was short of when they were streamed first.
    short_bytes: Option<usize>,
}

/// Heights of strips that are tried: each is at least a fifth lower than the one before.
fn heights(rows: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(rows.checked_sub(1), |&rows| Some((rows * 4 / 5).min(rows.saturating_sub(1))))
        .take_while(|&rows| rows > 0)
}

/// Chooses strips and algorithms, orders the calls, gives every value a buffer, and the buffers their places.
///
/// # Errors
/// When the planner refuses the buffers.
pub(super) fn stream(mut drafts: Vec<Draft<'_>>, target: Target, room: Room, effort: &Effort) -> Result<Program> {
    let mut candidates = candidates(&drafts);
    let mut program = fit(&mut drafts, target, room, effort)?;
    while program.plan.arena_bytes > room.arena_bytes && !effort.is_spent() {
        let live = live_bytes(&program);
        let most = live.iter().copied().max().unwrap_or(0);
        // What is live fits, and the layout does not: the largest are at fault.
        let threshold = room.arena_bytes.min(most.saturating_sub(1));
        let next = candidates.iter().position(|candidate| {
            let open = candidate.short_bytes.is_none() && candidate.is_free(&drafts);
            open && candidate.live_bytes(&drafts, &program, &live) > threshold
        });
        let Some(next) = next else { break };
        let candidate = &mut candidates[next];
        let before = candidate.live_bytes(&drafts, &program, &live);
        candidate.short_bytes = Some(before.saturating_sub(room.arena_bytes));
        candidate.stream(&mut drafts, Some(1), effort);
        let streamed = arrange(&drafts, target, effort)?;
        if candidate.live_bytes(&drafts, &streamed, &live_bytes(&streamed)) < before {
            program = streamed;
        } else {
            candidate.stream(&mut drafts, None, effort);
        }
    }
    let streamed: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.rows(&drafts).is_some()).collect();
    if !streamed.is_empty() {
        program = fit(&mut drafts, target, room, effort)?;
    }
    for candidate in &streamed {
        let mut best = candidate.rows(&drafts);
        for rows in std::iter::once(None).chain(heights(candidate.geometries[1].output[1]).map(Some)) {
            if effort.is_spent() {
                break;
            }
            candidate.stream(&mut drafts, rows, effort);
            let other = fit(&mut drafts, target, room, effort)?;
            let fits = other.plan.arena_bytes <= room.arena_bytes;
            if fits && other.instructions() < program.instructions() {
                (program, best) = (other, rows);
            }
        }
        candidate.stream(&mut drafts, best, effort);
    }
    let mut program = enlarge_heads(&mut drafts, program, target, effort)?;
    program.pairs = candidates.iter().map(|candidate| candidate.pair(&drafts)).collect();
    Ok(program)
}

/// Has heads hand out as many rows at a time as there is room for in the arena as it is: kernels are started less often.
fn enlarge_heads(drafts: &mut [Draft<'_>], mut program: Program, target: Target, effort: &Effort) -> Result<Program> {
    let heads: Vec<usize> = (0..drafts.len()).filter(|&at| drafts[at].head.is_some()).collect();
    for at in heads {
        let [_, height, _] = drafts[at].head.as_ref().map_or([0; 3], |head| head.shape);
        for rows in std::iter::once(height).chain(heights(height)) {
            if effort.is_spent() {
                break;
            }
            effort.spend(drafts[at].trials(height.div_ceil(rows)));
            let chosen = drafts[at].choice.as_ref().map(|choice| choice.chosen);
            drafts[at].hand_out(rows);
            drafts[at].choose(chosen.unwrap_or(0));
            let other = arrange(drafts, target, effort)?;
            if other.plan.arena_bytes <= program.plan.arena_bytes {
                program = other;
                break;
            }
        }
    }
    Ok(program)
}

/// Chooses algorithms whose buffers, as they are laid out, fit the arena; direct ones where none do.
fn fit(drafts: &mut [Draft<'_>], target: Target, room: Room, effort: &Effort) -> Result<Program> {
    let mut tight = room;
    for _ in 0..ATTEMPTS {
        choose(drafts, tight, effort);
        let program = arrange(drafts, target, effort)?;
        let over = program.plan.arena_bytes.saturating_sub(room.arena_bytes);
        if over == 0 {
            return Ok(program);
        }
        // The choice goes by what is live, which the layout may miss.
        tight.arena_bytes = tight.arena_bytes.saturating_sub(over);
    }
    choose(drafts, Room::default(), effort);
    arrange(drafts, target, effort)
}

/// Bytes of the buffers that are live, by call.
fn live_bytes(program: &Program) -> Vec<usize> {
    let at = |call: usize| {
        let live = program.buffers.iter().filter(|buffer| (buffer.calls[0]..=buffer.calls[1]).contains(&call));
        live.map(|buffer| buffer.bytes()).sum()
    };
    (0..program.calls.len()).map(at).collect()
}

/// All pairs: an int8 convolution of one int8 map, and another that alone reads what it gives.
fn candidates(drafts: &[Draft<'_>]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (last, second) in drafts.iter().enumerate() {
        let &[between] = &second.inputs[..] else { continue };
        let reads = |draft: &Draft<'_>| draft.reads().filter(|&value| value == between).count();
        let Some(first) = drafts.iter().position(|draft| draft.makes() == Some(between)) else { continue };
        let Some(geometries) = drafts[first].streamable().zip(second.streamable()).map(<[_; 2]>::from) else {
            continue;
        };
        let strips = Strips { geometries: geometries.map(|geometry| geometry.engine()), rows: 1 };
        let alone = drafts.iter().map(reads).sum::<usize>() == 1;
        let high = geometries[1].output[1] > 1;
        if alone && high && first != last && drafts[first].second.is_none() && strips.fits() {
            all.push(Candidate { drafts: [first, last], geometries, short_bytes: None });
        }
    }
    all
}

impl Candidate {
    /// Rows of a strip, if it is streamed.
    fn rows(&self, drafts: &[Draft<'_>]) -> Option<usize> {
        drafts[self.drafts[0]].strips.map(|strips| strips.rows)
    }

    /// Whether neither of the two is part of a pair that is streamed.
    fn is_free(&self, drafts: &[Draft<'_>]) -> bool {
        let [first, last] = self.drafts.map(|draft| &drafts[draft]);
        let feeds = |draft: &Draft<'_>| draft.strips.is_some() && draft.makes() == first.inputs.first().copied();
        first.strips.is_none() && last.strips.is_none() && !drafts.iter().any(feeds)
    }

    /// The most that is live while they run.
    fn live_bytes(&self, drafts: &[Draft<'_>], program: &Program, live: &[usize]) -> usize {
        let values = self.drafts.map(|draft| drafts[draft].value);
        let calls = program.calls.iter().zip(live).filter(|(call, _)| values.contains(&call.value.as_str()));
        calls.map(|(_, &live)| live).max().unwrap_or(0)
    }

    /// Has them run so many rows at a time, or each by itself.
    fn stream(&self, drafts: &mut [Draft<'_>], rows: Option<usize>, effort: &Effort) {
        let strips = rows.map(|rows| Strips { geometries: self.geometries.map(|geometry| geometry.engine()), rows });
        drafts[self.drafts[0]].strips = strips;
        let parts: [fn(Strip) -> [usize; 2]; 2] = [|strip| strip.made, |strip| strip.rows];
        for ((draft, geometry), part) in self.drafts.into_iter().zip(self.geometries).zip(parts) {
            let rows = strips.iter().flat_map(Strips::strips).map(part).filter(|[from, to]| from < to);
            let parts: Vec<Geometry> = rows.map(|rows| geometry.rows(rows)).collect();
            effort.spend(drafts[draft].trials(parts.len()));
            drafts[draft].run_in(&parts);
        }
    }

    /// For people.
    fn pair(&self, drafts: &[Draft<'_>]) -> Pair {
        let [first, last] = self.drafts.map(|draft| &drafts[draft]);
        let row_bytes = first.shape[0] * first.shape[2] * first.element.bytes();
        let streamed = first.strips.map(|strips| Streamed {
            rows: strips.rows,
            window_bytes: strips.window_rows() * row_bytes,
            short_bytes: self.short_bytes.unwrap_or(0),
        });
        Pair { names: [first.name.to_string(), last.name.to_string()], map_bytes: row_bytes * first.shape[1], streamed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_fall_to_one() {
        assert_eq!(heights(14).collect::<Vec<_>>(), [13, 10, 8, 6, 4, 3, 2, 1]);
        assert_eq!(heights(2).collect::<Vec<_>>(), [1]);
        assert_eq!(heights(1).count() + heights(0).count(), 0);
    }
}
