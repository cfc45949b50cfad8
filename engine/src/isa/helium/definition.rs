//! The sums of any convolution from Helium's weights in plain Rust: other machines, and shapes that no loop is made for.

use super::layout::Layout;
use crate::conditioning::at;
use crate::geometry::Piece;
use crate::isa::{Convolution, Finish, Helium};
use crate::maps::Code;

/// Pixel by pixel, channel by channel.
pub(super) fn conv2d<X: Code, F: Finish>(convolution: &Convolution<'_, X>, finish: &F, output: &mut [F::Element]) {
    let layout = Layout::of(convolution.geometry);
    let out_c = convolution.geometry.output.channels;
    let pixels = convolution.geometry.output.positions().zip(output.chunks_exact_mut(out_c.max(1)));
    for (pixel, (position, outs)) in pixels.enumerate() {
        for (channel, out) in outs.iter_mut().enumerate() {
            let mut sum = convolution.bias(channel);
            let mut add = |tap: usize, value: i16| {
                let weight = at(convolution.weights, layout.place(channel, tap));
                sum = sum.wrapping_add(i32::from(weight).wrapping_mul(value.into()));
            };
            convolution.geometry.pieces(position, &convolution.input, |tap, piece| match piece {
                Piece::Values(values) => (tap..).zip(values).for_each(|(tap, value)| add(tap, (*value).into())),
                Piece::Padding(zero_point, len) => (tap..tap + len).for_each(|tap| add(tap, zero_point)),
            });
            finish.finish::<Helium>(&[sum], channel, pixel * out_c + channel, core::slice::from_mut(out));
        }
    }
}
