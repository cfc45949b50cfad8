//! Convolutions to int8, of int16 and to f32.

use grano::isa::{Isa, Portable};
use grano::kernel::{
    Bias, Condition, Conv2dFine, Conv2dInt8, Conv2dInt8Head, Epilogue, FineEpilogue, Geometry, Residual, Sums,
};
use grano::maps::{Code, Maps};
use grano::requantize::Requantize;

use crate::random::Random;
use crate::room::{CHANNELS, FINE_TABLE, MAP, MULTIPLIERS, RESIDUAL_MULTIPLIERS, Room, TABLE};
use crate::shapes::{self, Draw};
use crate::{Difference, UNPROVED, compare};

/// The only step and class of the checks' biases.
pub(crate) const CONDITION: Condition = Condition { step: 0, class: 0 };

/// int8 to int8, with one map or two, without a residual, and with one in its own place and in the output's.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let (geometry, is_loud) = draw_weights::<I>(random, room, draw);
    let mut epilogue = epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    random.fill_bytes(room.maps.as_flattened_mut());
    random.fill_bytes(&mut room.residual);
    let Room { weights, packed, maps, residual: added, biases, scratch, outputs: [expected, found], .. } = room;
    let input = narrow_input(random, maps, &geometry);
    let mut operands = Operands { geometry: &geometry, weights, packed, biases, scratch };
    let len = geometry.output.len();
    let residuals = random.below(3);
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let residual = match residuals {
            0 => Residual::None,
            1 => Residual::InOutput,
            _ => Residual::From(added.get(..len).unwrap_or_default()),
        };
        output.copy_from_slice(added);
        let output = output.get_mut(..len).unwrap_or_default();
        if portable {
            operands.int8::<Portable, _>(input, &epilogue, residual, output)?;
        } else {
            operands.int8::<I, _>(input, &epilogue, residual, output)?;
        }
    }
    compare(expected, found, i32::from)
}

/// int16 to int8.
///
/// # Errors
/// The first element that differs.
pub fn check_wide<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let (geometry, is_loud) = draw_weights::<I>(random, room, draw);
    let mut epilogue = epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    random.fill(&mut room.wide_map, [-i16::MAX, i16::MAX], |bits| (bits >> 16) as i16);
    let Room { weights, packed, wide_map, biases, scratch, outputs: [expected, found], .. } = room;
    let input = wide_input(random, wide_map, &geometry);
    let mut operands = Operands { geometry: &geometry, weights, packed, biases, scratch };
    let [expected, found] = [expected, found].map(|map| map.get_mut(..geometry.output.len()).unwrap_or_default());
    operands.int8::<Portable, _>(input, &epilogue, Residual::None, expected)?;
    operands.int8::<I, _>(input, &epilogue, Residual::None, found)?;
    compare(expected, found, i32::from)
}

/// int8 or int16 to int16, without a residual, and with one of int8, of int16 and in the output's place.
///
/// # Errors
/// The first element that differs.
pub fn check_fine<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let (geometry, is_loud) = draw_weights::<I>(random, room, draw);
    let mut epilogue = fine_epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    random.fill_bytes(room.maps.as_flattened_mut());
    random.fill_bytes(&mut room.residual);
    random.fill(&mut room.wide_map, [-2048, 2047], |bits| (bits >> 20) as i16 - 2048);
    let Room { weights, packed, maps, wide_map, residual, biases, scratch, codes: [expected, found], .. } = room;
    let input = either_input(random, maps, wide_map, &geometry);
    let mut operands = Operands { geometry: &geometry, weights, packed, biases, scratch };
    let len = geometry.output.len();
    let residuals = random.below(4);
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        output.copy_from_slice(wide_map);
        let output = output.get_mut(..len).unwrap_or_default();
        if residuals == 0 {
            operands.fine::<I, _>(portable, &input, &epilogue, Residual::From(&residual[..]), output)?;
            continue;
        }
        let residual = match residuals {
            1 => Residual::InOutput,
            2 => Residual::From(&wide_map[..]),
            _ => Residual::None,
        };
        operands.fine::<I, _>(portable, &input, &epilogue, residual, output)?;
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)
}

