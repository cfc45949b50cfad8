//! Pictures of the report, as SVG.

use maud::{Markup, html};

use crate::kernel::Element;
use crate::lower::{Buffer, Program};

/// Width of a picture in user units, with the axis.
const WIDTH: f64 = 960.0;
/// Height of a picture without its labels.
const HEIGHT: f64 = 300.0;
/// Room for an axis' labels.
const MARGIN: f64 = 64.0;
/// Of curves, in turn.
const COLOURS: [&str; 5] = ["#2563a8", "#c2571a", "#3d8b40", "#8a4fa3", "#b8860b"];

/// The arena over time: layers to the right, bytes upwards, a rectangle a buffer.
pub(super) fn arena(program: &Program) -> Markup {
    let (calls, bytes) = (program.calls.len().max(1) as f64, program.plan.arena_bytes.max(1) as f64);
    let column = (WIDTH - MARGIN) / calls;
    let y = |offset: usize| HEIGHT - offset as f64 / bytes * HEIGHT;
    let rectangle = |(buffer, &offset): (&Buffer, &usize)| {
        let [first, last] = buffer.calls;
        let (x, width) = (MARGIN + first as f64 * column, (last + 1 - first) as f64 * column);
        let (top, height) = (y(offset + buffer.bytes()), buffer.bytes() as f64 / bytes * HEIGHT);
        let is_scratch = buffer.element == Element::I32 || buffer.name.ends_with(" scratch");
        let class = if is_scratch { "scratch" } else { "map" };
        // A letter is about 6 units wide.
        let letters = ((width - 8.0) / 6.0) as usize;
        let label = Some(&buffer.name).filter(|_| height > 14.0 && letters > 3 && !is_scratch);
        html! {
            g {
                title { (buffer.name) ": " (buffer.bytes()) " bytes at " (offset) ", layers " (first) " to " (last) }
                rect class=(class) x=(number(x + 0.5)) y=(number(top)) width=(number(width - 1.0)) height=(number(height)) {}
                @if let Some(name) = label {
                    text x=(number(x + 5.0)) y=(number(top + height / 2.0 + 4.0)) { (shortened(name, letters)) }
                }
            }
        }
    };
    let ticks = [0, 1, 2, 3, 4].map(|quarter| program.plan.arena_bytes * quarter / 4);
    html! {
        svg viewBox=(format!("0 -8 {WIDTH} {}", HEIGHT + 110.0)) role="img" aria-label="Buffers over layers" {
            @for tick in ticks {
                line class="grid" x1=(MARGIN) x2=(WIDTH) y1=(number(y(tick))) y2=(number(y(tick))) {}
                text class="left" x=(MARGIN - 6.0) y=(number(y(tick) + 4.0)) { (tick) }
            }
            @for pair in program.buffers.iter().zip(&program.plan.offsets) { (rectangle(pair)) }
            @for (index, call) in program.calls.iter().enumerate() {
                @let (x, y) = (MARGIN + (index as f64 + 0.5) * column, HEIGHT + 10.0);
                text class="left" transform=(format!("translate({} {}) rotate(-50)", number(x), number(y))) { (call.name) }
            }
        }
    }
}

/// Curves over a sampler's steps, on a scale that holds all of them.
pub(super) fn curves(names: &[&str], curves: &[Vec<f64>], times: &[usize]) -> Markup {
    let (width, height) = (WIDTH / 2.0 - 20.0, HEIGHT * 0.6);
    let values = || curves.iter().flatten().copied();
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let span = (high - low).max(1e-9);
    let last = times.len().saturating_sub(1).max(1) as f64;
    let x = |step: usize| MARGIN + step as f64 / last * (width - MARGIN - 8.0);
    let y = |value: f64| height - (value - low) / span * height;
    let points = |curve: &Vec<f64>| {
        let point = |(step, &value): (usize, &f64)| format!("{},{}", number(x(step)), number(y(value)));
        curve.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
    };
    html! {
        svg.half viewBox=(format!("0 -24 {width} {}", height + 50.0)) role="img" aria-label=(names.join(", ")) {
            @for tick in [low, low + span / 2.0, high] {
                line class="grid" x1=(MARGIN) x2=(width) y1=(number(y(tick))) y2=(number(y(tick))) {}
                text class="left" x=(MARGIN - 6.0) y=(number(y(tick) + 4.0)) { (format!("{tick:.2}")) }
            }
            @for (index, (name, curve)) in names.iter().zip(curves).enumerate() {
                @let colour = COLOURS[index % COLOURS.len()];
                polyline points=(points(curve)) stroke=(colour) {}
                text x=(number(MARGIN + 44.0 * index as f64)) y="-10" style=(format!("fill:{colour}")) { (name) }
            }
            @if let [first, .., final_] = times {
                text x=(MARGIN) y=(number(height + 18.0)) { "t = " (first) }
                text class="left" x=(number(width - 8.0)) y=(number(height + 18.0)) { "t = " (final_) }
            }
        }
    }
}

/// A coordinate: short, and the same on every machine.
fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// At most so many letters.
fn shortened(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_string();
    }
    name.chars().take(letters - 1).chain(['…']).collect()
}
