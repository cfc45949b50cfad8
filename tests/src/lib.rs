//! Generated code under test, and what it is held against.
//!
//! The build script generates the shipped model and the networks of `grano-networks` in every precision. [`tolerance`] says
//! how far each may be from the float reference, and why.

pub mod golden;
pub mod models;
pub mod tolerance;
