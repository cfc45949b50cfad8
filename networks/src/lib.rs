//! Architectures as graphs, and networks with made-up weights for tests and benchmarks.
//!
//! The trainer builds [`compact`], [`mod@unet`] and [`classifier`]. Every other file's `model()`, and that of [`mod@unet`],
//! gives a model file's bytes: weights come from a fixed seed, ranges from the reference interpreter ([`calibrate`]), so
//! that the same bytes come out everywhere; those of [`closed`] are exactly right. Build scripts write them to `OUT_DIR`
//! ([`write`]) and generate code from there.

use std::path::{Path, PathBuf};

use grano_codegen::{Error, Result};

pub mod blocks;
pub mod calibrate;
pub mod classifier;
pub mod closed;
pub mod compact;
pub mod film;
pub mod functions;
pub mod layers;
pub mod mixer;
pub mod shapes;
pub mod toy;
pub mod trio;
pub mod unet;

/// Writes a network's bytes to `{folder}/{name}.safetensors` and gives that path.
///
/// # Errors
/// When the network is not sound or the file cannot be written.
pub fn write(folder: &Path, name: &str, model: impl FnOnce() -> Result<Vec<u8>>) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.safetensors"));
    std::fs::write(&path, model()?).map_err(|source| Error::Io { path: path.clone(), source })?;
    Ok(path)
}
