//! Winograd's method.

use grano::isa::{Isa, Portable, winograd};
use grano::kernel::{
    Bias, Epilogue, FineEpilogue, Geometry, Residual, Rows, WinogradFine, WinogradInRamFine, WinogradInRamInt8,
    WinogradInt8, WinogradSums,
};
use grano::maps::{Code, Maps};

use crate::conv2d::{CONDITION, epilogue, fill_any_biases, fine_epilogue, hold, input_of, split, zero_points};
use crate::random::Random;
use crate::room::{CHANNELS, Room};
use crate::shapes::{self, Draw};
use crate::{Difference, UNPROVED, compare};

/// int8 to int8: transformed weights, or plain ones in two groups; of some rows alone where there is one map.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let geometry = draw_weights::<I>(random, room, draw);
    let is_loud = fill_any_biases(random, room);
    let channels = split(random, &geometry);
    let mut epilogue = epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    random.fill_bytes(room.maps.as_flattened_mut());
    random.fill_bytes(&mut room.residual);
    let Room { weights, wide, maps, residual: added, biases, scratch, outputs: [expected, found], .. } = room;
    let maps = Maps { maps: maps.each_ref().map(|map| &map[..]), channels, zero_points: zero_points(random) };
    let input = input_of(maps, &geometry);
    let (residuals, groups) = (random.below(3), random.within(1, 2));
    let from = random.below(geometry.output.height);
    let to = random.within(from + 1, geometry.output.height);
    let alone = geometry.splits() && channels[1] == 0 && random.one_in(2);
    let rows = if alone { [from, to] } else { [0, geometry.output.height] };
    let len = (rows[1] - rows[0]) * geometry.output.width * geometry.output.channels;
    let mut operands = Operands { geometry: &geometry, weights, packed: wide, biases, scratch, groups };
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let residual = match residuals {
            0 => Residual::None,
            1 => Residual::InOutput,
            _ => Residual::From(added.get(..len).unwrap_or_default()),
        };
        output.copy_from_slice(added);
        let output = output.get_mut(..len).unwrap_or_default();
        let rows = alone.then_some(rows);
        if portable {
            operands.int8::<Portable, _>(input, &epilogue, residual, rows, output)?;
        } else {
            operands.int8::<I, _>(input, &epilogue, residual, rows, output)?;
        }
    }
    compare(expected, found, i32::from)
}

/// Fine codes to int8.
///
/// # Errors
/// The first element that differs.
pub fn check_of_fine<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let geometry = draw_weights::<I>(random, room, draw);
    let is_loud = fill_any_biases(random, room);
    let mut epilogue = epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    fill_fine(random, room);
    let Room { weights, wide, wide_map, residual: added, biases, scratch, outputs: [expected, found], .. } = room;
    let input = fine_input(random, wide_map, &geometry);
    let (len, adds, groups) = (geometry.output.len(), random.one_in(2), random.within(1, 2));
    let mut operands = Operands { geometry: &geometry, weights, packed: wide, biases, scratch, groups };
    let residual = if adds { Residual::From(&added[..]) } else { Residual::None };
    let [expected, found] = [expected, found].map(|map| map.get_mut(..len).unwrap_or_default());
    operands.int8::<Portable, _>(input, &epilogue, residual, None, expected)?;
    operands.int8::<I, _>(input, &epilogue, residual, None, found)?;
    compare(expected, found, i32::from)
}

/// int8 or fine codes to fine codes, without a residual, and with one of int8, of int16 and in the output's place.
///
/// # Errors
/// The first element that differs.
pub fn check_to_fine<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let geometry = draw_weights::<I>(random, room, draw);
    let is_loud = fill_any_biases(random, room);
    let mut epilogue = fine_epilogue(random, geometry.output.channels);
    hold(&mut epilogue.requantize, is_loud);
    random.fill_bytes(room.maps.as_flattened_mut());
    fill_fine(random, room);
    let Room { weights, wide, maps, wide_map, residual, biases, scratch, codes: [expected, found], .. } = room;
    let maps = maps.each_ref().map(|map| &map[..]);
    let channels = split(random, &geometry);
    let narrow = input_of(Maps { maps, channels, zero_points: zero_points(random) }, &geometry);
    let fine = fine_input(random, wide_map, &geometry);
    let (len, residuals, groups, reads_fine) =
        (geometry.output.len(), random.below(4), random.within(1, 2), random.one_in(2));
    let mut operands = Operands { geometry: &geometry, weights, packed: wide, biases, scratch, groups };
    let mut run = |portable: bool, residual: Residual<'_, i16>, output: &mut [i16]| match (reads_fine, portable) {
        (true, true) => operands.fine::<Portable, _, _, _>(fine, &epilogue, residual, output),
        (true, false) => operands.fine::<I, _, _, _>(fine, &epilogue, residual, output),
        (false, true) => operands.fine::<Portable, _, _, _>(narrow, &epilogue, residual, output),
        (false, false) => operands.fine::<I, _, _, _>(narrow, &epilogue, residual, output),
    };
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        output.copy_from_slice(wide_map);
        let output = output.get_mut(..len).unwrap_or_default();
        match residuals {
            0 => run(portable, Residual::None, output)?,
            1 => run(portable, Residual::InOutput, output)?,
            _ => run(portable, Residual::From(&wide_map[..]), output)?,
        }
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)?;
    // Of int8, to int8.
    let [expected, found] = room.outputs.each_mut().map(|map| map.get_mut(..len).unwrap_or_default());
    let residual = Residual::From(&residual[..]);
    operands.fine::<Portable, _, _, i8>(fine, &epilogue, residual, expected)?;
    operands.fine::<I, _, _, i8>(fine, &epilogue, residual, found)?;
    compare(expected, found, i32::from)
}

