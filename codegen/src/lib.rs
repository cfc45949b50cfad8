//! From a trained model to static Rust: `load → fold → quantize → lower → plan → emit`.
//!
//! [`Build`] is the way in, from a build script or the command line. Below it stand, in the order in
//! which data flows:
//!
//! - [`graph`], the IR, [`forward`], the diffusion process, and [`schedule`], samplers as tables: what a model *is*;
//! - [`model`] and [`load`]: what stands in a file, checked before use;
//! - [`reference`]: what a graph means, naively;
//! - [`fold`]: rewrites that are equal in real numbers;
//! - [`target`]: the chip;
//! - [`quantize`] and [`float`]: the folded network in the numbers of the device ([`precision`], [`kernel`]);
//! - [`cost`] and [`algorithm`]: what a convolution takes, one way or another;
//! - [`order`], [`lower`] and [`plan`]: layers in an order, some pairs strip by strip, kernel calls on buffers, buffers in one
//!   arena;
//! - [`emit`] and [`report`]: code, constants, `plan.txt` and `report.html`.

pub mod algorithm;
pub mod build;
pub mod cost;
pub mod emit;
pub mod error;
pub mod float;
pub mod fold;
pub mod forward;
pub mod graph;
pub mod kernel;
pub mod load;
pub mod lower;
pub mod model;
pub mod order;
pub mod plan;
pub mod precision;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod schedule;
pub mod target;

pub use build::{Build, Purpose};
pub use error::{Error, Result};
pub use precision::Precision;
pub use target::Target;
