//! A classifier of noisy pictures, p(label | x_t), for guidance: small, and made for its gradient to run on integer chips.
//!
//! A strided stem leaves full resolution to the picture alone; residual blocks at half and at quarter resolution learn about
//! time by a bias a channel; the mean over all positions and a matrix give the logits. There is no normalisation, whose
//! backward pass needs divisions: gains of 0 at first keep the blocks quiet, as in [`crate::compact`]. Activations are SiLU,
//! which has a derivative everywhere.

use grano_codegen::graph::{
    Activation, Add, Builder, ChannelBias, ChannelGain, Conv2d, Function, GlobalAveragePool, Graph, Linear, Port,
    PortKind, Sinusoid, T, X,
};
use grano_codegen::{Error, Result};

/// The output's name: a vector of a logit a class.
pub const LOGITS: &str = "logits";

/// What can be chosen about the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[channels, height, width]` of the pictures; height and width 4 or more.
    pub input: [usize; 3],
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Channels at half and at quarter resolution.
    pub channels: [usize; 2],
    /// Residual blocks at half and at quarter resolution.
    pub blocks: [usize; 2],
    /// Width of the time network; it never reaches the device.
    pub embedding: usize,
}

/// The graph from `x` and `t` to [`LOGITS`].
///
/// # Errors
/// When there are fewer than two classes, or the pictures are smaller than 4×4.
pub fn graph(config: &Config) -> Result<Graph> {
    let Config { input, classes, channels: [half, quarter], blocks, embedding } = *config;
    if classes < 2 {
        return Err(Error::Model(format!("{classes} classes; a classifier tells two or more apart")));
    }
    if input[1] < 4 || input[2] < 4 {
        return Err(Error::Model(format!("pictures are {}×{}; give 4×4 or more", input[1], input[2])));
    }
    let port = |name: &str, kind| Port { name: name.into(), kind };
    let builder = Builder::with_ports(vec![port(X, PortKind::Map(input)), port(T, PortKind::Time {})]);
    let mut net = Net { builder };
    let wide = Linear { out_features: embedding };
    net.builder.node("time.sinusoid", Sinusoid { dim: embedding, max_period: 10_000.0 }, &[T]);
    net.builder.node("time.linear0", wide.clone(), &["time.sinusoid"]);
    net.builder.node("time.silu0", SILU, &["time.linear0"]);
    net.builder.node("time.linear1", wide, &["time.silu0"]);
    net.builder.node("time", SILU, &["time.linear1"]);
    let mut x = net.conv("stem", X, half, [4, 2]);
    for i in 0..blocks[0] {
        x = net.block(&format!("half{i}"), &x, half);
    }
    x = net.conv("down", &x, quarter, [3, 2]);
    for i in 0..blocks[1] {
        x = net.block(&format!("quarter{i}"), &x, quarter);
    }
    let mean = net.builder.node("mean", GlobalAveragePool {}, &[&x]);
    let logits = net.builder.node(LOGITS, Linear { out_features: classes }, &[&mean]);
    net.builder.finish(&logits)
}

const SILU: Activation = Activation { function: Function::Silu };

struct Net {
    builder: Builder,
}

impl Net {
    /// A convolution, `[kernel, stride]`, and SiLU.
    fn conv(&mut self, name: &str, x: &str, out_channels: usize, [kernel, stride]: [usize; 2]) -> String {
        let [kernel, stride] = [[kernel; 2], [stride; 2]];
        let conv = Conv2d { out_channels, kernel, stride, padding: [1; 2].into(), upsample: [1; 2], groups: 1 };
        let conv = self.builder.node(name, conv, &[x]);
        self.builder.node(format!("{name}.silu"), SILU, &[&conv])
    }

    /// silu(x + gain·conv2(silu(conv1(x) + time))).
    fn block(&mut self, name: &str, x: &str, channels: usize) -> String {
        let conv = Conv2d { out_channels: channels, ..Conv2d::same(3) };
        let b = &mut self.builder;
        let h = b.node(format!("{name}.conv1"), conv.clone(), &[x]);
        let time = b.node(format!("{name}.time"), Linear { out_features: channels }, &["time"]);
        let h = b.node(format!("{name}.add_time"), ChannelBias {}, &[&h, &time]);
        let h = b.node(format!("{name}.silu"), SILU, &[&h]);
        let h = b.node(format!("{name}.conv2"), conv, &[&h]);
        let h = b.node(format!("{name}.gain"), ChannelGain {}, &[&h]);
        let sum = b.node(format!("{name}.add"), Add {}, &[x, &h]);
        b.node(name, SILU, &[&sum])
    }
}
