//! The part of the trainer that needs no libtorch: its commands' [`arguments`], the [`data`] that they learn from, and
//! [`look`], which shows these. It compiles in seconds, so that `cargo xtask trainer --help`, a mistyped argument and a
//! folder that cannot be read are answered before the rest is built.
//!
//! [`values`] holds numbers on the command line to their ranges.

pub mod arguments;
pub mod data;
pub mod look;
pub mod values;
