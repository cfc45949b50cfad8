//! One evaluation of the network: what each layer takes, and the CRC-32 of what comes out.
//!
//! Every board and the host run it on the same input, so that equal networks print equal checksums.

use grano::{
    Gaussian, Model, Network, Noise, Philox,
    memory::Parts,
    network::{Condition, Input, Io, Layers},
};

use crate::{Board, BoardSampler, CRC, board, print};

/// Evaluates the network on Philox's noise of seed 0, at the first step of the model's own sampler, without a label, and
/// prints the report: instructions by layer and in all, and the CRC-32 of the output, f32 in little-endian order.
pub fn evaluate<B: Board, M: Model>(board: &mut B, sampler: &mut BoardSampler<M>) {
    print(board, format_args!("# one evaluation on {}", board.name()));
    let Parts { arena, x, .. } = sampler.parts();
    Gaussian(Philox::new(0, 0)).fill(x);
    let step = M::SAMPLERS.first().and_then(|table| table.rows.first()).map_or(0, |row| row.network_row.into());
    let (network, condition) = (M::Denoiser::NEW, Condition { step, class: M::Denoiser::CLASSES });
    let last = network.layers().saturating_sub(1);
    let mut total = 0;
    for (layer, name) in M::Denoiser::LAYER_NAMES.iter().enumerate() {
        let (_, count) = if layer < last {
            let io = &mut Io { inputs: &[Input::new(x)], outputs: &mut |_: usize, _: usize, _: &[f32]| {} };
            board::measure(board, || network.layer(layer, condition, arena, io))
        } else {
            // It reads the arena alone: the output takes the input's place.
            let mut keep = |_: usize, first: usize, strip: &[f32]| {
                let place = x.get_mut(first..).unwrap_or_default();
                place.iter_mut().zip(strip).for_each(|(to, from)| *to = *from);
            };
            let io = &mut Io { inputs: &[], outputs: &mut keep };
            board::measure(board, || network.layer(layer, condition, arena, io))
        };
        print(board, format_args!("layers.\"{name}\" = {count}"));
        total += count;
    }
    let mut digest = CRC.digest();
    x.iter().for_each(|value| digest.update(&value.to_le_bytes()));
    print(board, format_args!("{}_per_evaluation = {total}", B::UNIT));
    print(board, format_args!("evaluation_crc32 = \"{:08x}\"", digest.finalize()));
}
