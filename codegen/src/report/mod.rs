//! What a build takes, layer by layer: as text in `plan.txt`, as a page with pictures in `report.html`; and what a model
//! file holds.

mod describe;
mod html;
mod picture;
mod text;

use crate::compile::{Compiled, CompiledNetwork};
use crate::lower::{Call, Choice, Pair, Program, Verdict};
use crate::precision::Precision;
use crate::resources::Resources;
use crate::schedule::Table;
use crate::target::Target;

pub use describe::describe;
pub use html::html;
pub use text::text;

/// What a report is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The network's name.
    pub name: &'a str,
    /// Its numbers.
    pub precision: Precision,
    /// The chip.
    pub target: Target,
    /// Its networks.
    pub compiled: &'a Compiled,
    /// What they take.
    pub resources: &'a Resources,
    /// Its samplers.
    pub samplers: &'a [Table],
}

impl Subject<'_> {
    /// One line.
    fn summary(&self) -> String {
        let Resources { flash_bytes, ram_bytes, networks, .. } = self.resources;
        let macs: usize = networks.iter().map(|network| network.macs).sum();
        let instructions: Option<u64> = networks.iter().map(|network| network.instructions).sum();
        let instructions = instructions.map_or_else(String::new, |count| format!(", about {count} instructions"));
        format!(
            "{} in {} for {}: {flash_bytes} bytes of constants, {ram_bytes} bytes of RAM, {macs} multiply–accumulates{instructions} an evaluation",
            self.name,
            self.precision.name(),
            self.target.name(),
        )
    }
}

/// `28×28×1`: height, width, channels.
fn shape(call: &Call) -> String {
    let [c, h, w] = call.shape;
    format!("{h}×{w}×{c}")
}

/// Bytes of rows of time and class.
fn row_bytes(call: &Call, precision: Precision) -> usize {
    let element = if precision == Precision::F16 { 2 } else { 4 };
    element * call.kernel.kernel().row_elements()
}

/// Bytes of each call's constants.
fn call_bytes(network: &CompiledNetwork) -> Vec<usize> {
    network.groups.iter().flat_map(|group| group.call_bytes.iter().copied()).collect()
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
    format!("{}{rows}", choice.candidate())
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
