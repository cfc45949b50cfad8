//! Attention on int8 maps.

use grano::Shape;
use grano::isa::{Isa, Portable};
use grano::kernel::{AttentionInt8, EXP_LEN, ExpTable, Residual};

use crate::random::Random;
use crate::room::{CHANNELS, MAP, Room, SCRATCH};
use crate::{Difference, UNPROVED, compare};

/// An exponential that reaches 0, in a range that sums of most maps can hold.
static EXP: ExpTable = {
    let (mut table, mut value, mut i) = ([0; EXP_LEN], 32767 << 8, 0);
    while i < EXP_LEN {
        table[i] = (value >> 8) as i16;
        value -= value / 40;
        i += 1;
    }
    table
};

/// Any number of positions, heads and channels of a head.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), Difference> {
    let fits = |shape: Shape, heads| {
        let words = AttentionInt8::scratch_words::<I>(shape, heads);
        shape.len() <= MAP && words.max(AttentionInt8::scratch_words::<Portable>(shape, heads)) <= SCRATCH
    };
    let draw = |random: &mut Random| {
        let (heads, wide) = (random.within(1, 4), random.one_in(3));
        let channels = heads * random.within(1, if wide { CHANNELS } else { 17 });
        let most = (MAP / channels).max(1);
        let [height, width] = [random.within(1, 3), random.within(1, if wide { most } else { 20 })];
        (Shape { height, width, channels }, heads)
    };
    let one = (Shape { height: 1, width: 1, channels: 1 }, 1);
    let (shape, heads) = (0..100).map(|_| draw(random)).find(|(shape, heads)| fits(*shape, *heads)).unwrap_or(one);
    let shift = random.below(3) as u32;
    // Steps of some entries of the table between scores, or of many.
    let multiplier = ((random.bits() >> 1 >> random.within(1, 20)) as i32 | 1) * 2;
    let attention = AttentionInt8 {
        shape,
        heads,
        q_zero_point: random.below(256) as i32 - 128,
        shift,
        multiplier: multiplier & (i32::MAX - 1),
        exp: &EXP,
        ratio: random.within(1, 1 << 12) as f32 * (1u64 << 32) as f32,
        offset: random.bits() as i32 >> random.within(1, 20),
    };
    let attention = attention.proved().map_err(|_| UNPROVED)?;
    let len = shape.len();
    random.fill_bytes(&mut room.residual);
    room.maps.iter_mut().for_each(|map| random.fill_bytes(map));
    let [keys, values] = room.maps.each_ref().map(|map| map.get(..len).unwrap_or_default());
    let [expected, found] = room.outputs.each_mut().map(|output| output.get_mut(..len).unwrap_or_default());
    let queries = room.residual.get(..len).unwrap_or_default();
    let scratch = room.scratch.get_mut(..attention.scratch_len::<Portable>()).unwrap_or_default();
    attention.run::<Portable>(Residual::From(queries), keys, values, scratch, expected);
    let scratch = room.scratch.get_mut(..attention.scratch_len::<I>()).unwrap_or_default();
    if random.one_in(2) {
        found.copy_from_slice(queries);
        attention.run::<I>(Residual::InOutput, keys, values, scratch, found);
    } else {
        attention.run::<I>(Residual::From(queries), keys, values, scratch, found);
    }
    compare(expected, found, i32::from)
}