/// A convolution but for its maps and its last step, and the room that it takes.
struct Operands<'a> {
    geometry: &'a Geometry,
    /// As [`winograd::plain_place`] says.
    weights: &'a [i8],
    packed: &'a mut [i16],
    biases: &'a [[i32; CHANNELS]; 2],
    scratch: &'a mut [i32],
    /// Of output channels: one, of weights that are transformed beforehand, or two, of those that are when they are used.
    groups: usize,
}

impl Operands<'_> {
    /// Both kinds of sums, a group's channels, and scratch.
    fn sums<I: Isa, X>(
        &mut self,
        input: &Maps<'_, X>,
    ) -> (WinogradSums<'_, i16>, WinogradSums<'_, i8>, usize, &mut [i32]) {
        let (geometry, packing) = (*self.geometry, I::WIDE);
        let out_c = geometry.output.channels;
        let packed = self.packed.get_mut(..winograd::packed_len(&packing, &geometry)).unwrap_or_default();
        transform::<I>(&geometry, self.weights, packed);
        let [steps, classes] = self.biases.each_ref().map(|row| row.get(..out_c).unwrap_or_default());
        let (bias, channels, zero_points) = (Bias { steps, classes }, input.channels, input.zero_points);
        let plain = self.weights.get(..winograd::plain_len(&geometry)).unwrap_or_default();
        let group = out_c.div_ceil(packing.channels).div_ceil(self.groups) * packing.channels;
        let words = winograd::scratch_words(&packing, &geometry, (self.groups > 1).then_some(group));
        self.scratch.fill(i32::MIN);
        (
            WinogradSums { geometry, channels, zero_points, weights: packed, bias },
            WinogradSums { geometry, channels, zero_points, weights: plain, bias },
            group,
            self.scratch.get_mut(..words).unwrap_or_default(),
        )
    }

    /// All rows, or some alone.
    fn int8<I: Isa, X: Code>(
        &mut self,
        input: Maps<'_, X>,
        epilogue: &Epilogue<'_>,
        residual: Residual<'_, i8>,
        rows: Option<[usize; 2]>,
        output: &mut [i8],
    ) -> Result<(), Difference> {
        let (geometry, groups) = (*self.geometry, self.groups);
        let (sums, plain, group, scratch) = self.sums::<I, X>(&input);
        let epilogue = *epilogue;
        let in_flash = WinogradInt8 { sums, epilogue }.proved::<I>().map_err(|_| UNPROVED)?;
        let in_ram = WinogradInRamInt8 { sums: plain, epilogue, group }.proved::<I>().map_err(|_| UNPROVED)?;
        let read = rows.zip(X::bytes(input.maps[0])).and_then(|(rows, map)| {
            let (row, [first, end]) = (geometry.input.width * geometry.input.channels, geometry.rows(rows).1);
            Some((rows, map.get(first * row..end * row)?))
        });
        match (read, groups) {
            (Some((rows, map)), 1) => in_flash.rows::<I>(rows, CONDITION, map, residual, scratch, output),
            (Some((rows, map)), _) => in_ram.rows::<I>(rows, CONDITION, map, residual, scratch, output),
            (None, 1) => in_flash.run::<I, X>(CONDITION, input.maps, residual, scratch, output),
            (None, _) => in_ram.run::<I, X>(CONDITION, input.maps, residual, scratch, output),
        }
        Ok(())
    }

    fn fine<I: Isa, X: Code, R: Code, Y: Code>(
        &mut self,
        input: Maps<'_, X>,
        epilogue: &FineEpilogue<'_>,
        residual: Residual<'_, R>,
        output: &mut [Y],
    ) -> Result<(), Difference> {
        let groups = self.groups;
        let (sums, plain, group, scratch) = self.sums::<I, X>(&input);
        let epilogue = *epilogue;
        if groups == 1 {
            let layer = WinogradFine { sums, epilogue }.proved::<I>().map_err(|_| UNPROVED)?;
            layer.run::<I, X, R, Y>(CONDITION, input.maps, residual, scratch, output);
        } else {
            let layer = WinogradInRamFine { sums: plain, epilogue, group }.proved::<I>().map_err(|_| UNPROVED)?;
            layer.run::<I, X, R, Y>(CONDITION, input.maps, residual, scratch, output);
        }
        Ok(())
    }
}

