//! From a trained model to static Rust, or to a program that runs in process:
//! `load → fold → quantize → lower → plan → pack → { emit | run }`.
//!
//! [`Build`] is the way in, from a build script, the command line or another program. Below it stand, in the order in
//! which data flows:
//!
//! - [`graph`], the IR: networks with ports, and [`op`], its operations, a file each;
//! - [`forward`], the diffusion process, and [`schedule`], samplers as tables;
//! - [`model`] and [`load`]: what stands in a file, checked before use, and its [`limits`];
//! - [`reference`](mod@reference): what a graph means, naively;
//! - [`backward`]: the gradient of an output as more nodes of the graph;
//! - [`fold`]: rewrites that are equal in real numbers;
//! - [`target`]: the chip, and [`chip`]: whether the one that cargo builds for is it;
//! - [`quantize`]: the folded network in the numbers of the device ([`precision`], [`kernel`]);
//! - [`cost`] and [`algorithm`]: what a convolution takes, one way or another;
//! - [`order`], [`lower`] and [`plan`]: layers in an order, some pairs strip by strip, kernel calls on buffers, buffers in
//!   one arena;
//! - [`pack`]: constants in one block of bytes; [`compile`]: all of this for every network of a model;
//! - [`resources`], what that takes of a chip, and [`report`], `plan.txt` and `report.html`;
//! - [`emit`], code, and [`runtime`], the same in process; [`score`], of pictures, by it.

pub mod algorithm;
pub mod backward;
pub mod build;
pub mod chip;
pub mod compile;
pub mod cost;
pub mod emit;
pub mod error;
pub mod fold;
pub mod forward;
pub mod geometry;
pub mod graph;
pub mod kernel;
pub mod limits;
pub mod load;
pub mod lower;
pub mod model;
pub mod op;
pub mod order;
pub mod pack;
pub mod plan;
pub mod precision;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod resources;
pub mod run;
pub mod runtime;
pub mod schedule;
pub mod score;
pub mod target;
mod wiring;

pub use build::{Build, Purpose};
pub use error::{Error, Result};
pub use limits::one_line;
pub use precision::Precision;
pub use resources::Resources;
pub use runtime::Runtime;
pub use target::Target;
