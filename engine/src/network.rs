//! What runs layer by layer ([`Layers`]), what is known of it at compile time ([`Network`]), and one evaluation of it.

pub use crate::conditioning::Condition;
pub use crate::io::{Input, Io, Sink};
use crate::shape::Shape;
use crate::tap::Tap;

/// A network that runs layer by layer, in memory that the caller lends, so that firmware can do something in between.
///
/// Layers `0..layers()`, run in turn on the same arena, make one evaluation.
pub trait Layers {
    /// How many layers there are.
    fn layers(&self) -> usize;

    /// Runs layer `index`; an index past the last does nothing.
    ///
    /// `arena` is aligned as [`crate::memory::Arena`] is and at least as long as the network needs; in one that is not,
    /// layers do nothing. `condition.class` is `0..classes`, or `classes` for none.
    fn layer(&self, index: usize, condition: Condition, arena: &mut [u8], io: &mut Io<'_>);
}

/// What an input or output of a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A map of f32; a vector of n values is a map of 1 × 1 × n.
    Map(Shape),
    /// The diffusion time, which comes as [`Condition::step`].
    Time,
    /// The class, which comes as [`Condition::class`].
    Label,
}

/// An input or an output of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the model file.
    pub name: &'static str,
    /// What it is.
    pub kind: PortKind,
}

/// A generated network: a type without size, whose constants and code are static.
pub trait Network: Layers + Copy + 'static {
    /// Its name in the model file.
    const NAME: &'static str;
    /// Its inputs; [`Io::inputs`] has the maps among them, in this order.
    const INPUTS: &'static [Port];
    /// Its outputs, all of them maps; [`Sink::put`] numbers them in this order.
    const OUTPUTS: &'static [Port];
    /// Classes that can be asked for, `0..CLASSES`; class `CLASSES` stands for none.
    const CLASSES: usize;
    /// A name a layer.
    const LAYER_NAMES: &'static [&'static str];
    /// Where intermediate values lie in the arena.
    const TAPS: &'static [Tap];
    /// Bytes of arena that it needs.
    const ARENA_BYTES: usize;
    /// The network. Where the instruction set does not fit the packing of the weights, this is a compile error.
    const NEW: Self;
}

/// Whether one port is a map, and of this shape.
pub(crate) const fn is_one_map(ports: &[Port], shape: Shape) -> bool {
    let (mut index, mut maps) = (0, 0);
    while index < ports.len() {
        if let PortKind::Map(Shape { height, width, channels }) = ports[index].kind {
            if height != shape.height || width != shape.width || channels != shape.channels {
                return false;
            }
            maps += 1;
        }
        index += 1;
    }
    maps == 1
}

/// One evaluation of a network, layer by layer: the caller can measure each layer, or read taps in between.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    network: &'a dyn Layers,
    condition: Condition,
    inputs: &'a [Input<'a>],
    layer: usize,
}

impl<'a> Evaluation<'a> {
    /// Before the first layer.
    #[must_use]
    pub const fn new(network: &'a dyn Layers, condition: Condition, inputs: &'a [Input<'a>]) -> Self {
        Self { network, condition, inputs, layer: 0 }
    }

    /// Runs the next layer and gives its index; `None` after the last.
    ///
    /// `arena` has to be the same for all layers, aligned as [`crate::memory::Arena`] is.
    pub fn advance(&mut self, arena: &mut [u8], outputs: &mut dyn Sink) -> Option<usize> {
        let layer = self.layer;
        if layer >= self.network.layers() {
            return None;
        }
        self.network.layer(layer, self.condition, arena, &mut Io { inputs: self.inputs, outputs });
        self.layer += 1;
        Some(layer)
    }
}

/// Evaluates a network once: `outputs[i]`, `[height][width][channels]`, becomes its output number i.
///
/// `arena` is aligned as [`crate::memory::Arena`] is and at least as long as the network needs. Of an output that is
/// longer than its slice the rest is dropped; outputs past the last slice are dropped as well.
pub fn evaluate(
    network: &dyn Layers,
    condition: Condition,
    arena: &mut [u8],
    inputs: &[Input<'_>],
    outputs: &mut [&mut [f32]],
) {
    let mut copy = |output: usize, first: usize, values: &[f32]| {
        let to = outputs.get_mut(output).and_then(|output| output.get_mut(first..)).unwrap_or_default();
        to.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    };
    let mut evaluation = Evaluation::new(network, condition, inputs);
    while evaluation.advance(arena, &mut copy).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Two inputs, two outputs: the arena's first byte counts layers; the last layer gives `scale · a` in strips of two
    /// and, as output 1, the sum of step, class and `b[0]`.
    struct Two;

    impl Layers for Two {
        fn layers(&self) -> usize {
            3
        }

        fn layer(&self, index: usize, condition: Condition, arena: &mut [u8], io: &mut Io<'_>) {
            arena[0] += 1;
            if index == 2 {
                let Input { values, scale } = io.input(0);
                for (strip, values) in values.chunks(2).enumerate() {
                    io.outputs.put(0, 2 * strip, &values.iter().map(|a| scale * a).collect::<Vec<_>>());
                }
                io.outputs.put(1, 0, &[condition.step as f32 + condition.class as f32 + io.input(1).values[0]]);
            }
        }
    }

    const CONDITION: Condition = Condition { step: 20, class: 3 };

    #[test]
    fn outputs_are_copied_and_cut_to_their_slices() {
        let inputs = [Input { values: &[1.0, 2.0, 3.0], scale: 2.0 }, Input::new(&[0.5])];
        let (mut a, mut b) = ([9.0; 4], [9.0; 2]);
        evaluate(&Two, CONDITION, &mut [0], &inputs, &mut [&mut a, &mut b]);
        assert_eq!((a, b), ([2.0, 4.0, 6.0, 9.0], [23.5, 9.0]));
        let mut short = [9.0; 1];
        evaluate(&Two, CONDITION, &mut [0], &inputs, &mut [&mut short]);
        assert_eq!(short, [2.0]);
    }

    #[test]
    fn layers_run_in_turn_and_leave_the_arena_to_look_at() {
        let inputs = [Input::new(&[1.0]), Input::new(&[0.0])];
        let (mut arena, mut puts) = ([0], 0);
        let mut evaluation = Evaluation::new(&Two, CONDITION, &inputs);
        let mut count = |_: usize, _: usize, _: &[f32]| puts += 1;
        for layer in 0..3 {
            assert_eq!(evaluation.advance(&mut arena, &mut count), Some(layer));
            assert_eq!(usize::from(arena[0]), layer + 1);
        }
        assert_eq!(evaluation.advance(&mut arena, &mut count), None);
        assert_eq!((arena, puts), ([3], 2));
    }

    #[test]
    fn a_denoiser_has_one_map() {
        let shape = Shape { height: 2, width: 3, channels: 1 };
        let port = |kind| Port { name: "a", kind };
        let [map, time, label] = [PortKind::Map(shape), PortKind::Time, PortKind::Label].map(port);
        assert!(is_one_map(&[map], shape) && is_one_map(&[time, map, label], shape));
        assert!(!is_one_map(&[time, label], shape) && !is_one_map(&[map, map], shape));
        for other in [(3, 3, 1), (2, 2, 1), (2, 3, 2)] {
            let (height, width, channels) = other;
            assert!(!is_one_map(&[map], Shape { height, width, channels }), "{other:?}");
        }
    }
}
