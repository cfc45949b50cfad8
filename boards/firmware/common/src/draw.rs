//! A whole picture, as text and as a CRC-32.

use grano::{
    denoiser::Denoiser,
    noise::{Gaussian, Philox},
    picture,
    sampler::{Progress, Request},
};

use crate::{Board, BoardSampler, CRC, Failed, Model, board, print};

/// Room for a row of 47 pixels, each two characters, after `# `; longer ones are cut.
type Row = heapless::String<96>;

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Name of the class.
    pub label: &'a str,
    /// Where the noise begins.
    pub seed: u64,
}

/// Draws the picture and prints the report.
///
/// # Errors
/// When the model has no class of that name.
pub fn draw<B: Board, D: Denoiser>(
    board: &mut B,
    sampler: &mut BoardSampler<D>,
    model: &Model,
    job: Job,
) -> Result<(), Failed> {
    let Job { label, seed } = job;
    let Some(class) = model.labels.iter().position(|name| *name == label) else {
        print(board, format_args!("no class is called `{label}`; there are:"));
        model.labels.iter().for_each(|label| print(board, format_args!("  {label}")));
        return Err(Failed);
    };
    print(board, format_args!("# grano on {}: {label}, seed {seed}", board.name()));

    let request = Request { label: Some(class), guidance: model.guidance };
    let noise = Gaussian(Philox::new(seed, 0));
    if sampler.start(model.table, noise, request).is_err() {
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

    let crc32 = print_picture::<B, D>(board, sampler.x());
    let steps = model.table.rows.len();
    print(board, format_args!("sampler = \"{}\"", model.table.name));
    print(board, format_args!("crc32 = \"{crc32:08x}\""));
    print(board, format_args!("steps = {steps}"));
    print(board, format_args!("evaluations = {}", layers / D::LAYERS.max(1)));
    print(board, format_args!("{}_per_step = {}", B::UNIT, total / steps.max(1) as u64));
    Ok(())
}

/// Prints the picture in comments and gives the CRC-32 of its bytes, row by row.
fn print_picture<B: Board, D: Denoiser>(board: &mut B, x: &[f32]) -> u32 {
    let mut digest = CRC.digest();
    for row in picture::rows(D::SHAPE, x) {
        let mut line = Row::new();
        let _ = line.push_str("# ");
        picture::preview(&mut line, row.inspect(|value| digest.update(&[*value])));
        board.print_line(&line);
    }
    digest.finalize()
}
