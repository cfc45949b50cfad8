//! The sum of two maps.

use grano::isa::{Isa, Portable};
use grano::kernel::{AddInt8, Residual};

use crate::random::Random;
use crate::room::{MAP, Room};
use crate::{Difference, UNPROVED, compare};

/// Maps of any length and alignment, in place and not.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room) -> Result<(), Difference> {
    let factor = |random: &mut Random| random.within(0, 60_000) as i32 - 30_000;
    let add = AddInt8 {
        multipliers: [factor(random), factor(random)],
        bias: random.bits() as i32 >> 10,
        shift: random.below(7) as u32,
        multiplier: (random.bits() >> random.within(1, 18)) as i32 & !1 | 2,
        zero_point: random.below(256) as i32 - 128,
    };
    let add = add.proved().map_err(|_| UNPROVED)?;
    let [a, b] = &mut room.maps;
    random.fill_bytes(a);
    random.fill_bytes(b);
    let [start, len, in_place] = [random.below(8), random.within(1, MAP - 8), random.below(2)];
    let [a, b] = [&*a, &*b].map(|map| map.get(start..start + len).unwrap_or_default());
    let [expected, found] = &mut room.outputs;
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let output = output.get_mut(..len).unwrap_or_default();
        output.iter_mut().zip(b).for_each(|(out, b)| *out = *b);
        let b = if in_place == 0 { Residual::From(b) } else { Residual::InOutput };
        if portable {
            add.run::<Portable>(a, b, output);
        } else {
            add.run::<I>(a, b, output);
        }
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)
}
