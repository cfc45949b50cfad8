//! grano draws with a diffusion model on a chip: no heap, no std, no panics.
//!
//! The network is static Rust that `grano-codegen` wrote; this crate has what that code calls, and the loop around it.
//! The modules, in the order in which a picture comes about; each uses only those above it:
//!
//! - [`shape`]: maps are height × width × channels, channels last, one picture at a time;
//! - [`blob`]: weights in flash and activations in one arena, as typed slices (with [`isa`], the places with `unsafe`);
//! - [`real`]: floating-point elements and activations;
//! - [`requantize`]: from a 32-bit sum to 8 bits or 12, the one definition of int8 arithmetic's rounding;
//! - [`maps`], [`geometry`], [`conditioning`], [`residual`], [`epilogue`]: what a layer reads, and what becomes of its sums;
//! - [`isa`]: the inner loops, chip by chip;
//! - [`kernel`]: one file an operation;
//! - [`schedule`]: a sampler is a table, one row a step;
//! - [`noise`]: Philox and Box–Muller, the same bits everywhere;
//! - [`denoiser`]: what a generated network offers;
//! - [`tap`]: where its intermediate values can be read;
//! - [`request`]: what to draw;
//! - [`sampler`]: the loop from noise to picture, layer by layer;
//! - [`picture`]: the result as bytes, or as text.
//!
//! Every public function is total: buffers that are too short leave outputs unwritten, but nothing panics. That they
//! are not too short is proved at compile time, by `checked()` on the kernels' statics and by [`blob::Blob::view`].

#![no_std]

#[cfg(test)]
extern crate std;

pub mod blob;
pub mod real;
pub mod requantize;
pub mod shape;
pub mod tap;

pub mod conditioning;
pub mod epilogue;
pub mod geometry;
pub mod maps;
pub mod residual;

pub mod isa;

pub mod kernel;

pub mod noise;
pub mod schedule;

pub mod denoiser;
pub mod request;

pub mod sampler;

pub mod picture;
