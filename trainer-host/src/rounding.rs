//! What an int8 network makes of a batch: the values that it stores, computed by the engine's own kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use grano::conditioning::Condition;
use grano_codegen::fold::fold;
use grano_codegen::model::{DENOISER, Header, Model, Network, Ranges};
use grano_codegen::quantize::{Code, codes};
use grano_codegen::{Build, Target};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// The codes of an int8 network.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// By node: of the maps in memory, and of the arguments of fused activations.
    pub codes: BTreeMap<String, Code>,
    /// Of the model whose network is run, with the ranges that make the codes.
    header: Header,
}

/// What one picture leaves: each stored map in the order of layers, and the output; `[H, W, C]`.
type Stored = Vec<Vec<f32>>;

impl Rounding {
    /// Of the denoiser of `model` with these ranges.
    ///
    /// # Errors
    /// When int8 has no kernel for a node, or calibration no range.
    pub fn new(model: &Model, ranges: &Ranges) -> Result<Self> {
        let codes = codes(&fold(model.denoiser()?, &ranges.times)?, ranges, &[])?;
        let mut header = model.header.clone();
        header.ranges.insert(DENOISER.into(), ranges.clone());
        Ok(Self { codes, header })
    }

    /// Every value that the int8 network stores, by node, and its output, f32 `[N, C, H, W]`, to the bit; of `x` f32
    /// `[N, C, H, W]` at times `t` and for classes `label`, i64 `[N]`. `network` has the weights of this moment.
    ///
    /// # Errors
    /// Names the node that has no int8 kernel with these weights, such as one whose sums leave int32.
    pub fn values(&self, network: Network, x: &Tensor, t: &Tensor, label: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let whole = |tensor: &Tensor| -> Result<Vec<usize>> {
            Ok(Vec::<i64>::try_from(tensor)?.into_iter().map(usize::try_from).collect::<Result<_, _>>()?)
        };
        let (times, classes) = (whole(t)?, whole(label)?);
        let networks = BTreeMap::from([(DENOISER.to_string(), network)]);
        let model = Model { header: self.header.clone(), networks, sha256: String::new() };
        let distinct: BTreeSet<usize> = times.iter().copied().collect();
        let runtime = Build::of(Arc::new(model)).target(Target::here()).times(distinct).runtime()?;
        let network = runtime.network(DENOISER)?;

        let pictures = Vec::<f32>::try_from(by_pixel(x).to_device(Device::Cpu).to_kind(Kind::Float).reshape([-1]))?;
        let len = pictures.len() / times.len().max(1);
        let conditions = times.iter().zip(&classes).map(|(&t, &class)| Ok(Condition { step: network.row(t)?, class }));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        let run = |(picture, &condition): (&[f32], &Condition)| -> Result<Stored> {
            network.check(condition, &[picture])?;
            let mut stored = Vec::new();
            let mut arena = network.arena();
            let outputs = network.watch(condition, &[picture], &mut arena, &mut |_, tap, memory| {
                stored.push(tap.values(memory).collect());
            });
            stored.extend(outputs);
            Ok(stored)
        };
        let all: Vec<Stored> = pictures.par_chunks_exact(len).zip(&conditions).map(run).collect::<Result<_>>()?;

        let compiled = network.compiled();
        let taps = compiled.groups.iter().filter_map(|group| compiled.tap(group));
        let taps = taps.map(|(name, shape, ..)| (name, [shape.height, shape.width, shape.channels]));
        let outputs = compiled.outputs.iter().map(|(name, [c, h, w])| (name.as_str(), [*h, *w, *c]));
        let mut values = BTreeMap::new();
        for (index, (name, shape)) in taps.chain(outputs).enumerate() {
            let maps: Vec<&[f32]> = all.iter().filter_map(|stored| stored.get(index).map(Vec::as_slice)).collect();
            let [h, w, c] = shape.map(|n| n as i64);
            let map = Tensor::from_slice(&maps.concat())
                .f_reshape([times.len() as i64, h, w, c])
                .with_context(|| format!("`{name}` has another shape than its layer says"))?;
            values.insert(name.to_string(), map.to_device(x.device()).permute([0, 3, 1, 2]));
        }
        Ok(values)
    }
}

/// `[N, C, H, W]` as the engine has it, `[N, H, W, C]`.
fn by_pixel(maps: &Tensor) -> Tensor {
    maps.permute([0, 2, 3, 1]).contiguous()
}
