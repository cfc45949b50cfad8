//! The gradient of a convolution with respect to its input, as convolutions.
//!
//! With taps k, stride s, padding p and enlargement u, the result is y\[o\] = Σ_k w\[k\] · x\[(s·o + k − p) / u\] on either axis.
//! For s = 1 the gradient is a convolution of stride u with the taps turned round, neighbours of one enlarged pixel added
//! up. For u = 1 it is a convolution on the grid of y that gives s × s channels for each of x, one a phase, and a pixel
//! shuffle.

use super::Tape;
use crate::error::{Error, Result};
use crate::geometry::Padding;
use crate::graph::{Conv2d, DepthToSpace};

/// The gradient with respect to a map `input` `[channels, height, width]`, given that of the result, `gradient` `[conv.out_channels,
/// height, width]` of size `output`. `weight` is `[out_channels][channels][k_h][k_w]`, or `[channels][1][k_h][k_w]` where `conv` has
/// a group a channel.
///
/// # Errors
/// Names the node, `node`, whose padding is as wide as its kernel, whose strides differ, or that has both stride and
/// enlargement.
pub(crate) fn transposed(
    tape: &mut Tape<'_>,
    node: &str,
    conv: &Conv2d,
    weight: &[f32],
    [input, output]: [[usize; 3]; 2],
    gradient: &str,
) -> Result<String> {
    let no = |why: &str| Err(Error::node(node, format!("no backward pass for a convolution with {why}")));
    let Conv2d { kernel, padding, .. } = conv;
    if (0..2).any(|axis| padding.before[axis].max(padding.after[axis]) >= kernel[axis]) {
        return no("padding as wide as its kernel; give less");
    }
    let mut stride = conv.stride;
    // On an axis of one tap and one pixel any stride is the same.
    for axis in 0..2 {
        if kernel[axis] == 1 && input[1 + axis] == 1 && conv.upsample[axis] == 1 {
            stride[axis] = stride[1 - axis];
        }
    }
    let conv = Conv2d { stride, ..conv.clone() };
    match (stride, conv.upsample) {
        ([1, 1], _) => Ok(turned(tape, &conv, weight, input[0], gradient)),
        ([s, other], [1, 1]) if s == other => Ok(by_phases(tape, &conv, weight, [input, output], gradient)),
        (_, [1, 1]) => no("strides that differ; give equal ones"),
        _ => no("both stride and enlargement; give one of them"),
    }
}

/// Of stride 1.
fn turned(tape: &mut Tape<'_>, conv: &Conv2d, weight: &[f32], channels: usize, gradient: &str) -> String {
    let Conv2d { kernel, padding, upsample, .. } = *conv;
    let depthwise = conv.groups > 1;
    let sides = [0, 1].map(|axis| kernel[axis] + upsample[axis] - 1);
    let taps: usize = sides.iter().product();
    let out_channels = if depthwise { 1 } else { conv.out_channels };
    let mut turned = vec![0.0; channels * out_channels * taps];
    for (at, w) in places(weight, if depthwise { 1 } else { channels }, kernel) {
        let [out, channel, k_y, k_x] = at;
        let row = if depthwise { out } else { channel * out_channels + out };
        for e_y in 0..upsample[0] {
            for e_x in 0..upsample[1] {
                // Tap t meets the gradient at u·i + t − (k − 1 − p), so that k − e is k − 1 − t.
                let [y, x] = [kernel[0] - 1 + e_y - k_y, kernel[1] - 1 + e_x - k_x];
                turned[row * taps + y * sides[1] + x] += w;
            }
        }
    }
    let around = |side: [usize; 2]| [0, 1].map(|axis| kernel[axis] - 1 - side[axis]);
    let conv = Conv2d {
        out_channels: channels,
        kernel: sides,
        stride: upsample,
        padding: Padding { before: around(padding.before), after: around(padding.after) },
        upsample: [1; 2],
        groups: if depthwise { channels } else { 1 },
    };
    tape.conv2d("turned", gradient, conv, turned)
}

