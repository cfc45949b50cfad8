//! The compact U-Net that `grano-train train` builds by default: a small ε_θ made for integer chips.
//!
//! What the chip decides:
//! - Full resolution exists only in the picture itself: a strided stem works on 2×2 pixels at once and
//!   the head's channels are put back by depth-to-space, so that the largest map is a quarter of the size.
//! - Residual blocks end, not begin, in their activation: every tensor between two convolutions is then
//!   the output of one fused convolution + residual + table look-up.
//! - There is no normalisation. A per-channel gain, 0 at first (SkipInit, De & Smith 2020), keeps the
//!   untrained residual branches quiet and folds into the convolution's weights.
//! - Time and class reach each block as a sum of two vectors, one of each: both become bias rows at build
//!   time, and a table holds steps + classes of them rather than steps × classes.
//! - Skips are added, not concatenated.
//! - Activations are SiLU up to a limit: without normalisation a free network grows maps of which a few values
//!   are 30 times as large as the rest, and eight bits then hold little but those.

use grano_codegen::graph::{
    Activation, Add, Builder, ChannelBias, ChannelGain, Conv2d, DepthToSpace, Embedding, Function, Graph, LABEL,
    Linear, Sinusoid, T, X,
};
use grano_codegen::{Error, Result};

/// What can be chosen about the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[channels, height, width]` of the pictures; height and width multiples of 4.
    pub input: [usize; 3],
    /// Number of classes; 0 trains an unconditional network.
    pub classes: usize,
    /// Channels at half and at quarter resolution.
    pub channels: [usize; 2],
    /// Residual blocks before, at, and after quarter resolution.
    pub blocks: [usize; 3],
    /// Width of the time and class network; it never reaches the device.
    pub embedding: usize,
    /// Largest value of a map's activation.
    pub limit: f64,
}

const SILU: Activation = Activation { function: Function::Silu };

/// The graph of ε_θ(x, t, label).
///
/// # Errors
/// When the picture's sides are not multiples of 4.
pub fn graph(config: &Config) -> Result<Graph> {
    let [c, h, w] = config.input;
    if h % 4 > 0 || w % 4 > 0 {
        return Err(Error::Model(format!("pictures are {h}×{w}; pad or crop them to multiples of 4")));
    }
    let function = Function::ClippedSilu { limit: config.limit };
    let builder = Builder::new(config.input, config.classes);
    let mut net = Net { builder, embedding: config.embedding, activation: Activation { function } };
    net.conditioning(config.classes > 0);
    let [half, quarter] = config.channels;
    let [before, at, after] = config.blocks;

    let stem = net.conv("stem", X, half, 4, 2, 1);
    let mut x = net.silu(&stem);
    for i in 0..before {
        x = net.block(&format!("down{i}"), &x, half);
    }
    let skip = x.clone();
    let down = net.conv("down", &x, quarter, 3, 2, 1);
    x = net.silu(&down);
    for i in 0..at {
        x = net.block(&format!("mid{i}"), &x, quarter);
    }
    let up = net.conv("up", &x, half, 3, 1, 2);
    let joined = net.builder.node("join", Add {}, &[&up, &skip]);
    x = net.silu(&joined);
    for i in 0..after {
        x = net.block(&format!("up{i}"), &x, half);
    }
    let head = net.conv("head", &x, 4 * c, 3, 1, 1);
    let output = net.builder.node("epsilon", DepthToSpace { block: 2 }, &[&head]);
    net.builder.finish(&output)
}

struct Net {
    builder: Builder,
    embedding: usize,
    activation: Activation,
}

impl Net {
    /// The vectors `time` and `class` that every block draws on.
    fn conditioning(&mut self, classes: bool) {
        let wide = Linear { out_features: self.embedding };
        let b = &mut self.builder;
        b.node("time.sinusoid", Sinusoid { dim: self.embedding, max_period: 10_000.0 }, &[T]);
        b.node("time.linear0", wide.clone(), &["time.sinusoid"]);
        b.node("time.silu0", SILU, &["time.linear0"]);
        b.node("time.linear1", wide, &["time.silu0"]);
        b.node("time", SILU, &["time.linear1"]);
        if classes {
            b.node("class", Embedding { dim: self.embedding }, &[LABEL]);
        }
    }

    fn conv(
        &mut self,
        name: &str,
        x: &str,
        out_channels: usize,
        kernel: usize,
        stride: usize,
        upsample: usize,
    ) -> String {
        let op = Conv2d {
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [1; 2].into(),
            upsample: [upsample; 2],
            groups: 1,
        };
        self.builder.node(name, op, &[x])
    }

    fn silu(&mut self, x: &str) -> String {
        self.builder.node(format!("{x}.silu"), self.activation.clone(), &[x])
    }

    /// silu(x + gain·conv2(silu(conv1(x) + time + class))).
    fn block(&mut self, name: &str, x: &str, channels: usize) -> String {
        let mut h = self.conv(&format!("{name}.conv1"), x, channels, 3, 1, 1);
        for source in ["time", "class"] {
            if self.builder.has(source) {
                let linear = Linear { out_features: channels };
                let vector = self.builder.node(format!("{name}.{source}"), linear, &[source]);
                h = self.builder.node(format!("{name}.add_{source}"), ChannelBias {}, &[&h, &vector]);
            }
        }
        let h = self.silu(&h);
        let h = self.conv(&format!("{name}.conv2"), &h, channels, 3, 1, 1);
        let h = self.builder.node(format!("{name}.gain"), ChannelGain {}, &[&h]);
        let sum = self.builder.node(format!("{name}.add"), Add {}, &[x, &h]);
        self.builder.node(name, self.activation.clone(), &[&sum])
    }
}
