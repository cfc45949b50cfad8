//! `report.html`: one page that needs nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Subject, call_bytes, choices, pair_reason, picture, reason, shape, way};
use crate::compile::CompiledNetwork;
use crate::lower::{Buffer, Program, Verdict};
use crate::schedule::{Row, Table};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2329; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.note { color: #5b6670; } .figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.2rem 0; }
.figures b { display: block; font-size: 1.3rem; } .figures span { color: #5b6670; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #aab4bd; } th, td { padding: .15rem .5rem .15rem 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } td.bar { min-width: 7rem; }
td.bar div { display: flex; align-items: center; gap: .4rem; font-variant-numeric: tabular-nums; }
td.bar i { display: block; height: .7rem; background: #6fa3d4; } tr.used td { font-weight: 600; }
svg { width: 100%; height: auto; } svg.half { width: 49%; } svg text { font: 11px system-ui, sans-serif; fill: #1d2329; }
svg text.left { text-anchor: end; fill: #5b6670; } svg polyline { fill: none; stroke-width: 2; }
.grid { stroke: #dde3e8; } rect.map { fill: #a9cbea; stroke: #2563a8; } rect.scratch { fill: #f3d3b8; stroke: #c2571a; }
";

/// The report as a page.
#[must_use]
pub fn html(subject: &Subject<'_>) -> String {
    let title = format!("{} in {} for {}", subject.name, subject.precision.name(), subject.target.name());
    let figure = |value: String, what: &str| html! { div { b { (value) } span { (what) } } };
    let resources = subject.resources;
    let macs: usize = resources.networks.iter().map(|network| network.macs).sum();
    let instructions: Option<u64> = resources.networks.iter().map(|network| network.instructions).sum();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                div.figures {
                    (figure(thousands(resources.flash_bytes as u64), "bytes of constants"))
                    (figure(thousands(resources.arena_bytes as u64), "bytes of RAM for the networks"))
                    (figure(thousands(resources.maps_bytes as u64), "bytes of RAM for the sampler's maps"))
                    (figure(thousands(macs as u64), "multiply–accumulates an evaluation"))
                    @if let Some(count) = instructions {
                        (figure(thousands(count), "predicted instructions an evaluation"))
                    }
                }
                @for network in &subject.compiled.networks { (network_of(network)) }
                @for table in subject.samplers { (sampler(table)) }
            }
        }
    };
    page.into_string()
}

/// A network's layers, its arena and its algorithms.
fn network_of(network: &CompiledNetwork) -> Markup {
    let program = &network.program;
    let plan = &program.plan;
    html! {
        h2 { "Network " (network.name) ": layers" }
        (layers(network))
        h2 { "Arena over time" }
        p.note {
            (thousands(plan.arena_bytes as u64)) " bytes; what is live at once takes "
            (thousands(plan.lower_bound as u64)) ". Blue: maps; orange: what a kernel works in. "
            @if program.exact_order { "No order of the layers needs less." }
            @else { "The order of the layers is the best that was found." }
        }
        (picture::arena(program))
        @if choices(program).next().is_some() {
            h2 { "Algorithms" }
            (algorithms(program))
        }
        @if !program.pairs.is_empty() {
            h2 { "Maps in strips" }
            (pairs(program))
        }
    }
}

/// A row a layer, with bars.
fn layers(network: &CompiledNetwork) -> Markup {
    let program = &network.program;
    let calls = &program.calls;
    let bytes = call_bytes(network);
    let live_at = |index: usize| {
        let lives = |buffer: &&Buffer| (buffer.calls[0]..=buffer.calls[1]).contains(&index);
        program.buffers.iter().filter(lives).map(Buffer::bytes).sum::<usize>() as u64
    };
    let live: Vec<u64> = (0..calls.len()).map(live_at).collect();
    let most = |values: &mut dyn Iterator<Item = u64>| values.max().unwrap_or(0);
    let most_flash = most(&mut bytes.iter().map(|&bytes| bytes as u64));
    let most_live = most(&mut live.iter().copied());
    let most_macs = most(&mut calls.iter().map(|call| call.macs as u64));
    let most_instructions = most(&mut calls.iter().filter_map(|call| call.instructions));
    html! {
        table {
            tr { th { "layer" } th { "output" } th { "flash, bytes" } th { "RAM, bytes" } th { "MACs" } th { "instructions" } th { "algorithm" } }
            @for (index, call) in calls.iter().enumerate() {
                tr {
                    td { (call.name) }
                    td { (shape(call)) }
                    (bar(bytes[index] as u64, most_flash))
                    (bar(live[index], most_live))
                    (bar(call.macs as u64, most_macs))
                    (bar(call.instructions.unwrap_or(0), most_instructions))
                    td { (way(program, index)) }
                }
            }
        }
    }
}

/// A row an algorithm of each layer that has several.
fn algorithms(program: &Program) -> Markup {
    html! {
        table {
            tr { th { "layer" } th { "algorithm" } th { "instructions" } th { "weights, bytes" } th { "scratch, bytes" } th { "why" } }
            @for (call, choice) in choices(program) {
                @for (index, (candidate, &verdict)) in choice.candidates.iter().zip(&choice.verdicts).enumerate() {
                    tr.used[verdict == Verdict::Chosen] {
                        td { @if index == 0 { (call.name) } }
                        td { (candidate) }
                        td.number { (thousands(candidate.instructions)) }
                        td.number { (thousands(candidate.flash_bytes as u64)) }
                        td.number { (thousands(4 * candidate.scratch_words as u64)) }
                        td { (reason(verdict)) }
                    }
                }
            }
        }
    }
}

/// A row a pair of layers that can run strip by strip.
fn pairs(program: &Program) -> Markup {
    html! {
        table {
            tr { th { "map of" } th { "read by" } th { "bytes" } th { "in strips, bytes" } th { "rows at a time" } th { "why" } }
            @for pair in &program.pairs {
                tr.used[pair.streamed.is_some()] {
                    @for name in &pair.names { td { (name) } }
                    td.number { (thousands(pair.map_bytes as u64)) }
                    td.number { @if let Some(streamed) = pair.streamed { (thousands(streamed.window_bytes as u64)) } }
                    td.number { @if let Some(streamed) = pair.streamed { (streamed.rows) } }
                    td { (pair_reason(pair)) }
                }
            }
        }
    }
}

/// A sampler's table and its curves.
fn sampler(table: &Table) -> Markup {
    let times: Vec<usize> = table.rows.iter().map(|row| row.t).collect();
    let curve = |value: fn(&Row) -> f64| table.rows.iter().map(value).collect::<Vec<f64>>();
    let estimate = [curve(|row| row.k0), curve(|row| row.k1)];
    let update = [curve(|row| row.a), curve(|row| row.b), curve(|row| row.c), curve(|row| row.d), curve(|row| row.e)];
    html! {
        h2 { "Sampler " (table.name) ", " (table.rows.len()) " steps" }
        p.note { "x̂0 = k0·x − k1·out, then x = a·x̂0 + b·x + c·z + d·x̂0′ + e·out" }
        (picture::curves(&["k0", "k1"], &estimate, &times))
        (picture::curves(&["a", "b", "c", "d", "e"], &update, &times))
        table {
            tr { @for name in ["t", "k0", "k1", "a", "b", "c", "d", "e"] { th { (name) } } }
            @for row in &table.rows {
                tr {
                    td { (row.t) }
                    @for value in [row.k0, row.k1, row.a, row.b, row.c, row.d, row.e] { td { (format!("{value:.5}")) } }
                }
            }
        }
    }
}

/// A number and its share of the largest.
fn bar(value: u64, most: u64) -> Markup {
    let percent = 60.0 * value as f64 / most.max(1) as f64;
    html! {
        td.bar { @if value > 0 { div { i style=(format!("width:{percent:.1}%")) {} (thousands(value)) } } }
    }
}

/// `1 234 567`, with narrow spaces.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join("\u{202f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!([0, 999].map(thousands), ["0", "999"]);
    }
}
