//! The floating-point back ends: the folded network as it is, in f32 or f16.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fold::{Folded, Kind};
use crate::graph::X;
use crate::kernel::{Element, Kernel};
use crate::quantize::{Kernels, channels_last};

/// Kernels whose maps are stored as `element`; the picture and the network's output stay f32.
///
/// # Errors
/// Names the layer that has no kernel.
pub fn kernels(folded: &Folded, element: Element) -> Result<Kernels> {
    let mut elements = BTreeMap::from([(X.to_string(), Element::F32)]);
    let mut kernels = Vec::new();
    let last = folded.layers.last();
    for layer in &folded.layers {
        let kernel = match &layer.kind {
            Kind::Conv2d(conv) => {
                let taps = conv.geometry.taps();
                let by_channel: Vec<Vec<f32>> = conv
                    .weight
                    .chunks_exact(taps)
                    .map(|channel| channels_last(channel, &conv.geometry.kernel).collect())
                    .collect();
                let (geometry, channels) = (conv.geometry, conv.channels()?);
                let flat = |rows: &[Vec<f64>]| rows.iter().flatten().map(|&b| b as f32).collect();
                let weights = (0..taps).flat_map(|tap| by_channel.iter().map(move |weights| weights[tap])).collect();
                let bias = [flat(&conv.bias.steps), flat(&conv.bias.classes)];
                let activation = conv.activation.as_ref().map(|activation| activation.function);
                if geometry.groups > 1 {
                    Kernel::DepthwiseFloat { geometry, weights, bias, activation }
                } else {
                    Kernel::Conv2dFloat { geometry, channels, weights, bias, activation }
                }
            }
            Kind::GroupNorm(norm) => Kernel::GroupNormFloat {
                groups: norm.groups,
                eps: norm.eps as f32,
                weight: norm.weight.clone(),
                bias: norm.bias.clone(),
                activation: norm.activation.as_ref().map(|activation| activation.function),
            },
            Kind::Attention { heads, .. } => {
                let scale = (1.0 / libm::sqrt((layer.shape[0] / heads) as f64)) as f32;
                Kernel::AttentionFloat { heads: *heads, scale }
            }
            Kind::Add { .. } => Kernel::AddFloat,
            Kind::Activation { function, .. } => Kernel::ActivationFloat { function: *function },
            Kind::DepthToSpace { block, .. } => {
                let [c, h, w] = layer.shape;
                Kernel::DepthToSpace { input: [c * block * block, h / block, w / block], block: *block }
            }
            Kind::ChannelGain { .. } | Kind::ChannelBias { .. } => return Err(Folded::unfolded(&layer.name)),
        };
        kernels.push(kernel);
        let feeds_output = last.is_some_and(|last| {
            last.name == layer.name || matches!(&last.kind, Kind::DepthToSpace { input, .. } if *input == layer.name)
        });
        elements.insert(layer.name.clone(), if feeds_output { Element::F32 } else { element });
    }
    let readers = folded.layers.iter().flat_map(|layer| layer.inputs()).filter(|&input| input == X).count();
    match folded.layers.first() {
        Some(first) if first.inputs() == [X] && readers == 1 && matches!(first.kind, Kind::Conv2d(_)) => {
            Ok((kernels, elements))
        }
        _ => Err(Error::Model("one convolution, the network's first layer, must be all that reads `x`".into())),
    }
}
