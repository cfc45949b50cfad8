//! Weights of two channels that alternate, as the loops read them.
//!
//! Where the first channel's weight a is negative, the second's, b, is stored less 1: a byte pair is then the int16
//! 256·b + a. So SMLAD takes two of these as they lie, and makes 256·B + A of the sums A and B of both channels; A it
//! makes of what SXTB16 leaves, and B is half their difference, shifted.

use crate::conditioning::at;

/// See [`crate::isa::Isa::recode`]. No weight is −128.
#[inline]
pub(super) fn recode(packed: &mut [i8]) {
    for [a, b] in packed.as_chunks_mut().0 {
        *b = b.wrapping_sub(i8::from(*a < 0));
    }
}

/// The weight of a channel and a tap at place `place` of [`crate::isa::Packing::place`].
#[inline(always)]
pub(super) fn weight(packed: &[i8], place: usize) -> i8 {
    let weight = at(packed, place);
    let less = place % 2 == 1 && at(packed, place.wrapping_sub(1)) < 0;
    weight.wrapping_add(i8::from(less))
}

/// See [`crate::isa::Isa::dot`].
#[cfg(not(target_arch = "arm"))]
#[inline]
pub(super) fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
    let packing = <super::Dsp as crate::isa::Isa>::PACKING;
    let mut plain = [0; 4];
    sums.fill(0);
    for (step, columns) in columns.chunks_exact(packing.pixels * packing.depth).enumerate() {
        for (place, weight) in plain.iter_mut().enumerate() {
            *weight = self::weight(weights, step * packing.channels * packing.depth + place);
        }
        for (column, sums) in columns.chunks_exact(packing.depth).zip(sums.chunks_exact_mut(packing.channels)) {
            for (channel, sum) in sums.iter_mut().enumerate() {
                for (tap, value) in column.iter().enumerate() {
                    let weight = at(&plain, packing.place_in_step(channel, tap));
                    *sum = sum.wrapping_add(i32::from(weight) * i32::from(*value));
                }
            }
        }
    }
}
