//! What a network reads and writes outside its arena.

/// Takes a network's outputs as the network makes them.
///
/// Maps are `[height][width][channels]`. A network gives each output in order, in strips of any length, so that
/// together they are the whole map, each value once.
///
/// A closure is a sink: `|output, first, values: &[f32]| …`.
pub trait Sink {
    /// Takes `values`, the elements from `first` on of output number `output`. Outputs are numbered in the order of
    /// the network's ports.
    fn put(&mut self, output: usize, first: usize, values: &[f32]);
}

impl<F: FnMut(usize, usize, &[f32])> Sink for F {
    fn put(&mut self, output: usize, first: usize, values: &[f32]) {
        self(output, first, values);
    }
}

/// A map that a network reads: `scale · values`, each product rounded to f32.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[height][width][channels]`.
    pub values: &'a [f32],
    /// Factor of every value, such as a step's `c_in`.
    pub scale: f32,
}

impl<'a> Input<'a> {
    /// The values as they are.
    #[must_use]
    pub const fn new(values: &'a [f32]) -> Self {
        Self { values, scale: 1.0 }
    }
}

/// What a layer reads and writes outside the arena.
pub struct Io<'a> {
    /// The network's input maps, in the order of its ports; ports of other kinds are not counted. An input that is
    /// missing reads as an empty map.
    pub inputs: &'a [Input<'a>],
    /// Takes the network's outputs.
    pub outputs: &'a mut dyn Sink,
}

impl<'a> Io<'a> {
    /// Input number `index`; an empty map past the last.
    #[must_use]
    pub fn input(&self, index: usize) -> Input<'a> {
        self.inputs.get(index).copied().unwrap_or(Input::new(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn closures_take_strips_and_missing_inputs_are_empty() {
        let mut seen: Vec<(usize, usize, Vec<f32>)> = Vec::new();
        let mut sink = |output: usize, first: usize, values: &[f32]| seen.push((output, first, values.to_vec()));
        let inputs = [Input { values: &[1.0, 2.0], scale: 0.5 }];
        let io = Io { inputs: &inputs, outputs: &mut sink };
        assert_eq!((io.input(0).values, io.input(0).scale), (&[1.0, 2.0][..], 0.5));
        assert!(io.input(1).values.is_empty());
        io.outputs.put(1, 4, &[2.0]);
        assert_eq!(seen, [(1, 4, Vec::from([2.0]))]);
    }
}
