//! *Epilogue*: a sum and an activation that follow a convolution become part of it, so that their
//! arguments are never stored and, on integers, never rounded apart.

use super::{Activation, Folded, Kind};
use crate::error::Result;

/// Fuses additions, then activations, into the convolutions whose results only they use.
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

/// Moves layer `at` into the convolution before it, if there is one that can take it.
fn fuse(folded: &mut Folded, at: usize) -> bool {
    let layer = folded.layers[at].clone();
    let uses = folded.uses();
    // The later operand's convolution, so that the other one is already there when it runs.
    let Some((conv, value)) = layer.inputs().iter().filter_map(|&input| Some((folded.position(input)?, input))).max()
    else {
        return false;
    };
    let Kind::Conv2d(target) = &mut folded.layers[conv].kind else { return false };
    if uses[value] != 1 || target.activation.is_some() {
        return false;
    }
    match &layer.kind {
        Kind::Add { inputs: [a, b] } if target.residual.is_none() => {
            target.residual = Some(if a == value { b } else { a }.clone());
        }
        Kind::Activation { function, input } => {
            target.activation = Some(Activation { function: *function, argument: input.clone() });
        }
        _ => return false,
    }
    folded.layers[conv].name = layer.name;
    true
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_equal, network, with_weights};
    use super::super::{linear, time};
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
    fn values_that_are_used_twice_stay() {
        let conv = Op::Conv2d { out_channels: 1, kernel: [1; 2], stride: [1; 2], padding: [0; 2], upsample: [1; 2] };
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
