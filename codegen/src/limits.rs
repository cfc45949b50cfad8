//! What a model file may ask for at most. Files are not trusted: a small one must cost neither minutes nor gigabytes.
//!
//! Every limit is many times what networks for small chips have, and what a desktop draws pictures with in seconds. Sizes
//! are checked before anything of that size is made. [`Effort`] bounds the searches, whose work grows faster than the file.

use std::cell::Cell;

use crate::error::{Error, Result};

/// Bytes of a model file: 64 million weights. It is read as a whole.
pub const MOST_FILE_BYTES: u64 = 256 << 20;
/// Bytes of the JSON header: the shipped models' have 20 to 60 thousand. Parsed JSON takes some ten times as many.
pub const MOST_HEADER_BYTES: usize = 4 << 20;
/// Networks of a model: an encoder, a denoiser, a decoder, a classifier, and as many again.
pub const MOST_NETWORKS: usize = 8;
/// Nodes of a graph: the shipped models have 65 and 104. Folding and planning compare every layer with every other.
pub const MOST_NODES: usize = 512;
/// Ports of a graph, in and out.
pub const MOST_PORTS: usize = 16;
/// Inputs of a node; kernels read three maps at most.
pub const MOST_INPUTS: usize = 16;
/// Each side of a map, a vector's length, a kernel's side: the engine's step tables number rows with 16 bits.
pub const LARGEST_DIMENSION: usize = 1 << 16;
/// Elements of a map: 1024×1024 pixels of four channels.
pub const LARGEST_MAP: usize = 1 << 22;
/// Multiply–accumulates of one evaluation: 500 times those of Stable Diffusion's U-net. Products of sizes stay far from
/// overflow below it.
pub const MOST_MACS: u64 = 1 << 48;
/// Steps of all samplers of a build: each is a line of code, which compilers take some kilobytes for.
pub const MOST_STEPS: usize = 1 << 14;
/// Classes: the engine's tables number rows with 16 bits.
pub const MOST_CLASSES: usize = LARGEST_DIMENSION - 1;
/// Elements of all vectors of time and class, in all rows: 64 MiB of f64. A thousand steps of the shipped models take 1.6
/// million.
pub const MOST_ROW_ELEMENTS: u64 = 1 << 23;
/// Products that computing these rows takes: some seconds. A thousand steps of the shipped models take 83 million.
pub const MOST_ROW_PRODUCTS: u64 = 1 << 32;
/// Steps of a noise schedule.
pub const MOST_TIMES: usize = 100_000;
/// Samplers of a model's own.
pub const MOST_SAMPLERS: usize = 64;
/// Letters of any name in a model file, and of a label.
pub const LONGEST_NAME: usize = 100;
/// Magnitude of a value that calibration saw: scales, their quotients and their squares stay within f32.
pub const LARGEST_VALUE: f32 = 1e12;
/// Weight of guidance: pictures saturate far below.
pub const LARGEST_GUIDANCE: f32 = 1e3;

/// Work of the planner's searches, in units of about 100 ns: some seconds. The shipped model takes a small part of it in the
/// budgets of its boards.
const MOST_EFFORT: u64 = 1 << 26;

/// What is left of the work that one build may put into its searches. A search that finds nothing left returns the best
/// that it has, so that every network is built, in bounded time, and the same on every machine.
#[derive(Debug)]
pub struct Effort(Cell<u64>);

impl Default for Effort {
    fn default() -> Self {
        Self(Cell::new(MOST_EFFORT))
    }
}

impl Effort {
    /// Takes some of it.
    pub fn spend(&self, units: usize) {
        self.0.set(self.0.get().saturating_sub(units as u64));
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// How much was taken.
    #[must_use]
    pub fn spent(&self) -> u64 {
        MOST_EFFORT - self.0.get()
    }
}

/// That there are not too many of something.
///
/// # Errors
/// Says how many there are, of what, and how many there may be.
pub(crate) fn at_most<T: PartialOrd + std::fmt::Display>(what: &str, count: T, most: T) -> Result<()> {
    if count <= most { Ok(()) } else { Err(Error::Model(format!("{what}: {count}, more than {most}"))) }
}

/// That a name from a model file is one: ASCII letters, digits and `_ . - +`, and no more than [`LONGEST_NAME`] of them.
/// Names go into generated code, reports and what cargo prints.
///
/// # Errors
/// Says what the name may hold.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-+".contains(c);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(known) {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{what} {}: a name is 1 to {LONGEST_NAME} letters and digits of ASCII, `_`, `.`, `-` and `+`; rename it",
        quoted(name)
    )))
}

/// That a label is one: a line of printable Unicode, no longer than [`LONGEST_NAME`], without white space at its ends.
///
/// # Errors
/// Says what a label may hold.
pub(crate) fn check_label(label: &str) -> Result<()> {
    let is_sound = !label.is_empty()
        && label.trim() == label
        && label.chars().count() <= LONGEST_NAME
        && !label.chars().any(is_unprintable);
    if is_sound {
        return Ok(());
    }
    Err(Error::Model(format!(
        "label {}: a label is one line of 1 to {LONGEST_NAME} printable characters, without blanks at its ends; rename it",
        quoted(label)
    )))
}

/// Controls, line and paragraph separators, and what is invisible or turns the direction of text: what a label shows must
/// be what it is.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}' | '\u{e000}'..='\u{f8ff}')
}

/// Text from a file for a message: on one line, and cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let start: String = text.chars().take(LONGEST_NAME).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// Text as one line: what would begin another, or is not to be seen, is escaped. What goes to cargo is one line, so that
/// nothing in a file can give it an instruction.
#[must_use]
pub fn one_line(text: &str) -> String {
    let escaped = |c: char| if is_unprintable(c) { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_have_a_grammar() {
        for name in ["a", "down.0+silu", "z-9_", &"n".repeat(LONGEST_NAME)] {
            assert!(check_name("node", name).is_ok(), "{name}");
        }
        for name in ["", " ", "a b", "a\n", "ä", "a/b", "`", "\"", "{", &"n".repeat(LONGEST_NAME + 1)] {
            let error = check_name("node", name).unwrap_err().to_string();
            assert!(error.starts_with("node \"") && error.len() < 400 && !error.contains('\n'), "{error}");
        }
        for label in ["7", "ankle-boot", "T-shirt / top", "Stiefel für Ärzte", "靴"] {
            assert!(check_label(label).is_ok(), "{label}");
        }
        for label in
            ["", " ", " a", "a\n", "a\u{2028}b", "a\u{202e}b", "\u{200b}", "a\tb", &"ä".repeat(LONGEST_NAME + 1)]
        {
            let error = check_label(label).unwrap_err().to_string();
            assert!(error.starts_with("label \"") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn cargo_sees_one_line() {
        assert_eq!(one_line("a\ncargo::rustc-env=X=yes\r\u{1b}"), "a\\ncargo::rustc-env=X=yes\\r\\u{1b}");
        assert_eq!(one_line("β ≤ 1\u{2028}`"), "β ≤ 1\\u{2028}`");
    }

    #[test]
    fn effort_ends() {
        let effort = Effort::default();
        effort.spend(5);
        assert_eq!((effort.spent(), effort.is_spent()), (5, false));
        effort.spend(usize::MAX);
        assert!(effort.is_spent());
    }
}
