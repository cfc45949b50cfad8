//! Depthwise convolutions.

use grano::isa::{Isa, Portable};
use grano::kernel::{Bias, DepthwiseInt8, Residual};

use crate::conv2d::{CONDITION, epilogue, fill_biases, zero_points};
use crate::random::Random;
use crate::room::{MAP, Room, WEIGHTS};
use crate::shapes::{self, Draw};
use crate::{Difference, UNPROVED, compare};

/// With and without a residual.
///
/// # Errors
/// The first element that differs.
pub fn check<I: Isa>(random: &mut Random, room: &mut Room, draw: Draw) -> Result<(), Difference> {
    let mut geometry = shapes::fitting(random, draw, |geometry| {
        let pixels = geometry.output.height * geometry.output.width;
        geometry.input.len() <= MAP && pixels * geometry.input.channels <= MAP && geometry.patch_len() <= WEIGHTS
    });
    geometry.output.channels = geometry.input.channels;
    let (channels, len) = (geometry.input.channels, geometry.output.len());
    fill_biases(random, room);
    random.fill_weights(&mut room.weights);
    random.fill_bytes(&mut room.maps[0]);
    random.fill_bytes(&mut room.residual);
    let epilogue = epilogue(random, channels);
    let [steps, classes] = room.biases.each_ref().map(|row| row.get(..channels).unwrap_or_default());
    let depthwise = DepthwiseInt8 {
        geometry,
        zero_point: zero_points(random)[0],
        weights: room.weights.get(..geometry.patch_len()).unwrap_or_default(),
        bias: Bias { steps, classes },
        epilogue,
    };
    let depthwise = depthwise.proved().map_err(|_| UNPROVED)?;
    let input = room.maps[0].get(..geometry.input.len()).unwrap_or_default();
    let with_residual = random.one_in(3);
    let [expected, found] = &mut room.outputs;
    for (output, portable) in [(&mut *expected, true), (&mut *found, false)] {
        let output = output.get_mut(..len).unwrap_or_default();
        let map = room.residual.get(..len).unwrap_or_default();
        let residual = if with_residual { Residual::From(map) } else { Residual::None };
        if portable {
            depthwise.run::<Portable>(CONDITION, input, residual, output);
        } else {
            depthwise.run::<I>(CONDITION, input, residual, output);
        }
    }
    compare(expected.get(..len).unwrap_or_default(), found, i32::from)
}
