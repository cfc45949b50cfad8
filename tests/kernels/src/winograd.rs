//! Winograd's method.

use core::marker::PhantomData;

use grano::isa::winograd::{self, Winograd};
use grano::isa::{Finish, Isa, Portable, ToCode, ToInt8};
use grano::kernel::{Geometry, Residual};
use grano::maps::{Code, Maps};

use crate::compare;
use crate::conv2d::{epilogue, fill_biases, fine_epilogue, input_of, split, zero_points};
use crate::random::Random;
use crate::room::{CHANNELS, Room};
use crate::shapes;

/// int8 to int8: transformed weights, all output channels or two groups of them.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), (usize, i32, i32)> {
    let geometry = draw_weights::<I>(random, room);
    fill_biases(random, room);
    let channels = split(random, &geometry);
    let epilogue = epilogue(random, geometry.output.channels);
    random.fill_bytes(room.maps.as_flattened_mut());
    random.fill_bytes(&mut room.residual);
    let Room { weights, wide, maps, residual: added, biases, scratch, outputs: [expected, found], .. } = room;
    let maps = Maps { maps: maps.each_ref().map(|map| &map[..]), channels, zero_points: zero_points(random) };
    let input = input_of(maps, &geometry);
    let (len, residuals, groups) = (geometry.output.len(), random.below(3), random.within(1, 2));
    let mut operands = Operands { geometry: &geometry, weights, packed: wide, biases, scratch, groups };
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let residual = match residuals {
            0 => Residual::None,
            1 => Residual::InOutput,
            _ => Residual::From(added.get(..len).unwrap_or_default()),
        };
        output.copy_from_slice(added);
        let finish = ToInt8 { epilogue: &epilogue, residual };
        operands.run::<I, _, _>(portable, input, &finish, output.get_mut(..len).unwrap_or_default())?;
    }
    compare(expected, found, i32::from)
}

/// Fine codes to int8.
///
/// # Errors
/// The first element that differs.
pub fn check_of_fine<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), (usize, i32, i32)> {
    let geometry = draw_weights::<I>(random, room);
    fill_biases(random, room);
    let epilogue = epilogue(random, geometry.output.channels);
    fill_fine(random, room);
    let Room { weights, wide, wide_map, residual: added, biases, scratch, outputs: [expected, found], .. } = room;
    let input = fine_input(random, wide_map, &geometry);
    let (len, adds, groups) = (geometry.output.len(), random.one_in(2), random.within(1, 2));
    let mut operands = Operands { geometry: &geometry, weights, packed: wide, biases, scratch, groups };
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let residual = if adds { Residual::From(&added[..]) } else { Residual::None };
        let finish = ToInt8 { epilogue: &epilogue, residual };
        operands.run::<I, _, _>(portable, input, &finish, output.get_mut(..len).unwrap_or_default())?;
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)
}

/// int8 or fine codes to fine codes, without a residual, and with one of int8, of int16 and in the output's place.
///
/// # Errors
/// The first element that differs.
pub fn check_to_fine<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), (usize, i32, i32)> {
    let geometry = draw_weights::<I>(random, room);
    fill_biases(random, room);
    let epilogue = fine_epilogue(random, geometry.output.channels);
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
    let mut run = |portable: bool, residual: Residual<'_, i16>, output: &mut [i16]| {
        let finish = ToCode { epilogue: &epilogue, residual, output: PhantomData };
        if reads_fine {
            operands.run::<I, _, _>(portable, fine, &finish, output)
        } else {
            operands.run::<I, _, _>(portable, narrow, &finish, output)
        }
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
    let [expected, found] = &mut room.outputs;
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let finish = ToCode { epilogue: &epilogue, residual: Residual::From(&residual[..]), output: PhantomData };
        let output: &mut [i8] = output.get_mut(..len).unwrap_or_default();
        operands.run::<I, _, _>(portable, fine, &finish, output)?;
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)
}

/// A convolution but for its maps and its last step, and the room that it takes.
struct Operands<'a> {
    geometry: &'a Geometry,
    weights: &'a [i8],
    packed: &'a mut [i16],
    biases: &'a [[i32; CHANNELS]; 2],
    scratch: &'a mut [i32],
    /// Of output channels, one or two.
    groups: usize,
}

impl Operands<'_> {
    /// By the definition or with the instruction set.
    fn run<I: Isa, X: Code, F: Finish>(
        &mut self,
        portable: bool,
        input: Maps<'_, X>,
        finish: &F,
        output: &mut [F::Element],
    ) -> Result<(), (usize, i32, i32)> {
        if portable {
            self.compute::<Portable, X, F>(input, finish, output)
        } else {
            self.compute::<I, X, F>(input, finish, output)
        }
    }

    fn compute<I: Isa, X: Code, F: Finish>(
        &mut self,
        input: Maps<'_, X>,
        finish: &F,
        output: &mut [F::Element],
    ) -> Result<(), (usize, i32, i32)> {
        let (geometry, packing) = (self.geometry, I::WIDE);
        let out_c = geometry.output.channels;
        let biases = self.biases.each_ref().map(|row| row.get(..out_c).unwrap_or_default());
        let packed = self.packed.get_mut(..winograd::packed_len(&packing, geometry)).unwrap_or_default();
        transform::<I>(geometry, self.weights, packed);
        let blocks = out_c.div_ceil(packing.channels);
        let cut = blocks.div_ceil(self.groups);
        let len = cut * winograd::block_len(&packing, geometry);
        let Some((one, other)) = packed.split_at_checked(len) else { return Err((len, 0, 0)) };
        let at = (cut * packing.channels).min(out_c);
        for (weights, first, count) in [(one, 0, at), (other, at, out_c - at)] {
            let winograd = Winograd { geometry, first, count, weights, biases, input };
            self.scratch.fill(i32::MIN);
            let words = winograd::scratch_words(&packing, geometry, None);
            I::winograd(&winograd, finish, self.scratch.get_mut(..words).unwrap_or_default(), output);
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
pub fn check_weights<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), (usize, i32, i32)> {
    let geometry = draw_weights::<I>(random, room);
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
fn draw_weights<I: Isa>(random: &mut Random, room: &mut Room) -> Geometry {
    let geometry = shapes::fitting(random, shapes::for_winograd, |geometry| {
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
