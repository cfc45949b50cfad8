//! *Quantize*: a folded network in the numbers of the device.
//!
//! On integers, weights are symmetric per output channel, activations affine per tensor, sums int32, inputs int16 where
//! convolutions alone read them, outputs f32. In mixed precision the maps that the model names have 12 bits in int16,
//! with 14 for the argument of an activation, and residuals are added to them as they are. Scales come from all that
//! calibration saw, never from the samplers of a build: the same file gives the same integers, hence the same pictures,
//! in every build. In floating point, weights and maps are f16 or f32.

use std::collections::{BTreeMap, BTreeSet};

use grano::requantize::FINE_HALF;

use crate::error::{Error, Result};
use crate::fold::{Folded, Layer};
use crate::kernel::{Affine, Element};
use crate::model::Ranges;
use crate::op::{Kernel, Kind, Load, Quantize, Shuffle, Store, fine_index, target};

/// An input may leave the calibrated range by this factor before int16 saturates.
const HEADROOM: f32 = 1.25;
/// No unit of a sum is finer than this share of a unit of the output: keeps multipliers and residuals in int32.
pub(crate) const FINEST: f64 = 1.0 / (1 << 20) as f64;
/// The ends of a table's index.
pub(crate) const INDEX_ENDS: [i32; 2] = [-512, 511];

/// The numbers of a build.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Integers, with codes of these ranges; the values `fine` are kept in int16, in the fine codes of the engine's
    /// `requantize::FINE`.
    Integers {
        /// What calibration saw.
        ranges: &'a Ranges,
        /// Names of values.
        fine: &'a [String],
    },
    /// Weights and maps in f16 or f32.
    Floats(Element),
}

/// Kernels of a network and how values are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    /// What brings each input into the arena.
    pub inputs: Vec<Kernel>,
    /// What computes each layer; none for one that a head computes on the way.
    pub layers: Vec<Option<Kernel>>,
    /// How each output leaves.
    pub exits: Vec<Exit>,
    /// How each value in the arena is stored.
    pub elements: BTreeMap<String, Element>,
}

/// How an output leaves the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Exit {
    /// The layer that computes this value hands it out, perhaps with pixels made of its channels.
    Head {
        /// The value.
        layer: String,
        /// What makes pixels.
        shuffle: Option<Shuffle>,
    },
    /// A kernel of its own reads it from the arena.
    Store(Box<Kernel>),
}

/// What a layer sees of the network that is quantised around it.
pub struct Quantizer<'a> {
    /// What calibration saw.
    pub ranges: &'a Ranges,
    /// Whether the value is an output that the layer hands out as f32.
    pub is_head: bool,
    /// Whether the value is to be a fine code.
    pub is_fine: bool,
    layer: &'a str,
    elements: &'a BTreeMap<String, Element>,
}

impl Quantizer<'_> {
    /// How a value is stored.
    #[must_use]
    pub fn element(&self, value: &str) -> Element {
        self.elements[value]
    }

    /// The code of a value in int8.
    ///
    /// # Errors
    /// Names the layer that cannot read it otherwise.
    pub fn int8(&self, value: &str) -> Result<Affine> {
        match self.elements[value] {
            Element::I8(affine) => Ok(affine),
            _ => Err(Error::node(
                self.layer,
                format!("its input `{value}` is not an int8 map; take it from the fine maps"),
            )),
        }
    }

    /// The code in int8 of the value that is computed.
    ///
    /// # Errors
    /// When calibration has no range for it.
    pub fn output(&self) -> Result<Affine> {
        Ok(Affine::of_range(self.ranges.over_all(self.layer)?))
    }
}

/// Finds a kernel for everything.
///
/// # Errors
/// Names the layer that has no range, that integers cannot hold, or that has no kernel.
pub fn kernels(folded: &Folded, numbers: Numbers<'_>) -> Result<Kernels> {
    let heads = heads(folded);
    let mut elements = BTreeMap::new();
    let mut inputs = Vec::new();
    for (name, _) in &folded.inputs {
        let element = input(folded, name, numbers)?;
        inputs.push(Quantize::to(element).unwrap_or(Load {}.into()));
        elements.insert(name.clone(), element);
    }
    if let Numbers::Integers { fine, .. } = numbers {
        check_fine(folded, &heads, fine)?;
    }
    let is_head = |layer: &Layer| heads.iter().flatten().any(|(head, _)| *head == layer.name);
    let shuffled: BTreeSet<&str> = heads
        .iter()
        .zip(&folded.outputs)
        .filter_map(|(head, output)| head.as_ref().and_then(|(_, shuffle)| shuffle.as_ref()).map(|_| output.as_str()))
        .collect();
    let mut layers = Vec::new();
    for layer in &folded.layers {
        if shuffled.contains(layer.name.as_str()) {
            layers.push(None);
            continue;
        }
        let is_head = is_head(layer);
        let (kernel, element) = match numbers {
            Numbers::Integers { ranges, fine } => {
                let is_fine = fine.contains(&layer.name);
                let quantizer = Quantizer { ranges, is_head, is_fine, layer: &layer.name, elements: &elements };
                layer.kind.layer().integer(layer, &quantizer)?
            }
            Numbers::Floats(stored) => {
                let element = if is_head { Element::F32 } else { stored };
                (layer.kind.layer().float(layer, stored, is_head)?, element)
            }
        };
        elements.insert(layer.name.clone(), element);
        layers.push(Some(kernel));
    }
    let exit = |(head, output): (Option<(String, Option<Shuffle>)>, &String)| match head {
        Some((layer, shuffle)) => Exit::Head { layer, shuffle },
        None => Exit::Store(Box::new(Store::of(elements[output]).into())),
    };
    let exits = heads.into_iter().zip(&folded.outputs).map(exit).collect();
    Ok(Kernels { inputs, layers, exits, elements })
}