/// int8 to f32, or int16.
///
/// # Errors
/// The first element that differs.
pub fn check_float<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let (geometry, _) = draw_weights::<I>(random, room, draw);
    random.fill_bytes(room.maps.as_flattened_mut());
    random.fill(&mut room.wide_map, [-i16::MAX, i16::MAX], |bits| (bits >> 16) as i16);
    let mut scales = [0.0; CHANNELS];
    scales.iter_mut().for_each(|scale| *scale = random.bits() as f32 / 1e12);
    let scales = scales.get(..geometry.output.channels).unwrap_or_default();
    let Room { weights, packed, maps, wide_map, biases, scratch, floats: [expected, found], .. } = room;
    let input = either_input(random, maps, wide_map, &geometry);
    let mut operands = Operands { geometry: &geometry, weights, packed, biases, scratch };
    let [expected, found] = [expected, found].map(|map| map.get_mut(..geometry.output.len()).unwrap_or_default());
    match input {
        Input::Int8(input) => {
            operands.float::<Portable, _>(input, scales, expected)?;
            operands.float::<I, _>(input, scales, found)?;
        }
        Input::Int16(input) => {
            operands.float::<Portable, _>(input, scales, expected)?;
            operands.float::<I, _>(input, scales, found)?;
        }
    }
    compare(expected, found, |value| value.to_bits() as i32)
}

/// Fills weights and biases for a random geometry; also says what [`fill_any_biases`] does.
fn draw_weights<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> (Geometry, bool) {
    let geometry =
        shapes::fitting(random, draw, |geometry| shapes::fits::<I>(geometry) && shapes::fits::<Portable>(geometry));
    random.fill_weights(&mut room.weights);
    let is_loud = fill_any_biases(random, room);
    (geometry, is_loud)
}

/// Both rows of biases, of any size; says whether they are so large that [`hold`] must hold the shift.
pub(crate) fn fill_any_biases(random: &mut Random, room: &mut Room) -> bool {
    fill_biases(random, room);
    let is_loud = random.one_in(4);
    if is_loud {
        room.biases.as_flattened_mut().iter_mut().for_each(|bias| *bias = (random.bits() as i32) >> 4);
    }
    is_loud
}

/// Holds the shift of large sums to what int32 has room for.
pub(crate) fn hold(requantize: &mut Requantize<'_>, is_loud: bool) {
    if is_loud {
        requantize.shift &= 1;
    }
}

/// Both rows of biases.
pub(crate) fn fill_biases(random: &mut Random, room: &mut Room) {
    for bias in room.biases.as_flattened_mut() {
        *bias = (random.bits() as i32) >> 14;
    }
}

/// One map, or now and then two.
pub(crate) fn split(random: &mut Random, geometry: &Geometry) -> [usize; 2] {
    let second = if random.one_in(3) { random.below(geometry.input.channels) } else { 0 };
    [geometry.input.channels - second, second]
}

/// Any two.
pub(crate) fn zero_points(random: &mut Random) -> [i16; 2] {
    [0; 2].map(|_: i16| random.below(256) as i16 - 128)
}

/// Maps cut to their lengths.
pub(crate) fn input_of<'a>(input: Maps<'a, i8>, geometry: &Geometry) -> Maps<'a, i8> {
    let pixels = geometry.input.height * geometry.input.width;
    let [first, second] = input.maps;
    let cut = |map: &'a [i8], channels: usize| map.get(..pixels * channels).unwrap_or_default();
    Maps { maps: [cut(first, input.channels[0]), cut(second, input.channels[1])], ..input }
}

/// int8 maps, with any zero points.
fn narrow_input<'a>(random: &mut Random, maps: &'a [[i8; MAP]; 2], geometry: &Geometry) -> Maps<'a, i8> {
    let (channels, zero_points) = (split(random, geometry), zero_points(random));
    input_of(Maps { maps: maps.each_ref().map(|map| &map[..]), channels, zero_points }, geometry)
}

/// An int16 map, with any zero point.
fn wide_input<'a>(random: &mut Random, map: &'a [i16], geometry: &Geometry) -> Maps<'a, i16> {
    let map = map.get(..geometry.input.len()).unwrap_or_default();
    Maps { maps: [map, &[]], channels: [geometry.input.channels, 0], zero_points: zero_points(random) }
}

fn either_input<'a>(
    random: &mut Random,
    maps: &'a [[i8; MAP]; 2],
    wide_map: &'a [i16],
    geometry: &Geometry,
) -> Input<'a> {
    if random.one_in(2) {
        Input::Int16(wide_input(random, wide_map, geometry))
    } else {
        Input::Int8(narrow_input(random, maps, geometry))
    }
}

/// A random epilogue.
pub(crate) fn epilogue(random: &mut Random, out_c: usize) -> Epilogue<'static> {
    let start = random.below(CHANNELS);
    let window = |values: &'static [i32]| values.get(start..start + out_c).unwrap_or_default();
    let table = random.one_in(2).then_some(&TABLE);
    let zero_point = if table.is_some() { random.below(1024) as i32 - 512 } else { random.below(256) as i32 - 128 };
    let residual_multipliers = window(&RESIDUAL_MULTIPLIERS);
    let shift = random.below(9) as u32;
    Epilogue {
        residual_multipliers,
        requantize: Requantize { shift, multipliers: window(&MULTIPLIERS), zero_point },
        table,
    }
}

