//! What a report needs of a board: a place for text, and a counter.

use core::{
    fmt::{self, Write},
    sync::atomic::{Ordering, compiler_fence},
};

/// A line of a report; longer ones are cut.
type Line = heapless::String<96>;

/// A chip with somewhere to print to.
pub trait Board {
    /// What is counted: `instructions` or `cycles`.
    const UNIT: &'static str;

    /// The board and its processor.
    fn name(&self) -> &'static str;

    /// Prints a line of text.
    fn print_line(&mut self, text: &str);

    /// What the counter shows now. Reading it takes a few instructions, always the same.
    fn ticks(&self) -> u32;

    /// Instructions or cycles between two readings that are less than a turn of the counter apart.
    fn between(&self, start: u32, end: u32) -> u64;
}

/// Runs `work` and gives what it returns and what it took, the reading of the counter included.
#[inline(always)]
pub fn measure<B: Board, T>(board: &B, work: impl FnOnce() -> T) -> (T, u64) {
    // The fences keep the compiler from moving work out of the measured stretch.
    let start = board.ticks();
    compiler_fence(Ordering::SeqCst);
    let result = work();
    compiler_fence(Ordering::SeqCst);
    let end = board.ticks();
    (result, board.between(start, end))
}

/// Runs `work`, prints what it took as `{name} = {count}`, and gives what it returns.
///
/// Hand `work`'s inputs and its result through [`core::hint::black_box`], or the compiler may do the work beforehand.
#[inline(always)]
pub fn count<B: Board, T>(board: &mut B, name: &str, work: impl FnOnce() -> T) -> T {
    let (result, count) = measure(board, work);
    print(board, format_args!("{name} = {count}"));
    result
}

/// Prints a formatted line.
pub fn print<B: Board>(board: &mut B, text: fmt::Arguments) {
    let mut line = Line::new();
    let _ = line.write_fmt(text);
    board.print_line(&line);
}
