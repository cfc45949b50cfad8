//! Winograd's method.

use grano::isa::winograd::{self, Winograd};
use grano::isa::{Isa, Portable, ToInt8};
use grano::kernel::{Geometry, Residual};
use grano::maps::Maps;

use crate::compare;
use crate::conv2d::{epilogue, fill_biases, input_of, split, zero_points};
use crate::random::Random;
use crate::room::Room;
use crate::shapes;

/// Transformed weights, all output channels or two groups of them.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), (usize, i32, i32)> {
    let geometry = draw_weights::<I>(random, room);
    fill_biases(random, room);
    let channels = split(random, &geometry);
    let epilogue = epilogue(random, geometry.output.channels);
    let [first, second] = &mut room.maps;
    random.fill_bytes(first);
    random.fill_bytes(second);
    random.fill_bytes(&mut room.residual);
    let maps = Maps { maps: [&*first, &*second].map(|map| &map[..]), channels, zero_points: zero_points(random) };
    let input = input_of(maps, &geometry);
    let out_c = geometry.output.channels;
    let biases = room.biases.each_ref().map(|row| row.get(..out_c).unwrap_or_default());
    let (len, residuals, groups) = (geometry.output.len(), random.below(3), random.within(1, 2));
    let [expected, found] = &mut room.outputs;
    for (output, portable) in [(expected, true), (found, false)] {
        let residual = match residuals {
            0 => Residual::None,
            1 => Residual::InOutput,
            _ => Residual::From(room.residual.get(..len).unwrap_or_default()),
        };
        output.copy_from_slice(&room.residual);
        let finish = ToInt8 { epilogue: &epilogue, residual };
        let output = output.get_mut(..len).unwrap_or_default();
        let packing = if portable { Portable::WIDE } else { I::WIDE };
        let packed = room.wide.get_mut(..winograd::packed_len(&packing, &geometry)).unwrap_or_default();
        if portable {
            transform::<Portable>(&geometry, &room.weights, packed);
        } else {
            transform::<I>(&geometry, &room.weights, packed);
        }
        let blocks = out_c.div_ceil(packing.channels);
        let cut = if groups == 1 { blocks } else { blocks.div_ceil(2) };
        let len = cut * winograd::block_len(&packing, &geometry);
        let Some((one, other)) = packed.split_at_checked(len) else { return Err((len, 0, 0)) };
        let at = (cut * packing.channels).min(out_c);
        for (weights, first, count) in [(one, 0, at), (other, at, out_c - at)] {
            let winograd = Winograd { geometry: &geometry, first, count, weights, biases, input };
            room.scratch.fill(i32::MIN);
            let words = winograd::scratch_words(&packing, &geometry, None);
            let scratch = room.scratch.get_mut(..words).unwrap_or_default();
            if portable {
                Portable::winograd(&winograd, &finish, scratch, output);
            } else {
                I::winograd(&winograd, &finish, scratch, output);
            }
        }
    }
    let [expected, found] = &room.outputs;
    compare(expected, found, i32::from)
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
