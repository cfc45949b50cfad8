//! A model file taken apart, and what is asked of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use grano_codegen::load::parse;
use grano_codegen::model::METADATA_KEY;
use grano_codegen::{Build, Precision, Purpose, Target};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

/// A tensor of a file.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A model file in its parts.
#[derive(Clone)]
pub struct Case {
    pub header: Value,
    pub tensors: Vec<Tensor>,
}

impl Case {
    pub fn of(bytes: &[u8]) -> Self {
        let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()[METADATA_KEY]).unwrap();
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let tensor = |(name, view): (String, TensorView<'_>)| Tensor {
            name,
            shape: view.shape().to_vec(),
            values: view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        };
        let mut tensors: Vec<Tensor> = tensors.tensors().into_iter().map(tensor).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Self { header, tensors }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let data: Vec<Vec<u8>> =
            self.tensors.iter().map(|tensor| tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = self.tensors.iter().zip(&data).filter_map(|(tensor, data)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), data).ok()?;
            Some((tensor.name.as_str(), view))
        });
        let metadata = HashMap::from([(METADATA_KEY.to_string(), self.header.to_string())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }
}

/// What a build asks for.
#[derive(Clone, Debug)]
pub struct Order {
    pub precision: Precision,
    pub purpose: Purpose,
    pub target: Target,
    pub samplers: Vec<String>,
    pub budgets: [usize; 2],
    pub guided: Option<bool>,
}

/// How far a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Refused,
    Loaded,
    Generated,
}

impl Order {
    /// Some that every base can be built with.
    pub fn sound() -> Vec<Self> {
        let order = |(precision, target)| Self {
            precision,
            purpose: Purpose::Sampling,
            target,
            samplers: Vec::new(),
            budgets: [usize::MAX; 2],
            guided: None,
        };
        let precisions = [Precision::Int8, Precision::F16, Precision::F32];
        precisions.into_iter().zip([Target::CortexM4, Target::Portable, Target::CortexM55]).map(order).collect()
    }

    /// Loads the file and generates code.
    ///
    /// # Errors
    /// When a message is more than one short line.
    pub fn run(&self, bytes: &[u8]) -> Result<End, String> {
        let model = match parse(bytes, Path::new("m.safetensors")) {
            Ok(model) => Arc::new(model),
            Err(error) => return one_line(&error.to_string()).map(|()| End::Refused),
        };
        let [flash, ram] = self.budgets;
        let build = Build::of(model)
            .precision(self.precision)
            .purpose(self.purpose)
            .target(self.target)
            .samplers(&self.samplers)
            .flash_budget(flash)
            .ram_budget(ram);
        let build = match self.guided {
            Some(guided) => build.guided(guided),
            None => build,
        };
        match build.generate("fuzzed") {
            Ok(output) => {
                output.warnings.iter().try_for_each(|warning| one_line(warning))?;
                let texts = [&output.source, &output.plan, &output.report];
                match texts.into_iter().flat_map(|text| text.chars()).find(|&c| c.is_control() && c != '\n') {
                    Some(c) => Err(format!("{c:?} in what was generated")),
                    None => Ok(End::Generated),
                }
            }
            Err(error) => one_line(&error.to_string()).map(|()| End::Loaded),
        }
    }
}

fn one_line(message: &str) -> Result<(), String> {
    match message.chars().any(char::is_control) || message.len() > 1500 {
        true => Err(format!("no line of a message: {message:?}")),
        false => Ok(()),
    }
}
