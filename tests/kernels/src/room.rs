//! The buffers of the checks, and constants that kernels want to be static.

use grano::requantize::FineTable;

use crate::random::Random;

/// Elements of a map.
pub const MAP: usize = 1024;
/// Weights.
pub const WEIGHTS: usize = 8192;
/// Weights in an instruction set's order, filled up.
pub const PACKED: usize = 10240;
/// Words of scratch.
pub const SCRATCH: usize = 10240;
/// Most channels of a map.
pub const CHANNELS: usize = 64;

/// All buffers, 101 KiB.
#[derive(Debug)]
pub struct Room {
    /// Weights as the graph has them.
    pub weights: [i8; WEIGHTS],
    /// For convolutions.
    pub packed: [i8; PACKED],
    /// For Winograd.
    pub wide: [i16; PACKED],
    /// Both input maps.
    pub maps: [[i8; MAP]; 2],
    /// One input map.
    pub wide_map: [i16; MAP],
    /// A map to be added.
    pub residual: [i8; MAP],
    /// Biases.
    pub biases: [[i32; CHANNELS]; 2],
    /// What kernels work in.
    pub scratch: [i32; SCRATCH],
    /// What should come out, and what does.
    pub outputs: [[i8; MAP]; 2],
    /// The same in int16.
    pub codes: [[i16; MAP]; 2],
    /// The same for the network's last layer.
    pub floats: [[f32; MAP]; 2],
}

impl Room {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            weights: [0; WEIGHTS],
            packed: [0; PACKED],
            wide: [0; PACKED],
            maps: [[0; MAP]; 2],
            wide_map: [0; MAP],
            residual: [0; MAP],
            biases: [[0; CHANNELS]; 2],
            scratch: [0; SCRATCH],
            outputs: [[0; MAP]; 2],
            codes: [[0; MAP]; 2],
            floats: [[0.0; MAP]; 2],
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// Factors of a requantisation: even and positive, most of them small enough for results to vary.
pub static MULTIPLIERS: [i32; 2 * CHANNELS] = {
    let (mut random, mut multipliers) = (Random::new(1), [0; 2 * CHANNELS]);
    let mut i = 0;
    while i < multipliers.len() {
        let shift = 1 + random.below(14);
        multipliers[i] = (((random.bits() >> 1 >> shift) as i32).wrapping_add(1) * 2) & i32::MAX;
        if multipliers[i] == 0 {
            multipliers[i] = 2;
        }
        i += 1;
    }
    multipliers
};

/// Factors of a residual.
pub static RESIDUAL_MULTIPLIERS: [i32; 2 * CHANNELS] = {
    let (mut random, mut multipliers) = (Random::new(2), [0; 2 * CHANNELS]);
    let mut i = 0;
    while i < multipliers.len() {
        multipliers[i] = random.below(4000) as i32 - 2000;
        i += 1;
    }
    multipliers
};

/// An activation, arbitrary.
pub static TABLE: [i8; 1024] = {
    let (mut random, mut table) = (Random::new(3), [0; 1024]);
    let mut i = 0;
    while i < table.len() {
        table[i] = random.bits() as i8;
        i += 1;
    }
    table
};

/// An activation to fine codes, arbitrary.
pub static FINE_TABLE: FineTable = {
    let (mut random, mut table) = (Random::new(4), [0; _]);
    let mut i = 0;
    while i < table.len() {
        table[i] = random.below(4096) as i16 - 2048;
        i += 1;
    }
    table
};
