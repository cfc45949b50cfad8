//! How a map that no head hands out leaves the network.

use super::proved::{Proved, provable, require};
use super::stream::Put;
use crate::maps::Code;
use crate::real::Real;

/// int8, int16, f16 or f32 map → f32, in strips: `scale · (q − zero_point)` of codes, in one product; floats as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Store {
    /// The value of a unit.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i32,
}

provable! {
    [] Store;
}

impl Store {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.scale > 0.0 && self.scale.is_finite(), "the scale is above 0 and finite");
        Ok(())
    }
}

impl Proved<Store> {
    /// Hands a map of codes out, as many elements at a time as the strip has.
    pub fn codes<X: Code>(&self, input: &[X], strip: &mut [f32], put: Put<'_>) {
        let Store { scale, zero_point } = *self.parameters();
        hand_out(input, strip, put, |code| scale * i32::from((*code).into()).wrapping_sub(zero_point) as f32);
    }

    /// Hands a map of floats out, as many elements at a time as the strip has.
    pub fn floats<X: Real>(&self, input: &[X], strip: &mut [f32], put: Put<'_>) {
        hand_out(input, strip, put, |value| value.to_f32());
    }
}

fn hand_out<X>(input: &[X], strip: &mut [f32], put: Put<'_>, value: impl Fn(&X) -> f32) {
    let len = strip.len().max(1);
    for (index, values) in input.chunks(len).enumerate() {
        let Some(strip) = strip.get_mut(..values.len()) else { return };
        strip.iter_mut().zip(values).for_each(|(out, input)| *out = value(input));
        put(index * len, strip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn strips_of_any_length_are_the_whole_map() {
        let store = Store { scale: 0.5, zero_point: -3 }.checked();
        let codes: Vec<i8> = (0..11).map(|i| i * 20 - 100).collect();
        let expected: Vec<f32> = codes.iter().map(|code| 0.5 * (f32::from(*code) + 3.0)).collect();
        for len in 1..=12 {
            let (mut strip, mut all) = (vec![0.0; len], vec![f32::NAN; 11]);
            store.codes(&codes, &mut strip, &mut |first, values| all[first..][..values.len()].copy_from_slice(values));
            assert_eq!(all, expected);
        }
        let mut all = Vec::new();
        store.floats(&[f16::ONE, f16::from_f32(-2.0)], &mut [0.0], &mut |_, values| all.extend_from_slice(values));
        assert_eq!(all, [1.0, -2.0]);
        store.codes(&codes, &mut [], &mut |_, _| panic!("there is no room for a strip"));
    }
}