/// For each output the value of the layer that hands it out, and what makes pixels of its channels; none where the output
/// is read inside the network as well, or its layer cannot.
fn heads(folded: &Folded) -> Vec<Option<(String, Option<Shuffle>)>> {
    let uses = folded.uses();
    let can = |name: &str| {
        let layer = folded.position(name).map(|at| &folded.layers[at]);
        layer.filter(|layer| uses[name] == 1 && layer.kind.layer().can_be_head())
    };
    let head = |output: &String| {
        if let Some(layer) = can(output) {
            return Some((layer.name.clone(), None));
        }
        let at = folded.position(output).filter(|_| uses[output] == 1)?;
        let Kind::PixelShuffle(shuffle) = &folded.layers[at].kind else { return None };
        let layer = can(&shuffle.input)?;
        Some((layer.name.clone(), Some(Shuffle { input: layer.shape, block: shuffle.block })))
    };
    folded.outputs.iter().map(head).collect()
}

/// How an input is stored: as finely as there is, where convolutions alone read it, each by itself; else as other maps.
fn input(folded: &Folded, name: &str, numbers: Numbers<'_>) -> Result<Element> {
    let reads_alone = |layer: &Layer| {
        let layer = layer.kind.layer();
        layer.can_be_fine() && layer.maps() == [name] && layer.second().is_none_or(|second| second != name)
    };
    let is_fine = folded.readers(name).all(reads_alone);
    Ok(match numbers {
        Numbers::Floats(_) if is_fine => Element::F32,
        Numbers::Floats(stored) => stored,
        Numbers::Integers { ranges, .. } => {
            let [low, high] = ranges.over_all(name)?;
            if is_fine {
                let scale = f64::from(low.abs().max(high.abs()).max(1.0) * HEADROOM) / 32767.0;
                Element::I16 { affine: Affine { scale, zero_point: 0 }, half: 1 << 15 }
            } else {
                Element::I8(Affine::of_range([low, high]))
            }
        }
    })
}

/// Whether kernels can make all that should be fine.
fn check_fine(folded: &Folded, heads: &[Option<(String, Option<Shuffle>)>], fine: &[String]) -> Result<()> {
    for name in fine {
        let layer = folded.layers.iter().find(|layer| layer.name == *name);
        let is_sum = layer.is_some_and(|layer| layer.kind.layer().can_be_fine());
        if !is_sum || heads.iter().flatten().any(|(head, _)| head == name) {
            return Err(Error::Model(format!(
                "`{name}` cannot be a fine map: it is no result of a convolution inside the network, or not the last step of one"
            )));
        }
    }
    Ok(())
}

/// The code that a value of the graph goes through in an int8 network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code {
    /// What a code stands for.
    pub affine: Affine,
    /// The least and the greatest code; values beyond take these.
    pub ends: [i32; 2],
}

/// The codes of all values that an int8 network rounds, by node: maps in memory, and the arguments of fused
/// activations, which are an index into a table. To round a float network's values to these is fake quantisation.
///
/// # Errors
/// As [`kernels`].
pub fn codes(folded: &Folded, ranges: &Ranges, fine: &[String]) -> Result<BTreeMap<String, Code>> {
    let Kernels { layers, elements, .. } = kernels(folded, Numbers::Integers { ranges, fine })?;
    let mut codes = BTreeMap::new();
    for (name, &element) in &elements {
        let code = match element {
            Element::I8(affine) => Code { affine, ends: [-128, 127] },
            Element::I16 { affine, half } => Code { affine, ends: [-half, half - 1] },
            Element::I32 | Element::F16 | Element::F32 => continue,
        };
        codes.insert(name.clone(), code);
    }
    for (layer, kernel) in folded.layers.iter().zip(&layers) {
        let Some(activation) = layer.kind.layer().activation() else { continue };
        let code = match (kernel, elements.get(&layer.name)) {
            (Some(Kernel::Conv2dFine(_)), Some(Element::I16 { affine, .. })) => {
                fine_index(*affine, activation, ranges)?
            }
            (Some(Kernel::Conv2dFine(_)), Some(Element::I8(output))) => fine_index(output.fine(), activation, ranges)?,
            (_, Some(&Element::I8(output))) => {
                Code { affine: target(output, Some(activation), ranges)?.0, ends: INDEX_ENDS }
            }
            _ => continue,
        };
        codes.insert(activation.argument.clone(), code);
    }
    Ok(codes)
}

