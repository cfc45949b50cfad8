//! What the measured Rust programs share: [`protocol`], by which a driver asks for work, and [`sampler`], the steps
//! from noise to picture that all of them take.

pub mod protocol;
pub mod sampler;
