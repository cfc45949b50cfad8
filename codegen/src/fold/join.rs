//! *Join*: a layer that reads more maps than its kernel can reads one instead, in which they lie side by side.

use std::collections::BTreeMap;

use super::{Folded, Layer};
use crate::op::{Concat, Kind};

/// Inserts the maps side by side that layers ask for, each once.
pub(super) fn join(mut folded: Folded) -> Folded {
    let mut joined: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut at = 0;
    while at < folded.layers.len() {
        let Some(inputs) = folded.layers[at].kind.layer().unreadable() else {
            at += 1;
            continue;
        };
        let names: Vec<String> = inputs.iter().map(|(name, _)| name.clone()).collect();
        if !joined.contains_key(&names) {
            let name = unused(&folded, &folded.layers[at].name);
            let [_, height, width] = shape(&folded, &names[0]);
            let channels = inputs.iter().map(|(_, channels)| channels).sum();
            let kind = Kind::from(Concat { inputs });
            folded.layers.insert(at, Layer { name: name.clone(), shape: [channels, height, width], kind });
            joined.insert(names.clone(), name);
            at += 1;
        }
        folded.layers[at].kind.layer_mut().read_joined(&joined[&names]);
        at += 1;
    }
    folded
}

/// The shape of a map that a layer reads.
fn shape(folded: &Folded, name: &str) -> [usize; 3] {
    let input = folded.inputs.iter().find(|(input, _)| input == name).map(|(_, shape)| *shape);
    input.or_else(|| folded.position(name).map(|at| folded.layers[at].shape)).unwrap_or_default()
}

/// A name for what `layer` reads.
fn unused(folded: &Folded, layer: &str) -> String {
    let mut name = format!("{layer}.inputs");
    let is_taken = |name: &str| folded.position(name).is_some() || folded.inputs.iter().any(|(input, _)| input == name);
    while is_taken(&name) {
        name.push('_');
    }
    name
}
