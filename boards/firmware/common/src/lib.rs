//! What the boards share: run the network on a chip and report it as lines of text.
//!
//! - [`board`]: what a report needs of a board;
//! - [`evaluate`]: one evaluation, its instructions layer by layer and the CRC-32 of its output;
//! - [`draw`]: a whole picture;
//! - [`mod@stack`]: how deep the stack has been;
//! - [`program`]: a program for the emulator, whole;
//! - `kernels`: another, which checks an instruction set's kernels;
//! - [`semihosting`] and [`mps`]: text and counter of the boards in the emulator.
//!
//! The report is TOML whose comments hold the picture, so that a person and `cargo xtask` read the same lines.

#![no_std]

pub mod board;
pub mod draw;
pub mod evaluate;
#[cfg(all(feature = "semihosting", target_os = "none"))]
pub mod kernels;
#[cfg(feature = "mps")]
pub mod mps;
#[cfg(feature = "semihosting")]
pub mod program;
#[cfg(feature = "semihosting")]
pub mod semihosting;
#[cfg(target_os = "none")]
pub mod stack;

pub use board::{Board, count, print};

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use grano::{Gaussian, Philox, Sampler};

/// A sampler with the noise that is the same on every chip.
pub type BoardSampler<M> = Sampler<M, Gaussian<Philox>>;

/// It could not be done.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// The CRC-32 of zip and PNG, without a table.
static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
