//! A whole picture, as text and as a CRC-32.

use grano::{Gaussian, Model, Philox, Progress, Request, Table, picture::Picture};

use crate::{Board, BoardSampler, Failed, board, print};

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Name of the class; of no account to a model without labels.
    pub label: &'a str,
    /// Where the noise begins.
    pub seed: u64,
}

/// Draws the picture with the model's own sampler and guidance, and prints the report.
///
/// # Errors
/// When the model has no class of that name.
pub fn draw<B: Board, M: Model>(board: &mut B, sampler: &mut BoardSampler<M>, job: Job) -> Result<(), Failed> {
    let Job { label, seed } = job;
    let class = M::LABELS.iter().position(|name| *name == label);
    if class.is_none() && !M::LABELS.is_empty() {
        print(board, format_args!("no class is called `{label}`; there are:"));
        M::LABELS.iter().for_each(|label| print(board, format_args!("  {label}")));
        return Err(Failed);
    }
    print(board, format_args!("# grano on {}: {label}, seed {seed}", board.name()));

    let table = Table::<M>::default();
    let request = Request { label: class, guidance: M::GUIDANCE };
    if sampler.start(table, Gaussian(Philox::new(seed, 0)), request).is_err() {
        print(board, format_args!("the sampler refuses"));
        return Err(Failed);
    }
    let (mut layers, mut total) = (0, 0);
    loop {
        let (progress, count) = board::measure(board, || sampler.advance());
        total += count;
        match progress {
            Progress::Done => break,
            Progress::Layer { .. } => layers += 1,
            Progress::Step { .. } => {}
        }
    }

    let picture = Picture::new(M::SHAPE, sampler.x());
    picture.rows().for_each(|row| print(board, format_args!("# {row}")));
    let crc32 = picture.crc32();
    let steps = table.rows.len();
    let layers_per_evaluation = <M::Denoiser as grano::Network>::LAYER_NAMES.len();
    print(board, format_args!("sampler = \"{}\"", table.name));
    print(board, format_args!("crc32 = \"{crc32:08x}\""));
    print(board, format_args!("steps = {steps}"));
    print(board, format_args!("evaluations = {}", layers / layers_per_evaluation.max(1)));
    print(board, format_args!("{}_per_step = {}", B::UNIT, total / steps.max(1) as u64));
    Ok(())
}