/// A map of fine codes, and residuals.
fn fill_fine(random: &mut Random, room: &mut Room) {
    random.fill_bytes(&mut room.residual);
    random.fill(&mut room.wide_map, [-2048, 2047], |bits| (bits >> 20) as i16 - 2048);
}

/// One map of fine codes, or two, with any zero points.
fn fine_input<'a>(random: &mut Random, map: &'a [i16], geometry: &Geometry) -> Maps<'a, i16> {
    let channels = split(random, geometry);
    let pixels = geometry.input.height * geometry.input.width;
    let (first, rest) = map.split_at_checked(pixels * channels[0]).unwrap_or_default();
    let second = rest.get(..pixels * channels[1]).unwrap_or_default();
    Maps { maps: [first, second], channels, zero_points: zero_points(random) }
}

/// The transformation of weights by itself.
///
/// # Errors
/// The first element that differs.
pub fn check_weights<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let geometry = draw_weights::<I>(random, room, draw);
    let plain = room.weights.get(..winograd::plain_len(&geometry)).unwrap_or_default();
    let packed = room.wide.get_mut(..winograd::packed_len(&I::WIDE, &geometry)).unwrap_or_default();
    packed.fill(i16::MIN);
    I::winograd_weights(&geometry, plain, packed);
    for out_channel in 0..geometry.output.channels {
        for in_channel in 0..geometry.input.channels {
            let expected = kernel(&geometry, plain, out_channel, in_channel);
            for (position, expected) in expected.iter().enumerate().take(winograd::positions(geometry.upsample)) {
                let index = winograd::place(&I::WIDE, &geometry, position, out_channel, in_channel);
                let found = packed.get(index).copied().unwrap_or_default();
                compare(&[*expected], &[found], i32::from)?;
            }
        }
    }
    Ok(())
}

/// Fills weights, in the order of those that are transformed when they are used, for a random geometry.
fn draw_weights<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Geometry {
    let geometry = shapes::fitting(random, draw, |geometry| {
        shapes::winograd_fits(geometry, &I::WIDE) && shapes::winograd_fits(geometry, &Portable::WIDE)
    });
    random.fill_bytes(&mut room.weights);
    // What fills up to whole quadruples is 0.
    let quads = geometry.input.channels.div_ceil(4).max(1);
    for (quad, weights) in room.weights.chunks_exact_mut(4 * 9).enumerate() {
        let first = quad.checked_rem(quads).unwrap_or_default() * 4;
        for weights in weights.chunks_exact_mut(4) {
            let rest = geometry.input.channels.saturating_sub(first);
            weights.iter_mut().skip(rest).for_each(|weight| *weight = 0);
        }
    }
    geometry
}

/// A kernel's u.
fn kernel(geometry: &Geometry, plain: &[i8], out_channel: usize, in_channel: usize) -> [i16; winograd::MAX_POSITIONS] {
    let tap = |tap: usize| {
        let index = winograd::plain_place(geometry, tap, out_channel, in_channel);
        i16::from(plain.get(index).copied().unwrap_or_default())
    };
    let taps = [0, 3, 6].map(|row| [0, 1, 2].map(|column| tap(row + column)));
    winograd::transform(taps, geometry.upsample)
}

fn transform<I: Isa>(geometry: &Geometry, plain: &[i8], packed: &mut [i16]) {
    packed.fill(0);
    for out_channel in 0..geometry.output.channels {
        for in_channel in 0..geometry.input.channels {
            let u = kernel(geometry, plain, out_channel, in_channel);
            for (position, u) in u.into_iter().enumerate().take(winograd::positions(geometry.upsample)) {
                if let Some(weight) =
                    packed.get_mut(winograd::place(&I::WIDE, geometry, position, out_channel, in_channel))
                {
                    *weight = u;
                }
            }
        }
    }
}
