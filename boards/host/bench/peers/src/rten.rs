//! rten, from ONNX.

use std::path::Path;

use anyhow::{Context, Result};
use rten::Model;
use rten_tensor::NdTensorView;

use crate::Network;

/// Loads an ONNX file.
pub fn load(path: &Path) -> Result<Network> {
    let model = Model::load_file(path)?;
    let (x_id, sinusoid_id, out_id) = (model.node_id("x")?, model.node_id("sinusoid")?, model.node_id("out")?);
    Ok(Box::new(move |x, sinusoid| {
        let x = NdTensorView::from_data([1, 1, 28, 28], x);
        let sinusoid = NdTensorView::from_data([1, 16], sinusoid);
        let [out] = model.run_n(vec![(x_id, x.into()), (sinusoid_id, sinusoid.into())], [out_id], None)?;
        out.into_tensor::<f32>().map(|out| out.into_data()).context("the output is not f32")
    }))
}
