//! tract, from ONNX.

use std::path::Path;

use anyhow::Result;
use tract_onnx::prelude::*;

use crate::Network;

/// Loads and optimises an ONNX file.
pub fn load(path: &Path) -> Result<Network> {
    let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?.into_runnable()?;
    Ok(Box::new(move |x, sinusoid| {
        let x = Tensor::from_shape(&[1, 1, 28, 28], x)?;
        let sinusoid = Tensor::from_shape(&[1, 16], sinusoid)?;
        let out = model.run(tvec!(x.into(), sinusoid.into()))?;
        Ok(out[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}
