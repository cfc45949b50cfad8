//! One evaluation of a model's denoiser, or of each of its networks: what each layer takes, and the CRC-32 of what comes
//! out.
//!
//! Every board and the host run it on the same input, so that equal networks print equal checksums.

use crc::{Digest, NoTable};
use grano::{
    Gaussian, Model, Network, Noise, Philox,
    memory::Parts,
    network::{Condition, Input, Io, Layers, Port, PortKind},
};

use crate::{Board, BoardSampler, CRC, board, print};

/// Evaluates the network on Philox's noise of seed 0, at the first step of the model's own sampler, without a label, and
/// prints the report: instructions by layer and in all, and the CRC-32 of the output, f32 in little-endian order.
pub fn evaluate<B: Board, M: Model>(board: &mut B, sampler: &mut BoardSampler<M>) {
    print(board, format_args!("# one evaluation on {}", board.name()));
    let Parts { arena, x, .. } = sampler.parts();
    Gaussian(Philox::new(0, 0)).fill(x);
    let step = M::SAMPLERS.first().and_then(|table| table.rows.first()).map_or(0, |row| row.network_row.into());
    let (network, condition) = (M::Denoiser::NEW, Condition { step, class: M::Denoiser::CLASSES });
    let last = network.layers().saturating_sub(1);
    let mut total = 0;
    for (layer, name) in M::Denoiser::LAYER_NAMES.iter().enumerate() {
        let (_, count) = if layer < last {
            let io = &mut Io { inputs: &[Input::new(x)], outputs: &mut |_: usize, _: usize, _: &[f32]| {} };
            board::measure(board, || network.layer(layer, condition, arena, io))
        } else {
            // It reads the arena alone: the output takes the input's place.
            let mut keep = |_: usize, first: usize, strip: &[f32]| {
                let place = x.get_mut(first..).unwrap_or_default();
                place.iter_mut().zip(strip).for_each(|(to, from)| *to = *from);
            };
            let io = &mut Io { inputs: &[], outputs: &mut keep };
            board::measure(board, || network.layer(layer, condition, arena, io))
        };
        print(board, format_args!("layers.\"{name}\" = {count}"));
        total += count;
    }
    let mut digest = CRC.digest();
    x.iter().for_each(|value| digest.update(&value.to_le_bytes()));
    print(board, format_args!("{}_per_evaluation = {total}", B::UNIT));
    print(board, format_args!("evaluation_crc32 = \"{:08x}\"", digest.finalize()));
}

/// Inputs and outputs of a network that [`Evaluations`] has room for; others are left out.
const PORTS: usize = 4;

/// Elements of the maps that a network reads.
#[must_use]
pub const fn input_len(ports: &[Port]) -> usize {
    let (mut port, mut len) = (0, 0);
    while port < ports.len() {
        if let PortKind::Map(shape) = ports[port].kind {
            len += shape.len();
        }
        port += 1;
    }
    len
}

/// The larger of two numbers.
#[must_use]
pub const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Evaluations of several networks, one report.
pub struct Evaluations {
    total: u64,
    digest: Digest<'static, u32, NoTable>,
}

impl Default for Evaluations {
    fn default() -> Self {
        Self { total: 0, digest: CRC.digest() }
    }
}

impl Evaluations {
    /// Evaluates a network on Philox's noise of seed 0, at its first row of times, without a label, and prints what its
    /// layers take.
    ///
    /// `arena` is as long as the network needs, `values` as [`input_len`] says.
    pub fn add<B: Board, N: Network>(&mut self, board: &mut B, arena: &mut [u8], values: &mut [f32]) {
        Gaussian(Philox::new(0, 0)).fill(values);
        let (mut inputs, mut rest) = (heapless::Vec::<Input<'_>, PORTS>::new(), &*values);
        for port in N::INPUTS {
            let PortKind::Map(shape) = port.kind else { continue };
            let (map, after) = rest.split_at_checked(shape.len()).unwrap_or_default();
            let _ = inputs.push(Input::new(map));
            rest = after;
        }
        let mut digests: [_; PORTS] = core::array::from_fn(|_| CRC.digest());
        let (network, condition) = (N::NEW, Condition { step: 0, class: N::CLASSES });
        for (layer, name) in N::LAYER_NAMES.iter().enumerate() {
            let mut outputs = |output: usize, _: usize, values: &[f32]| {
                let digest = digests.get_mut(output);
                digest
                    .into_iter()
                    .for_each(|digest| values.iter().for_each(|value| digest.update(&value.to_le_bytes())));
            };
            let io = &mut Io { inputs: &inputs, outputs: &mut outputs };
            let (_, count) = board::measure(board, || network.layer(layer, condition, arena, io));
            print(board, format_args!("layers.\"{}.{name}\" = {count}", N::NAME));
            self.total += count;
        }
        let outputs = digests.into_iter().zip(N::OUTPUTS);
        outputs.for_each(|(digest, _)| self.digest.update(&digest.finalize().to_le_bytes()));
    }

    /// Prints what all took, and the CRC-32 of the CRC-32s of their outputs.
    pub fn report<B: Board>(self, board: &mut B) {
        print(board, format_args!("{}_per_evaluation = {}", B::UNIT, self.total));
        print(board, format_args!("evaluation_crc32 = \"{:08x}\"", self.digest.finalize()));
    }
}
