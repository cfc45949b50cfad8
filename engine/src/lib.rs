//! grano draws with a diffusion model on a chip: no heap, no std, no panics, and the same bits on every chip.
//!
//! The network is static Rust that `grano-codegen` wrote in a build script: a type that implements [`Model`]. This crate
//! has what that code calls, and the loop around it. A [`Painter`] draws a picture of a class and a seed:
//!
//! ```
//! # use grano::{Model, Painter, Progress};
//! fn draw<M: Model>(painter: &mut Painter<M>, label: M::Label, mut print: impl FnMut(&dyn core::fmt::Display)) {
//!     painter.start(label, 0);
//!     while painter.step() != Progress::Done {}
//!     painter.picture().rows().for_each(|row| print(&row));
//! }
//! ```
//!
//! Below it, a [`Sampler`] takes a [`Request`], a [`Table`] of steps and [`Noise`], and [`hooks`] for guidance, inverse
//! problems and scores. Programs that run a network of their own, or one without a sampler, use [`network`] and
//! [`trajectory`].
//!
//! | chips | instructions that its int8 kernels use |
//! |---|---|
//! | Cortex-M0, M0+ | ARMv6-M |
//! | Cortex-M4, M7, M33 | the DSP extension |
//! | Cortex-M55, M85 | Helium |
//! | ESP32-C3, ESP32-C6, Hazard3 | RV32IM |
//! | desktops | AVX2, AVX-512 VNNI, Neon with and without dot products, WebAssembly's simd128 |
//! | all others | plain Rust |
//!
//! | feature | brings |
//! |---|---|
//! | `static-cell` | a function `painter` in every generated module, which gives the painter in static memory |
//! | `embedded-graphics` | `display`: pictures on displays with a driver for `embedded-graphics` |
//!
//! The modules, in the order in which a picture comes about; each uses only those above it:
//!
//! - `shape`: maps are height × width × channels, channels last, one picture at a time;
//! - `blob`: weights in flash and activations in one arena, as typed slices (with `isa`, the places with `unsafe`);
//! - `io`: what a network reads and writes outside its arena;
//! - `real`: floating-point elements and activations;
//! - `requantize`: from a 32-bit sum to 8 bits or 12, the one definition of int8 arithmetic's rounding;
//! - `maps`, `geometry`, `conditioning`, `residual`, `epilogue`: what a layer reads, and what becomes of its sums;
//! - `isa`: the inner loops, chip by chip;
//! - `kernel`: one file an operation;
//! - [`tap`]: where a network's intermediate values can be read;
//! - [`network`]: what a network offers, and one evaluation of it;
//! - `noise`: Philox and Box–Muller, the same bits everywhere;
//! - [`schedule`]: a sampler is a table, one row a step;
//! - [`memory`]: what a sampler needs of it;
//! - `model`: a network with its samplers;
//! - `request`: what to draw;
//! - [`sum`](mod@sum): sums in one order;
//! - [`hooks`]: what a program adds to a step: [`guidance`], [`inverse`] problems, a [`score`];
//! - `update`: what becomes of the network's output;
//! - [`trajectory`]: the loop from noise to picture, layer by layer;
//! - `sampler`: the loop with a generated model;
//! - [`picture`]: the result as bytes, colours or text;
//! - `display`: the result on a display, with the feature `embedded-graphics`;
//! - `painter`: all of it by a label and a seed;
//! - [`serial`]: pictures on request over a serial line;
//! - `generated`: what generated code names.
//!
//! Every public function is total: buffers that are too short leave outputs unwritten, but nothing panics. That they
//! are not too short is proved at compile time: by `checked()` on the kernels' statics, by `Blob::view`, by
//! `are_apart` for the buffers of each layer, and by [`Sampler::new`].

#![no_std]

#[cfg(test)]
extern crate std;

#[doc(hidden)]
pub mod blob;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod real;
#[doc(hidden)]
pub mod requantize;
#[doc(hidden)]
pub mod shape;

#[doc(hidden)]
pub mod conditioning;
#[doc(hidden)]
pub mod epilogue;
#[doc(hidden)]
pub mod geometry;
#[doc(hidden)]
pub mod maps;
#[doc(hidden)]
pub mod residual;

#[doc(hidden)]
pub mod isa;

#[doc(hidden)]
pub mod kernel;

pub mod network;
pub mod tap;

#[doc(hidden)]
pub mod noise;
pub mod schedule;

pub mod memory;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod request;

pub mod sum;

pub mod hooks;

pub mod guidance;
pub mod inverse;
pub mod score;

mod update;

pub mod trajectory;

#[doc(hidden)]
pub mod sampler;

pub mod picture;

#[cfg(feature = "embedded-graphics")]
pub mod display;

#[doc(hidden)]
pub mod painter;

#[doc(hidden)]
pub mod generated;

pub mod serial;

pub use hooks::Hooks;
pub use model::{Label, Model, Table};
pub use network::{Network, evaluate};
pub use noise::{Gaussian, Noise, Philox};
pub use painter::Painter;
pub use request::{Request, SampleError};
pub use sampler::Sampler;
pub use shape::Shape;
pub use trajectory::Progress;
