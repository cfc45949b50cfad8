//! `plan.txt`: where memory and work go, by layer, and the arena over time.

use super::{Subject, call_bytes, choices, pair_reason, reason, row_bytes, shape, way};
use crate::compile::CompiledNetwork;
use crate::lower::Buffer;

/// The report as text.
#[must_use]
pub fn text(subject: &Subject<'_>) -> String {
    let mut text = subject.summary() + "\n\n";
    for network in &subject.compiled.networks {
        if subject.compiled.networks.len() > 1 {
            text += &format!("network {}\n\n", network.name);
        }
        text += &layers(subject, network);
    }
    for table in subject.samplers {
        text += &format!("\nsampler {}: {} steps\n", table.name, table.rows.len());
        text += &format!("{:>5}", "t");
        for name in ["k0", "k1", "a", "b", "c", "d", "e"] {
            text += &format!("  {name:>10}");
        }
        for row in &table.rows {
            text += &format!("\n{:>5}", row.t);
            for value in [row.k0, row.k1, row.a, row.b, row.c, row.d, row.e] {
                text += &format!("  {value:>10.5}");
            }
        }
        text += "\n";
    }
    text
}

/// A network's layers, its algorithms and its arena.
fn layers(subject: &Subject<'_>, network: &CompiledNetwork) -> String {
    let program = &network.program;
    let mut text = String::new();
    let width = program.calls.iter().map(|call| call.name.chars().count()).max().unwrap_or(0).max(5);
    text += &format!(
        "{:>3}  {:width$}  {:>11}  {:>10}  {:>12}  {:>9}  {:>9}  algorithm\n",
        "", "layer", "output", "MACs", "instructions", "flash", "bias rows"
    );
    for (index, (call, bytes)) in program.calls.iter().zip(call_bytes(network)).enumerate() {
        let instructions = call.instructions.map_or_else(|| "–".into(), |count| count.to_string());
        let algorithm = way(program, index);
        let line = format!(
            "{index:>3}  {:width$}  {:>11}  {:>10}  {instructions:>12}  {bytes:>9}  {:>9}  {algorithm}",
            call.name,
            shape(call),
            call.macs,
            row_bytes(call, subject.precision),
        );
        text += line.trim_end();
        text += "\n";
    }
    text += "\n";
    if choices(program).next().is_some() {
        text += &format!(
            "{:width$}  {:26}  {:>12}  {:>9}  {:>9}  why\n",
            "layer", "algorithm", "instructions", "weights", "scratch"
        );
        for (call, choice) in choices(program) {
            let mut name = call.name.as_str();
            for (candidate, &verdict) in choice.candidates.iter().zip(&choice.verdicts) {
                text += &format!(
                    "{:width$}  {:26}  {:>12}  {:>9}  {:>9}  {}\n",
                    std::mem::take(&mut name),
                    candidate,
                    candidate.instructions,
                    candidate.flash_bytes,
                    4 * candidate.scratch_words,
                    reason(verdict)
                );
            }
        }
        text += "\n";
    }
    if !program.pairs.is_empty() {
        text += &format!(
            "{:width$}  {:width$}  {:>9}  {:>9}  {:>4}  why\n",
            "map of", "read by", "bytes", "in strips", "rows"
        );
        for pair in &program.pairs {
            let [first, last] = &pair.names;
            let [bytes, rows] = match pair.streamed {
                Some(streamed) => [streamed.window_bytes, streamed.rows].map(|number| number.to_string()),
                None => ["–", "–"].map(String::from),
            };
            text += &format!(
                "{first:width$}  {last:width$}  {:>9}  {bytes:>9}  {rows:>4}  {}\n",
                pair.map_bytes,
                pair_reason(pair)
            );
        }
        text += "\n";
    }
    let order = if program.exact_order { "no order of the layers needs less" } else { "the best order that was found" };
    text += &format!("{order}\n");
    let lifetimes: Vec<_> = program.buffers.iter().map(Buffer::lifetime).collect();
    text += &program.plan.picture(&lifetimes);
    text
}
