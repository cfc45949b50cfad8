//! One evaluation of the network: what each layer takes, and the CRC-32 of what comes out.
//!
//! Every board and the host run it on the same input, so that equal networks print equal checksums.

use grano::{
    denoiser::Denoiser,
    noise::{Gaussian, Philox},
    sampler::{Progress, Request},
    schedule::{StepRow, StepTable},
};

use crate::{Board, BoardSampler, CRC, Failed, Model, board, print};

/// A step that makes the network's output the next x, at the time of the sampler's first step. For [`crate::model!`].
#[must_use]
pub const fn output(sampler: &StepTable) -> StepRow {
    let StepRow { network_row, c_in, .. } = sampler.rows[0];
    StepRow { network_row, c_in, k0: 0.0, k1: 0.0, a: 0.0, b: 0.0, c: 0.0, d: 0.0, e: 1.0 }
}

/// Evaluates the network on Philox's noise of seed 0 without a label, and prints the report: instructions by layer and
/// in all, and the CRC-32 of the output, f32 in little-endian order.
///
/// # Errors
/// When the sampler refuses, which it has no reason to.
pub fn evaluate<B: Board, D: Denoiser>(
    board: &mut B,
    sampler: &mut BoardSampler<D>,
    model: &Model,
) -> Result<(), Failed> {
    print(board, format_args!("# one evaluation on {}", board.name()));
    let request = Request { label: None, guidance: 1.0 };
    sampler.start(model.output, Gaussian(Philox::new(0, 0)), request).map_err(|_| Failed)?;
    let mut total = 0;
    for name in D::LAYER_NAMES {
        let (_, count) = board::measure(board, || sampler.advance());
        print(board, format_args!("layers.\"{name}\" = {count}"));
        total += count;
    }
    while sampler.advance() != Progress::Done {}
    let mut digest = CRC.digest();
    sampler.x().iter().for_each(|value| digest.update(&value.to_le_bytes()));
    print(board, format_args!("{}_per_evaluation = {total}", B::UNIT));
    print(board, format_args!("evaluation_crc32 = \"{:08x}\"", digest.finalize()));
    Ok(())
}
