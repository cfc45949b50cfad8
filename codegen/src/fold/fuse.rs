//! *Fuse*: gains and biases a channel, the addition of a map, and activations become part of the layer before them, so that
//! their arguments are never stored and, on integers, never rounded apart.

use super::{Folded, FusedActivation};
use crate::op::{Kind, LayerOp};

/// Fuses what layers can take, gains and biases first: what they follow must not have an activation yet.
pub(super) fn fuse(folded: Folded) -> Folded {
    let scaled = pass(folded, |kind, before, _| match kind {
        Kind::ScaleShiftRows(it) if it.activation.is_none() => before.scale_and_shift(&it.gains, &it.shifts),
        _ => false,
    });
    pass(scaled, |kind, before, value| match kind {
        Kind::Sum(sum) => {
            let [a, b] = &sum.inputs;
            before.add(if a == value { b } else { a })
        }
        Kind::Apply(it) => before.activate(FusedActivation { function: it.function, argument: it.input.clone() }),
        _ => false,
    })
}

/// Goes through the layers; `fuse(kind, before, value)` says whether a layer became part of the one that computes `value`.
fn pass(mut folded: Folded, fuse: impl Fn(&Kind, &mut dyn LayerOp, &str) -> bool) -> Folded {
    let mut at = 0;
    while at < folded.layers.len() {
        if fuse_one(&mut folded, at, &fuse) {
            folded.layers.remove(at);
        } else {
            at += 1;
        }
    }
    folded
}

/// Moves layer `at` into the layer before it, if there is one that can take it and nothing else reads what that gives.
fn fuse_one(folded: &mut Folded, at: usize, fuse: impl Fn(&Kind, &mut dyn LayerOp, &str) -> bool) -> bool {
    let layer = folded.layers[at].clone();
    let uses = folded.uses();
    // The later operand's layer, so that the other one is already there when it runs.
    let Some((before, value)) = layer.inputs().iter().filter_map(|&input| Some((folded.position(input)?, input))).max()
    else {
        return false;
    };
    if uses[value] != 1 {
        return false;
    }
    let fused = fuse(&layer.kind, folded.layers[before].kind.layer_mut(), value);
    if fused {
        folded.layers[before].name = layer.name;
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, silu, with_weights};
    use super::super::{Layer, fold};
    use super::*;
    use crate::graph::{Add, Builder, Conv2d, GroupNorm, X};
    use crate::model::Network;

    fn folded(network: &Network) -> Folded {
        fold(network, &[0, 9]).unwrap()
    }

    #[test]
    fn a_residual_block_is_two_layers() {
        let network = network();
        let folded = folded(&network);
        let Kind::Convolution(conv) = &folded.layers[1].kind else { panic!("a convolution") };
        assert_eq!(conv.residual.as_deref(), Some("h"));
        assert_eq!(conv.activation.as_ref().unwrap().argument, "sum");
        assert!(!folded.layers.iter().any(|layer| layer.name == "stem" || layer.name == "conv"));
        assert_equal(&network, &folded);
    }

    #[test]
    fn a_normalisation_takes_its_activation() {
        let mut b = Builder::new([4, 2, 2], 0);
        b.node("norm", GroupNorm { groups: 2, eps: 1e-5 }, &[X]);
        b.node("out", silu(), &["norm"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = folded(&network);
        let [Layer { name, kind: Kind::Normalization(norm), .. }] = &folded.layers[..] else { panic!("one layer") };
        assert_eq!((name.as_str(), norm.activation.as_ref().unwrap().argument.as_str()), ("out", "norm"));
    }

    #[test]
    fn values_that_are_used_twice_stay() {
        let conv = Conv2d::same(1);
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("a", conv.clone(), &[X]);
        b.node("b", silu(), &["a"]);
        b.node("c", Add {}, &["a", "b"]);
        b.node("out", conv, &["c"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = folded(&network);
        assert_eq!(folded.layers.len(), 4);
        assert_equal(&network, &folded);
    }
}