/// The same to fine codes.
pub(crate) fn fine_epilogue(random: &mut Random, out_c: usize) -> FineEpilogue<'static> {
    let Epilogue { residual_multipliers, requantize, table } = epilogue(random, out_c);
    let residual_zero_point = random.below(4096) as i32 - 2048;
    FineEpilogue { residual_multipliers, residual_zero_point, requantize, table: table.map(|_| &FINE_TABLE) }
}

/// What is read.
enum Input<'a> {
    Int8(Maps<'a, i8>),
    Int16(Maps<'a, i16>),
}

/// A convolution but for its maps and its last step, and the room that it takes.
struct Operands<'a> {
    geometry: &'a Geometry,
    weights: &'a [i8],
    packed: &'a mut [i8],
    biases: &'a [[i32; CHANNELS]; 2],
    scratch: &'a mut [i32],
}

impl Operands<'_> {
    /// Packs the weights, and gives the convolution's sums and scratch.
    fn sums<I: Isa, X: Code>(&mut self, input: &Maps<'_, X>) -> (Sums<'_>, &mut [i32]) {
        let geometry = self.geometry;
        let packed = self.packed.get_mut(..I::PACKING.packed_len(geometry)).unwrap_or_default();
        pack::<I>(geometry, self.weights, packed);
        let [steps, classes] =
            self.biases.each_ref().map(|row| row.get(..geometry.output.channels).unwrap_or_default());
        self.scratch.fill(i32::MIN);
        let scratch = self.scratch.get_mut(..I::scratch_words(geometry)).unwrap_or_default();
        let Maps { channels, zero_points, .. } = *input;
        (Sums { geometry: *geometry, channels, zero_points, weights: packed, bias: Bias { steps, classes } }, scratch)
    }

    fn int8<I: Isa, X: Code>(
        &mut self,
        input: Maps<'_, X>,
        epilogue: &Epilogue<'_>,
        residual: Residual<'_, i8>,
        output: &mut [i8],
    ) -> Result<(), Difference> {
        let (sums, scratch) = self.sums::<I, X>(&input);
        let layer = Conv2dInt8 { sums, epilogue: *epilogue }.proved::<I>().map_err(|_| UNPROVED)?;
        layer.run::<I, X>(CONDITION, input.maps, residual, scratch, output);
        Ok(())
    }

    /// By the definition or with the instruction set.
    fn fine<I: Isa, R: Code>(
        &mut self,
        portable: bool,
        input: &Input<'_>,
        epilogue: &FineEpilogue<'_>,
        residual: Residual<'_, R>,
        output: &mut [i16],
    ) -> Result<(), Difference> {
        match (input, portable) {
            (Input::Int8(input), true) => self.compute_fine::<Portable, _, R>(input, epilogue, residual, output),
            (Input::Int8(input), false) => self.compute_fine::<I, _, R>(input, epilogue, residual, output),
            (Input::Int16(input), true) => self.compute_fine::<Portable, _, R>(input, epilogue, residual, output),
            (Input::Int16(input), false) => self.compute_fine::<I, _, R>(input, epilogue, residual, output),
        }
    }

    fn compute_fine<I: Isa, X: Code, R: Code>(
        &mut self,
        input: &Maps<'_, X>,
        epilogue: &FineEpilogue<'_>,
        residual: Residual<'_, R>,
        output: &mut [i16],
    ) -> Result<(), Difference> {
        let (sums, scratch) = self.sums::<I, X>(input);
        let layer = Conv2dFine { sums, epilogue: *epilogue }.proved::<I>().map_err(|_| UNPROVED)?;
        layer.run::<I, X, R, i16>(CONDITION, input.maps, residual, scratch, output);
        Ok(())
    }

    fn float<I: Isa, X: Code>(
        &mut self,
        input: Maps<'_, X>,
        scales: &[f32],
        output: &mut [f32],
    ) -> Result<(), Difference> {
        let (sums, scratch) = self.sums::<I, X>(&input);
        let layer = Conv2dInt8Head { sums, scales }.proved::<I>().map_err(|_| UNPROVED)?;
        layer.run::<I, X>(CONDITION, input.maps, scratch, output);
        Ok(())
    }
}

#[inline(always)]
fn pack<I: Isa>(geometry: &Geometry, weights: &[i8], packed: &mut [i8]) {
    packed.fill(0);
    let taps = geometry.patch_len();
    for (channel, weights) in weights.chunks_exact(taps.max(1)).take(geometry.output.channels).enumerate() {
        for (tap, weight) in weights.iter().enumerate() {
            if let Some(out) = packed.get_mut(I::place_weight(geometry, channel, tap)) {
                *out = *weight;
            }
        }
    }
    I::recode(geometry, packed);
}
