//! A whole picture, as text and as a CRC-32.

use grano::{
    Gaussian, Model, Philox, Progress, Request, Table,
    picture::{preview, to_u8},
};

use crate::{Board, BoardSampler, CRC, Failed, board, print};

/// Room for a row of 47 pixels, each two characters, after `# `; longer ones are cut.
type Row = heapless::String<96>;

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
        print(board, format_args!("the sampler refuses the request"));
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

    let crc32 = print_picture::<B, M>(board, sampler.x());
    let steps = table.rows.len();
    let layers_per_evaluation = <M::Denoiser as grano::Network>::LAYER_NAMES.len();
    print(board, format_args!("sampler = \"{}\"", table.name));
    print(board, format_args!("crc32 = \"{crc32:08x}\""));
    print(board, format_args!("steps = {steps}"));
    print(board, format_args!("evaluations = {}", layers / layers_per_evaluation.max(1)));
    print(board, format_args!("{}_per_step = {}", B::UNIT, total / steps.max(1) as u64));
    Ok(())
}

/// Prints the picture in comments, its first channel as brightness, and gives the CRC-32 of all its bytes.
fn print_picture<B: Board, M: Model>(board: &mut B, x: &[f32]) -> u32 {
    let channels = M::SHAPE.channels.max(1);
    let mut digest = CRC.digest();
    for row in x.chunks_exact((M::SHAPE.width * channels).max(1)) {
        row.iter().for_each(|value| digest.update(&[to_u8(*value)]));
        let mut line = Row::new();
        let _ = line.push_str("# ");
        preview(&mut line, row.iter().step_by(channels).map(|value| to_u8(*value)));
        board.print_line(&line);
    }
    digest.finalize()
}
