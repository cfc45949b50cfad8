//! *Epilogue*: a sum and an activation that follow a convolution, and an activation that follows a group
//! normalisation, become part of it, so that their arguments are never stored and, on integers, never
//! rounded apart.

use super::{Activation, Conv2d, Folded, GroupNorm, Kind};
use crate::error::Result;

/// Fuses additions, then activations, into the convolutions whose results only they use; activations into group
/// normalisations as well.
///
/// # Errors
/// None today; passes share a signature.
pub fn fold(mut folded: Folded) -> Result<Folded> {
    let mut at = 0;
    while at < folded.layers.len() {
        if fuse(&mut folded, at) {
            folded.layers.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(folded)
}

/// Moves layer `at` into the layer before it, if there is one that can take it.
fn fuse(folded: &mut Folded, at: usize) -> bool {
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
    let fused = match (&layer.kind, &mut folded.layers[before].kind) {
        (Kind::Add { inputs: [a, b] }, Kind::Conv2d(Conv2d { residual: residual @ None, activation: None, .. })) => {
            *residual = Some(if a == value { b } else { a }.clone());
            true
        }
        (
            Kind::Activation { function, input },
            Kind::Conv2d(Conv2d { activation: activation @ None, .. })
            | Kind::GroupNorm(GroupNorm { activation: activation @ None, .. }),
        ) => {
            *activation = Some(Activation { function: *function, argument: input.clone() });
            true
        }
        _ => false,
    };
    if fused {
        folded.layers[before].name = layer.name;
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, with_weights};
    use super::super::{Layer, linear, time};
    use super::*;
    use crate::graph::{Builder, Function, Op, X};
    use crate::model::Network;

    fn folded(network: &Network) -> Folded {
        fold(linear::fold(time::fold(network, &[0, 9]).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_residual_block_is_two_layers() {
        let network = network();
        let folded = folded(&network);
        let Kind::Conv2d(conv) = &folded.layers[1].kind else { panic!("a convolution") };
        assert_eq!(conv.residual.as_deref(), Some("h"));
        assert_eq!(conv.activation.as_ref().unwrap().argument, "sum");
        assert_equal(&network, &folded);
    }

    #[test]
    fn a_normalisation_takes_its_activation() {
        let mut b = Builder::new([4, 4, 4], 0);
        b.node("norm", Op::GroupNorm { groups: 2, eps: 1e-5 }, &[X]);
        b.node("out", Op::Activation { function: Function::Silu }, &["norm"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = folded(&network);
        let [Layer { name, kind: Kind::GroupNorm(norm), .. }] = &folded.layers[..] else { panic!("one layer") };
        assert_eq!((name.as_str(), norm.activation.as_ref().unwrap().argument.as_str()), ("out", "norm"));
    }

    #[test]
    fn values_that_are_used_twice_stay() {
        let conv = Op::Conv2d {
            out_channels: 1,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            upsample: [1; 2],
            groups: 1,
        };
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("a", conv.clone(), &[X]);
        b.node("b", Op::Activation { function: Function::Silu }, &["a"]);
        b.node("c", Op::Add, &["a", "b"]);
        b.node("out", conv, &["c"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = folded(&network);
        assert_eq!(folded.layers.len(), 4);
        assert_equal(&network, &folded);
    }
}
