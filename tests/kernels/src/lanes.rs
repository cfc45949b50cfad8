//! What normalisation and attention do to a map: sums of its channels, plain and weighted, and a factor and an offset for
//! each.

use grano::isa::{Isa, Portable};

use crate::random::Random;
use crate::room::{CHANNELS, MAP, Room, TABLE};
use crate::{Difference, compare};

/// Sums and squares, weighted sums of some channels, then factors and offsets, saturating or through a table.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), Difference> {
    let channels = random.within(1, CHANNELS);
    let map_len = channels * random.below(MAP / channels + 1);
    random.fill_bytes(&mut room.residual);
    let map = room.residual.get(..map_len).unwrap_or_default();
    let mut totals = [[[0; CHANNELS]; 2]; 2];
    for (portable, [sums, squares]) in totals.iter_mut().enumerate() {
        let sums = sums.get_mut(..channels).unwrap_or_default();
        let squares = squares.get_mut(..channels).unwrap_or_default();
        if portable > 0 { Portable::channel_sums(map, sums, squares) } else { I::channel_sums(map, sums, squares) }
    }
    let [found, expected] = &totals;
    compare(expected.as_flattened(), found.as_flattened(), |sum| sum)?;

    // Groups of any divisor of the channels.
    let len =
        channels / (1..=random.within(1, channels)).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
    for (portable, [sums, squares]) in totals.iter_mut().enumerate() {
        let sums = sums.get_mut(..channels).unwrap_or_default();
        let squares = squares.get_mut(..channels).unwrap_or_default();
        if portable > 0 {
            Portable::group_sums(map, len, sums, squares)
        } else {
            I::group_sums(map, len, sums, squares)
        }
        for (channel, (sum, square)) in sums.iter_mut().zip(squares).enumerate() {
            if !channel.is_multiple_of(len) {
                (*sum, *square) = (0, 0);
            }
        }
    }
    let [found, expected] = &totals;
    compare(expected.as_flattened(), found.as_flattened(), |sum| sum)?;

    let (mut weights, mut totals) = ([0; CHANNELS], [[0; CHANNELS]; 2]);
    weights.iter_mut().for_each(|weight| *weight = (random.bits() as i32) >> 16);
    let weights = weights.get(..random.below(CHANNELS)).unwrap_or_default();
    let (start, count) = (random.below(channels), map_len / channels);
    let weights = weights.get(..count).unwrap_or(weights);
    let values = map.get(start..).unwrap_or_default();
    let [found, expected] = totals.each_mut().map(|totals| totals.get_mut(..channels - start).unwrap_or_default());
    Portable::weighted_sums(weights, values, channels, expected);
    I::weighted_sums(weights, values, channels, found);
    compare(expected, found, |sum| sum)?;

    let (mut factors, mut offsets) = ([0; CHANNELS], [0; CHANNELS]);
    factors.iter_mut().for_each(|factor| *factor = (random.bits() as i32) >> 8);
    offsets.iter_mut().for_each(|offset| *offset = (random.bits() as i32) >> 2);
    let factors = factors.get(..channels).unwrap_or_default();
    let offsets = offsets.get(..channels).unwrap_or_default();
    let table = random.one_in(2).then_some(&TABLE);
    let [expected, found] = &mut room.outputs;
    for output in [&mut *expected, &mut *found] {
        output.copy_from_slice(&room.residual);
    }
    Portable::affine(factors, offsets, table, expected.get_mut(..map_len).unwrap_or_default());
    I::affine(factors, offsets, table, found.get_mut(..map_len).unwrap_or_default());
    compare(expected, found, i32::from)
}
