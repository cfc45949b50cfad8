//! Golden vectors that libtorch made when the model was exported; `grano-train export` documents them.

use std::path::Path;

use grano::Noise;
use safetensors::SafeTensors;

/// A file of golden vectors.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// Those of the shipped model.
    #[must_use]
    pub fn fashion() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.golden.safetensors");
        Self { bytes: std::fs::read(path).expect("models/fashion.golden.safetensors is in the repository") }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a whole file")
    }

    /// Names of the intermediate values.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        let tensors = self.tensors();
        let names = tensors.names().into_iter().filter_map(|name| name.strip_prefix("value."));
        names.filter(|name| *name != "case").map(String::from).collect()
    }

    /// An f32 tensor, one vector a case.
    #[must_use]
    pub fn f32(&self, name: &str) -> Vec<Vec<f32>> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect("a tensor of the golden file");
        let all: Vec<f32> = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        all.chunks_exact(all.len() / view.shape()[0]).map(<[f32]>::to_vec).collect()
    }

    /// An i64 tensor.
    #[must_use]
    pub fn indices(&self, name: &str) -> Vec<usize> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect("a tensor of the golden file");
        view.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as usize).collect()
    }
}

/// Noise that was written down, value after value.
pub struct Replay(std::vec::IntoIter<f32>);

impl Replay {
    /// Of vectors, one after the other.
    #[must_use]
    pub fn new(vectors: Vec<Vec<f32>>) -> Self {
        Self(vectors.concat().into_iter())
    }
}

impl Noise for Replay {
    fn fill(&mut self, z: &mut [f32]) {
        z.iter_mut().for_each(|z| *z = self.0.next().expect("as many values as are asked for"));
    }
}