/// The code of a fine map that would be `output` in int8.
pub(crate) fn fine_element(output: Affine) -> Element {
    Element::I16 { affine: output.fine(), half: FINE_HALF }
}

/// `(shift, multipliers)` so that `((sum << shift)·m + 2³¹) >> 32` is about `ratio·sum`; `None` when no
/// shift serves for sums up to `bound`.
pub(crate) fn multiplier(ratios: &[f64], bound: i64) -> Option<(u32, Vec<i32>)> {
    let shift = (0..31u32).find(|&shift| is_small(ratios, shift))?;
    Some((shift, multiplier_at(ratios, bound, shift)?))
}

/// The same with a given shift.
pub(crate) fn multiplier_at(ratios: &[f64], bound: i64, shift: u32) -> Option<Vec<i32>> {
    let even = |ratio: f64| 2 * (ratio * f64::from(2.0f32.powi(31 - shift as i32))).round() as i32;
    let fits = is_small(ratios, shift) && bound <= i64::from(i32::MAX) >> shift.min(31);
    fits.then(|| ratios.iter().map(|&ratio| even(ratio).max(2)).collect())
}

/// Whether multipliers of sums that are shifted so far fit int32.
fn is_small(ratios: &[f64], shift: u32) -> bool {
    let largest = ratios.iter().fold(0.0, |a: f64, &b| a.max(b));
    largest * f64::from(2.0f32.powi(32 - shift as i32)) < f64::from(i32::MAX - 1)
}

/// A layer's constants as f32.
///
/// # Errors
/// Names the layer, what it is of, and the number that f32 does not hold.
pub(crate) fn narrow(layer: &Layer, what: &str, values: impl IntoIterator<Item = f64>) -> Result<Vec<f32>> {
    let narrow = |value: f64| {
        let narrow = value as f32;
        if narrow.is_finite() { Ok(narrow) } else { Err(too_large(layer, what, value, "f32")) }
    };
    values.into_iter().map(narrow).collect()
}

/// That a layer's constants, which folding may have made large, can be stored as they are to be: in f16, or in f32.
///
/// # Errors
/// Names the layer, what it is of, and the number that is too large.
pub(crate) fn check_stored(layer: &Layer, what: &str, values: &[f32], stored: Element) -> Result<()> {
    let is_half = stored == Element::F16;
    let fits = |value: &f32| value.is_finite() && (!is_half || half::f16::from_f32(*value).is_finite());
    match values.iter().find(|value| !fits(value)) {
        Some(&value) => Err(too_large(layer, what, value.into(), if is_half { "f16" } else { "f32" })),
        None => Ok(()),
    }
}

fn too_large(layer: &Layer, what: &str, value: f64, element: &str) -> Error {
    Error::node(
        layer.node(),
        format!(
            "a {what} of {value:e}, which {element} does not hold; the network must be trained or scaled so that it is smaller"
        ),
    )
}

pub(crate) fn too_wide(layer: &Layer) -> Error {
    Error::node(&layer.name, "its sums do not fit into int32; its weights or biases are far larger than its output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::network;

    #[test]
    fn multipliers_are_even_and_close() {
        for ratio in [1e-5, 0.001, 0.3, 0.499, 0.7, 3.0] {
            let (shift, multipliers) = multiplier(&[ratio], 1 << 20).unwrap();
            let represented = f64::from(multipliers[0]) * f64::from(1u32 << shift) / 4_294_967_296.0;
            assert!(
                multipliers[0] % 2 == 0 && (represented / ratio - 1.0).abs() < 1e-4,
                "{ratio} became {represented}"
            );
        }
        assert!(multiplier(&[1000.0], 1 << 30).is_none());
        // Sums so wide that the shift would lose their highest bits.
        assert!(multiplier_at(&[1.0], i64::MAX, 8).is_none() && multiplier_at(&[0.1], 1 << 57, 7).is_none());
    }

    #[test]
    fn ranges_hold_zero_exactly() {
        let affine = Affine::of_range([0.5, 2.0]);
        assert_eq!((affine.zero_point, affine.quantize(0.0), affine.quantize(2.0)), (-128, -128, 127));
        let affine = Affine::of_range([-1.0, 1.0]);
        assert_eq!(affine.dequantize(affine.quantize(0.0)), 0.0);
    }

    #[test]
    fn what_cannot_be_fine_is_named() {
        let folded = fold(&network(), &[0, 1]).unwrap();
        let heads = heads(&folded);
        let check = |name: &str| check_fine(&folded, &heads, &[name.to_string()]);
        assert!(check("h").is_ok() && check("block").is_ok());
        // No value, one that is fused into another, and what is handed out as f32.
        for name in ["nothing", "stem", "head", "out"] {
            assert!(check(name).unwrap_err().to_string().contains(&format!("`{name}`")));
        }
    }
}