/// Of a stride above 1, equal on both axes.
fn by_phases(
    tape: &mut Tape<'_>,
    conv: &Conv2d,
    weight: &[f32],
    [input, output]: [[usize; 3]; 2],
    gradient: &str,
) -> String {
    let Conv2d { kernel, padding, stride: [s, _], .. } = *conv;
    let channels = input[0];
    let depthwise = conv.groups > 1;
    let axes =
        [0, 1].map(|axis| Phases::new(kernel[axis], padding.before[axis], s, [input[1 + axis], output[1 + axis]]));
    let [rows, columns] = axes;
    let taps = rows.taps * columns.taps;
    let mut phases = vec![0.0; channels * s * s * conv.out_channels * taps];
    for (at, w) in places(weight, if depthwise { 1 } else { channels }, kernel) {
        let [out, channel, k_y, k_x] = at;
        let channel = if depthwise { out } else { channel };
        let ([r_y, y], [r_x, x]) = (rows.place(k_y), columns.place(k_x));
        let row = ((channel * s + r_y) * s + r_x) * conv.out_channels + out;
        phases[row * taps + y * columns.taps + x] = w;
    }
    let small = Conv2d {
        out_channels: channels * s * s,
        kernel: axes.map(|axis| axis.taps),
        stride: [1; 2],
        padding: Padding { before: axes.map(|axis| axis.before), after: axes.map(|axis| axis.after) },
        upsample: [1; 2],
        groups: 1,
    };
    let small = tape.conv2d("phases", gradient, small, phases);
    let all = tape.node("shuffled", DepthToSpace { block: s }, &[&small], &[]);
    let excess = [0, 1].map(|axis| s * axes[axis].outputs - input[1 + axis]);
    if excess == [0; 2] {
        return all;
    }
    let crop = Conv2d {
        out_channels: channels,
        kernel: excess.map(|n| n + 1),
        stride: [1; 2],
        padding: [0; 2].into(),
        upsample: [1; 2],
        groups: channels,
    };
    let area = crop.kernel[0] * crop.kernel[1];
    let first = (0..channels * area).map(|i| if i % area == 0 { 1.0 } else { 0.0 });
    tape.conv2d("cropped", &all, crop, first.collect())
}

/// One axis of [`by_phases`]: x at s·q + r gets w\[k\] · y at q + d with k = r + p − s·d.
#[derive(Clone, Copy)]
struct Phases {
    stride: usize,
    padding: usize,
    /// Of the small convolution: its taps are d from the least on.
    taps: usize,
    before: usize,
    after: usize,
    outputs: usize,
}

impl Phases {
    fn new(kernel: usize, padding: usize, stride: usize, [input, output]: [usize; 2]) -> Self {
        // The least d is −before.
        let before = (kernel - 1 - padding) / stride;
        let most = padding.div_ceil(stride);
        let wanted = input.div_ceil(stride);
        let after = (wanted + most).saturating_sub(output);
        Self { stride, padding, taps: before + most + 1, before, after, outputs: output + after - most }
    }

    /// The phase r that tap k serves, and its tap of the small convolution.
    fn place(&self, k: usize) -> [usize; 2] {
        // k − p = r − s·d, with r below s.
        let r = (k + self.stride * self.padding - self.padding) % self.stride;
        [r, (r + self.padding + self.before * self.stride - k) / self.stride]
    }
}

/// Weights `[out_channels][channels][k_h][k_w]`, every one with its place.
fn places(weight: &[f32], channels: usize, [k_h, k_w]: [usize; 2]) -> impl Iterator<Item = ([usize; 4], f32)> {
    let place = move |i: usize| [i / k_w / k_h / channels, i / k_w / k_h % channels, i / k_w % k_h, i % k_w];
    weight.iter().enumerate().map(move |(i, &w)| (place(i), w))
}
