//! What the boards share: draw one picture and report it as lines of text.
//!
//! The report is TOML whose comments hold the picture, so that a person and `cargo xtask` read the same lines.

#![no_std]

#[cfg(feature = "semihosting")]
pub mod semihosting;
pub mod stack;

use core::fmt::{self, Write};

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use grano::{
    denoiser::Denoiser,
    noise::{Gaussian, Philox},
    picture,
    sampler::{Progress, Request, Sampler},
    schedule::StepTable,
};

/// A line of a report; longer ones are cut.
pub type Line = heapless::String<96>;

/// A sampler with the noise that is the same on every chip.
pub type BoardSampler<D> = Sampler<D, Gaussian<Philox>>;

/// What a report needs of a board.
pub trait Board {
    /// The board and its processor.
    const NAME: &'static str;
    /// What [`Board::count`] counts: `instructions` or `cycles`.
    const UNIT: &'static str;

    /// Prints a line of text.
    fn print_line(&mut self, text: &str);

    /// Instructions or cycles since any fixed moment. It is read once a layer, so that a counter of few bits will do:
    /// see [`Wrapping`].
    fn count(&mut self) -> u64;
}

/// Makes a 64-bit count out of a counter of `BITS` bits that is read at least once a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrapping<const BITS: u32> {
    last: u32,
    total: u64,
}

impl<const BITS: u32> Wrapping<BITS> {
    /// The count at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: 0, total: 0 }
    }

    /// Takes in what the counter shows now and gives the count.
    pub fn advance(&mut self, counter: u32) -> u64 {
        let mask = const { u32::MAX >> (32 - BITS) };
        self.total += u64::from(counter.wrapping_sub(self.last) & mask);
        self.last = counter;
        self.total
    }
}

/// What there is to draw with: the generated module's constants.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Names of the classes, in the order of their numbers.
    pub labels: &'static [&'static str],
    /// The sampler.
    pub table: &'static StepTable,
    /// Strength of classifier-free guidance.
    pub guidance: f32,
}

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Name of the class.
    pub label: &'a str,
    /// Where the noise begins.
    pub seed: u64,
}

impl Default for Job<'static> {
    fn default() -> Self {
        Self { label: "sneaker", seed: 0 }
    }
}

impl<'a> Job<'a> {
    /// A label and a seed from words, each as in [`Job::default`] when it is not given; none when the seed is no number.
    #[must_use]
    pub fn from_words(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let label = words.next().unwrap_or(Job::default().label);
        let seed = words.next().map_or(Ok(Job::default().seed), str::parse).ok()?;
        Some(Self { label, seed })
    }
}

/// Nothing was drawn; the reason has been printed.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// Draws the picture and prints the report. [`stack::paint`] has to come first.
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
    print(board, format_args!("# grano on {}: {label}, seed {seed}", B::NAME));

    let request = Request { label: Some(class), guidance: model.guidance };
    let noise = Gaussian(Philox::new(seed, 0));
    if sampler.start(model.table, noise, request).is_err() {
        print(board, format_args!("the sampler refuses the request"));
        return Err(Failed);
    }
    let (mut layers, start) = (0, board.count());
    loop {
        match sampler.advance() {
            Progress::Done => break,
            Progress::Layer { .. } => layers += 1,
            Progress::Step { .. } => {}
        }
        board.count();
    }
    let count = board.count() - start;

    let crc32 = print_picture::<B, D>(board, sampler.x());
    let steps = model.table.rows.len();
    let evaluations = layers / D::LAYERS.max(1);
    print(board, format_args!("sampler = \"{}\"", model.table.name));
    print(board, format_args!("crc32 = \"{crc32:08x}\""));
    print(board, format_args!("steps = {steps}"));
    print(board, format_args!("evaluations = {evaluations}"));
    print(board, format_args!("{}_per_step = {}", B::UNIT, count / steps.max(1) as u64));
    print(board, format_args!("{}_per_evaluation = {}", B::UNIT, count / evaluations.max(1) as u64));
    print(board, format_args!("stack_bytes = {}", stack::high_water_bytes()));
    Ok(())
}

/// Prints the picture in comments and gives the CRC-32 (that of zip and PNG) of its bytes, row by row.
fn print_picture<B: Board, D: Denoiser>(board: &mut B, x: &[f32]) -> u32 {
    let crc = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    for row in picture::rows(D::SHAPE, x) {
        let mut line = Line::new();
        let _ = line.push_str("# ");
        picture::preview(&mut line, row.inspect(|value| digest.update(&[*value])));
        board.print_line(&line);
    }
    digest.finalize()
}

/// Prints a formatted line.
pub fn print<B: Board>(board: &mut B, text: fmt::Arguments) {
    let mut line = Line::new();
    let _ = line.write_fmt(text);
    board.print_line(&line);
}
