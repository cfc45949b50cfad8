//! Weights of the engine's `kernel::winograd`.

use grano::kernel::winograd;
use proc_macro2::TokenStream;

use super::layer::Emitter;
use crate::kernel::Sums;

/// Taps of a kernel.
const TAPS: usize = 9;

impl Emitter<'_> {
    /// Transformed, in the chip's order.
    pub(super) fn transformed(&mut self, sums: &Sums) -> TokenStream {
        let (packing, geometry, in_c) = (self.target.wide_packing(), sums.geometry.engine(), sums.geometry.input[0]);
        let mut packed = vec![0i16; winograd::packed_len(&packing, &geometry)];
        for (out_channel, weights) in sums.weights.chunks_exact(TAPS * in_c).enumerate() {
            for in_channel in 0..in_c {
                let tap = |tap: usize| i16::from(weights[tap * in_c + in_channel]);
                let taps = [0, 3, 6].map(|row| [tap(row), tap(row + 1), tap(row + 2)]);
                let u = winograd::transform(taps, geometry.upsample);
                for (position, u) in u.into_iter().enumerate().take(winograd::positions(geometry.upsample)) {
                    packed[winograd::place(&packing, &geometry, position, out_channel, in_channel)] = u;
                }
            }
        }
        self.view(packed.iter().map(|v| v.to_le_bytes()))
    }

    /// As they are, in the order in which the device transforms them.
    pub(super) fn untransformed(&mut self, sums: &Sums) -> TokenStream {
        let (geometry, in_c) = (sums.geometry.engine(), sums.geometry.input[0]);
        let mut placed = vec![0i8; winograd::plain_len(&geometry)];
        for (out_channel, weights) in sums.weights.chunks_exact(TAPS * in_c).enumerate() {
            for (at, &weight) in weights.iter().enumerate() {
                placed[winograd::plain_place(&geometry, at / in_c, out_channel, at % in_c)] = weight;
            }
        }
        self.bytes(&placed)
    }
}
