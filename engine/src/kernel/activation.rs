//! An activation by itself, where it cannot be fused into the layer before.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable};
use crate::real::{Activation, Real};
use crate::residual::Residual;

/// `out = table[in + 128]`, element by element.
#[derive(Clone, Copy, Debug)]
pub struct ActivationInt8<'a> {
    /// The function, both scales and zero points included.
    pub table: &'a [i8; 256],
}

impl ActivationInt8<'_> {
    /// Any parameters will do.
    const fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Proved<ActivationInt8<'_>> {
    /// Applies it to `input`, which may lie in the output.
    pub fn run(&self, input: Residual<'_, i8>, output: &mut [i8]) {
        let lens = Lens::equal(output.len(), 0);
        let Some(Buffers { residual: input, output, .. }) = fit(lens, [&[0i8; 0]; 2], input, [0; 2], output) else {
            return;
        };
        for (index, out) in output.iter_mut().enumerate() {
            let code = input.at(index, *out);
            *out = self.parameters().table[usize::from(code as u8 ^ 0x80)];
        }
    }
}

/// `out = activation(in)` in f32, rounded to the stored type, element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationFloat {
    /// The function.
    pub activation: Activation,
}

impl ActivationFloat {
    /// Any parameters will do.
    const fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Proved<ActivationFloat> {
    /// Applies it to `input`, which may lie in the output.
    pub fn run<T: Real>(&self, input: Residual<'_, T>, output: &mut [T]) {
        let lens = Lens::equal(output.len(), 0);
        let Some(Buffers { residual: input, output, .. }) = fit(lens, [&[0i8; 0]; 2], input, [0; 2], output) else {
            return;
        };
        for (index, out) in output.iter_mut().enumerate() {
            *out = T::from_f32(self.parameters().activation.apply(input.at(index, *out).to_f32()));
        }
    }
}

provable! {
    ['a] ActivationInt8<'a>;
    [] ActivationFloat;
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn int8_looks_up_every_value() {
        static TABLE: [i8; 256] = {
            let mut table = [0; 256];
            let mut i = 0;
            while i < 256 {
                table[i] = (i as i32 * 37 % 256 - 128) as i8;
                i += 1;
            }
            table
        };
        let input: [i8; 256] = core::array::from_fn(|i| i as u8 as i8);
        let mut output = [0; 256];
        ActivationInt8 { table: &TABLE }.checked().run(Residual::From(&input), &mut output);
        for (x, y) in input.into_iter().zip(output) {
            assert_eq!(y, TABLE[(i32::from(x) + 128) as usize]);
        }
        let mut in_place = input;
        ActivationInt8 { table: &TABLE }.checked().run(Residual::InOutput, &mut in_place);
        assert_eq!(in_place, output);
    }

    #[test]
    fn floats_in_place_or_not() {
        let kernel = ActivationFloat { activation: Activation::Silu }.checked();
        let input = [-2.0, 0.0, 3.0].map(f16::from_f32);
        let mut output = [f16::ONE; 3];
        kernel.run(Residual::From(&input), &mut output);
        assert_eq!(output, [-0.238_405_84, 0.0, 2.857_722_3].map(f16::from_f32));
        let mut in_place = input;
        kernel.run(Residual::InOutput, &mut in_place);
        assert_eq!(in_place, output);
    }
}
