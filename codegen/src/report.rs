//! `plan.txt`: where memory and work go, by layer, and the arena over time.

use crate::kernel::Kernel;
use crate::lower::{Buffer, Call, Program};
use crate::precision::Precision;
use crate::schedule::Table;

/// A sampler's memory: the arena and its three f32 maps of the picture.
#[must_use]
pub fn ram_bytes(program: &Program) -> usize {
    let map: usize = program.calls.last().map_or(0, |call| call.shape.iter().product());
    program.plan.arena_bytes + 3 * map * 4
}

/// The report as text.
#[must_use]
pub fn plan(name: &str, precision: Precision, program: &Program, samplers: &[Table], flash: usize) -> String {
    let macs: usize = program.calls.iter().map(|call| call.macs).sum();
    let mut text = format!(
        "{name} in {}: {flash} bytes of constants, {} bytes of RAM, {macs} multiply–accumulates an evaluation\n\n",
        precision.name(),
        ram_bytes(program)
    );
    let width = program.calls.iter().map(|call| call.name.chars().count()).max().unwrap_or(0).max(5);
    text += &format!(
        "{:>3}  {:width$}  {:>11}  {:>10}  {:>9}  {:>9}\n",
        "", "layer", "output", "MACs", "weights", "bias rows"
    );
    for (index, call) in program.calls.iter().enumerate() {
        let [c, h, w] = call.shape;
        let (weights, rows) = constants(call, precision);
        text += &format!(
            "{index:>3}  {:width$}  {:>11}  {:>10}  {weights:>9}  {rows:>9}\n",
            call.name,
            format!("{h}×{w}×{c}"),
            call.macs
        );
    }
    let lifetimes: Vec<_> = program.buffers.iter().map(Buffer::lifetime).collect();
    text += "\n";
    text += &program.plan.picture(&lifetimes);
    for table in samplers {
        text += &format!("\nsampler {}: {} steps\n", table.name, table.rows.len());
        text +=
            &format!("{:>5}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}\n", "t", "k0", "k1", "a", "b", "c", "e");
        for row in &table.rows {
            let [k0, k1, a, b, c, e] = [row.k0, row.k1, row.a, row.b, row.c, row.e];
            text += &format!("{:>5}  {k0:>10.5}  {k1:>10.5}  {a:>10.5}  {b:>10.5}  {c:>10.5}  {e:>10.5}\n", row.t);
        }
    }
    text
}

/// Bytes of weights and of bias rows.
fn constants(call: &Call, precision: Precision) -> (usize, usize) {
    let float = if precision == Precision::F16 { 2 } else { 4 };
    match &call.kernel {
        Kernel::Conv2dInt8 { sums, .. } | Kernel::Conv2dInt8Head { sums, .. } => {
            (sums.weights.len(), 4 * (sums.bias[0].len() + sums.bias[1].len()))
        }
        Kernel::DepthwiseInt8 { sums, .. } => (sums.weights.len(), 4 * (sums.bias[0].len() + sums.bias[1].len())),
        Kernel::GroupNormInt8 { gains, offsets, .. } => (4 * (gains.len() + offsets.len()), 0),
        Kernel::GroupNormFloat { weight, bias, .. } => (float * (weight.len() + bias.len()), 0),
        Kernel::Conv2dFloat { weights, bias, .. } | Kernel::DepthwiseFloat { weights, bias, .. } => {
            (float * weights.len(), float * (bias[0].len() + bias[1].len()))
        }
        _ => (0, 0),
    }
}
