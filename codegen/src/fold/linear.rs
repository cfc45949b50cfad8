//! *Linear*: per-channel gains and biases go into the weights and rows of the convolution before them.

use super::{Folded, Kind};
use crate::error::Result;

/// Leaves no [`Kind::ChannelGain`] and no [`Kind::ChannelBias`].
///
/// # Errors
/// Names the layer that does not follow a convolution whose result only it uses.
pub fn fold(mut folded: Folded) -> Result<Folded> {
    while let Some(at) =
        folded.layers.iter().position(|layer| matches!(layer.kind, Kind::ChannelGain { .. } | Kind::ChannelBias { .. }))
    {
        let layer = folded.layers[at].clone();
        let input = layer.inputs()[0];
        let alone = folded.uses()[input] == 1;
        let conv = folded.position(input).filter(|_| alone).ok_or_else(|| Folded::unfolded(&layer.name))?;
        let Kind::Conv2d(target) = &mut folded.layers[conv].kind else { return Err(Folded::unfolded(&layer.name)) };
        match &layer.kind {
            Kind::ChannelGain { gain, .. } => {
                let taps = target.geometry.taps();
                for (weights, &gain) in target.weight.chunks_exact_mut(taps).zip(gain) {
                    weights.iter_mut().for_each(|w| *w *= gain);
                }
                target.bias = target.bias.times(gain);
            }
            Kind::ChannelBias { rows, .. } => target.bias = target.bias.plus(rows),
            _ => {}
        }
        folded.layers[conv].name = layer.name;
        folded.layers.remove(at);
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, with_weights};
    use super::super::time;
    use super::*;
    use crate::graph::{Builder, Op, X};

    #[test]
    fn gains_and_biases_vanish_into_weights() {
        let network = network();
        let folded = fold(time::fold(&network, &[0, 20]).unwrap()).unwrap();
        assert!(!folded.layers.iter().any(|layer| layer.name == "stem" || layer.name == "conv"));
        assert_equal(&network, &folded);
    }

    #[test]
    fn a_gain_without_a_convolution_is_refused_by_name() {
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("gain", Op::ChannelGain, &[X]);
        let network = with_weights(b.finish("gain").unwrap());
        let error = fold(time::fold(&network, &[0]).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("node `gain`"), "{error}");
    }
}
