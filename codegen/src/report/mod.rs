//! What a build takes, layer by layer: as text in `plan.txt`, as a page with pictures in `report.html`.

mod html;
mod picture;
mod text;

use crate::emit::Generated;
use crate::kernel::Kernel;
use crate::lower::{Call, Choice, Pair, Program, Verdict};
use crate::precision::Precision;
use crate::schedule::Table;
use crate::target::Target;

pub use html::html;
pub use text::text;

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The network's name.
    pub name: &'a str,
    /// Its numbers.
    pub precision: Precision,
    /// The chip.
    pub target: Target,
    /// Its calls and buffers.
    pub program: &'a Program,
    /// Its code.
    pub generated: &'a Generated,
    /// Its samplers.
    pub samplers: &'a [Table],
}

/// A sampler's memory: the arena and [`picture_bytes`].
#[must_use]
pub fn ram_bytes(program: &Program, samplers: &[Table]) -> usize {
    program.plan.arena_bytes + picture_bytes(program, samplers)
}

/// A sampler's f32 maps of the picture: three, and a fourth where one of them draws on x̂0 of the step before.
#[must_use]
pub fn picture_bytes(program: &Program, samplers: &[Table]) -> usize {
    let map: usize = program.calls.last().map_or(0, |call| call.shape.iter().product());
    let maps = 3 + usize::from(samplers.iter().any(Table::is_multistep));
    maps * map * 4
}

impl Subject<'_> {
    fn macs(&self) -> usize {
        self.program.calls.iter().map(|call| call.macs).sum()
    }

    /// One line.
    fn summary(&self) -> String {
        let instructions =
            self.program.instructions().map_or_else(String::new, |count| format!(", about {count} instructions"));
        format!(
            "{} in {} for {}: {} bytes of constants, {} bytes of RAM, {} multiply–accumulates{instructions} an evaluation",
            self.name,
            self.precision.name(),
            self.target.name(),
            self.generated.constants.len(),
            ram_bytes(self.program, self.samplers),
            self.macs(),
        )
    }
}

/// `28×28×1`: height, width, channels.
fn shape(call: &Call) -> String {
    let [c, h, w] = call.shape;
    format!("{h}×{w}×{c}")
}

/// Bytes of bias rows.
fn row_bytes(call: &Call, precision: Precision) -> usize {
    let float = if precision == Precision::F16 { 2 } else { 4 };
    match &call.kernel {
        Kernel::Conv2dInt8 { sums, .. }
        | Kernel::Conv2dFine { sums, .. }
        | Kernel::Conv2dInt8Head { sums, .. }
        | Kernel::DepthwiseInt8 { sums, .. } => 4 * (sums.bias[0].len() + sums.bias[1].len()),
        Kernel::Conv2dFloat { bias, .. } | Kernel::DepthwiseFloat { bias, .. } => {
            float * (bias[0].len() + bias[1].len())
        }
        _ => 0,
    }
}

/// Calls that have more than one algorithm.
fn choices(program: &Program) -> impl Iterator<Item = (&Call, &Choice)> {
    let choices = program.calls.iter().filter_map(|call| Some((call, call.choice.as_ref()?)));
    choices.filter(|(_, choice)| choice.candidates.len() > 1)
}

/// How a call is computed; nothing where there is but one way.
fn way(program: &Program, index: usize) -> String {
    let Some(choice) = &program.calls[index].choice else { return String::new() };
    let strips = [Some(index), index.checked_sub(1)].into_iter().flatten().find_map(|call| program.calls[call].strips);
    let rows = strips.map_or_else(String::new, |strips| format!(", by {} rows", strips.rows));
    format!("{}{rows}", choice.algorithm())
}

/// Why a pair runs strip by strip or not.
fn pair_reason(pair: &Pair) -> String {
    match pair.streamed {
        Some(streamed) => {
            format!("used: with the whole map the arena was {} bytes short", streamed.short_bytes)
        }
        None => "the arena has room for the whole map".into(),
    }
}

/// Why an algorithm is used or not.
fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Chosen => "used: the fastest that there is room for".into(),
        Verdict::Slower => "slower".into(),
        Verdict::Flash(short_bytes) => format!("faster, but flash is {short_bytes} bytes short"),
        Verdict::Ram(short_bytes) => format!("faster, but the arena is {short_bytes} bytes short"),
    }
}
