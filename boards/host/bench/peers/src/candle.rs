//! candle, which has no optimiser of its own for ONNX: the network as one writes it with candle-nn.

use std::path::Path;

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, GroupNorm, Linear, Module, VarBuilder, conv2d, linear, ops};

use crate::Network;

const EMBEDDING: usize = 64;
const GROUPS: usize = 8;
const EPSILON: f64 = 1e-5;

/// Loads the weights.
pub fn load(folder: &Path) -> Result<Network> {
    let weights = std::fs::read(folder.join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let unet = UNet::new(&weights.pp("denoiser"))?;
    Ok(Box::new(move |x, sinusoid| {
        let x = Tensor::from_slice(x, (1, 1, 28, 28), &Device::Cpu)?;
        let sinusoid = Tensor::from_slice(sinusoid, (1, 16), &Device::Cpu)?;
        Ok(unet.forward(&x, &sinusoid)?.flatten_all()?.to_vec1()?)
    }))
}

type Candle<T> = candle_core::Result<T>;

fn conv3x3(in_c: usize, out_c: usize, stride: usize, weights: VarBuilder) -> Candle<Conv2d> {
    conv2d(in_c, out_c, 3, Conv2dConfig { padding: 1, stride, ..Conv2dConfig::default() }, weights)
}

fn conv1x1(in_c: usize, out_c: usize, weights: VarBuilder) -> Candle<Conv2d> {
    conv2d(in_c, out_c, 1, Conv2dConfig::default(), weights)
}

/// The file has a normalisation with half of the groups for either of two maps, and no concatenation.
fn group_norm(c: usize, weights: VarBuilder) -> Candle<GroupNorm> {
    let parameter = |kind: &str| match weights.contains_tensor(&format!("0.{kind}")) {
        true => Tensor::cat(&[weights.get(c / 2, &format!("0.{kind}"))?, weights.get(c / 2, &format!("1.{kind}"))?], 0),
        false => weights.get(c, kind),
    };
    GroupNorm::new(parameter("weight")?, parameter("bias")?, c, GROUPS, EPSILON)
}

struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn new(in_c: usize, out_c: usize, weights: &VarBuilder) -> Candle<Self> {
        Ok(Self {
            norm1: group_norm(in_c, weights.pp("norm1"))?,
            conv1: conv3x3(in_c, out_c, 1, weights.pp("conv1"))?,
            time: linear(EMBEDDING, out_c, weights.pp("time"))?,
            norm2: group_norm(out_c, weights.pp("norm2"))?,
            conv2: conv3x3(out_c, out_c, 1, weights.pp("conv2"))?,
            shortcut: (in_c != out_c).then(|| conv1x1(in_c, out_c, weights.pp("shortcut"))).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, time: &Tensor) -> Candle<Tensor> {
        let time = self.time.forward(time)?.unsqueeze(2)?.unsqueeze(3)?;
        let h = self.conv1.forward(&self.norm1.forward(x)?.silu()?)?.broadcast_add(&time)?;
        let h = self.conv2.forward(&self.norm2.forward(&h)?.silu()?)?;
        match &self.shortcut {
            Some(shortcut) => h + shortcut.forward(x)?,
            None => h + x,
        }
    }
}

struct Attention {
    norm: GroupNorm,
    /// Query, key, value, out.
    projections: [Conv2d; 4],
    scale: f64,
}

impl Attention {
    fn new(c: usize, weights: &VarBuilder) -> Candle<Self> {
        let projection = |name| conv1x1(c, c, weights.pp(name));
        Ok(Self {
            norm: group_norm(c, weights.pp("norm"))?,
            projections: [projection("q")?, projection("k")?, projection("v")?, projection("projection")?],
            scale: (c as f64).powf(-0.5),
        })
    }

    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        let n = self.norm.forward(x)?;
        let [query, key, value, out] = &self.projections;
        let flat = |projection: &Conv2d| projection.forward(&n)?.flatten_from(2);
        let (query, key, value) = (flat(query)?, flat(key)?, flat(value)?);
        let weights = ops::softmax(&(query.t()?.contiguous()?.matmul(&key)? * self.scale)?, D::Minus1)?;
        x + out.forward(&value.matmul(&weights.t()?.contiguous()?)?.reshape(x.shape())?)?
    }
}

/// Takes the enlarged map and a skip of as many channels.
struct UpBlock {
    enlarge: Conv2d,
    block: ResBlock,
}

impl UpBlock {
    fn new(in_c: usize, out_c: usize, weights: &VarBuilder) -> Candle<Self> {
        let enlarge = conv3x3(in_c, out_c, 1, weights.pp("enlarge"))?;
        Ok(Self { enlarge, block: ResBlock::new(2 * out_c, out_c, weights)? })
    }

    fn forward(&self, x: &Tensor, skip: Tensor, time: &Tensor) -> Candle<Tensor> {
        let (_, _, h, w) = skip.dims4()?;
        let enlarged = self.enlarge.forward(&x.upsample_nearest2d(h, w)?)?;
        self.block.forward(&Tensor::cat(&[enlarged, skip], 1)?, time)
    }
}

struct UNet {
    time: [Linear; 2],
    stem: Conv2d,
    down: [ResBlock; 3],
    reduce: [Conv2d; 2],
    mid: [ResBlock; 2],
    attention: Attention,
    up: [UpBlock; 2],
    norm: GroupNorm,
    head: Conv2d,
}

impl UNet {
    fn new(weights: &VarBuilder) -> Candle<Self> {
        let block = |c, name| ResBlock::new(c, c, &weights.pp(name));
        let conv = |in_c, out_c, stride, name| conv3x3(in_c, out_c, stride, weights.pp(name));
        let time = weights.pp("time");
        Ok(Self {
            time: [linear(16, EMBEDDING, time.pp("linear0"))?, linear(EMBEDDING, EMBEDDING, time.pp("linear1"))?],
            stem: conv(1, 16, 1, "stem")?,
            down: [block(16, "down0")?, block(32, "down1")?, block(64, "down2")?],
            reduce: [conv(16, 32, 2, "half")?, conv(32, 64, 2, "quarter")?],
            mid: [block(64, "mid0")?, block(64, "mid1")?],
            attention: Attention::new(64, &weights.pp("attention"))?,
            up: [UpBlock::new(64, 32, &weights.pp("up1"))?, UpBlock::new(32, 16, &weights.pp("up0"))?],
            norm: group_norm(16, weights.pp("head").pp("norm"))?,
            head: conv(16, 1, 1, "head")?,
        })
    }

    fn forward(&self, x: &Tensor, sinusoid: &Tensor) -> Candle<Tensor> {
        let time = self.time[1].forward(&self.time[0].forward(sinusoid)?.silu()?)?.silu()?;
        let fine = self.down[0].forward(&self.stem.forward(x)?, &time)?;
        let middle = self.down[1].forward(&self.reduce[0].forward(&fine)?, &time)?;
        let h = self.down[2].forward(&self.reduce[1].forward(&middle)?, &time)?;
        let h = self.attention.forward(&self.mid[0].forward(&h, &time)?)?;
        let h = self.mid[1].forward(&h, &time)?;
        let h = self.up[1].forward(&self.up[0].forward(&h, middle, &time)?, fine, &time)?;
        self.head.forward(&self.norm.forward(&h)?.silu()?)
    }
}
