//! Random geometries: odd channels and sizes, height 1, kernels to 9×9, strides, paddings, enlargement.

use grano::isa::{Isa, Packing, winograd};
use grano::kernel::Geometry;
use grano::shape::Shape;

use crate::random::Random;
use crate::room::{CHANNELS, MAP, PACKED, SCRATCH, WEIGHTS};

/// Draws a geometry.
pub type Draw = fn(&mut Random) -> Geometry;

/// Draws until one fits the buffers; a 1×1 map when none does.
pub fn fitting(random: &mut Random, draw: Draw, fits: impl Fn(&Geometry) -> bool) -> Geometry {
    let one = Shape { height: 1, width: 1, channels: 1 };
    let smallest =
        Geometry { input: one, output: one, kernel: [3; 2], stride: [1; 2], padding: [1; 2], upsample: [1; 2] };
    (0..100).map(|_| draw(random)).find(fits).unwrap_or(smallest)
}

/// Whether a convolution fits for an instruction set.
#[must_use]
#[inline(always)]
pub fn fits<I: Isa>(geometry: &Geometry) -> bool {
    maps_fit(geometry) && I::PACKING.packed_len(geometry) <= PACKED && I::scratch_words(geometry) <= SCRATCH
}

/// Whether a Winograd convolution fits for a packing.
#[must_use]
#[inline(always)]
pub fn winograd_fits(geometry: &Geometry, packing: &Packing) -> bool {
    maps_fit(geometry)
        && winograd::packed_len(packing, geometry) <= PACKED
        && winograd::plain_len(geometry) <= WEIGHTS
        && winograd::scratch_words(packing, geometry, Some(geometry.output.channels)) <= SCRATCH
}

fn maps_fit(geometry: &Geometry) -> bool {
    let Geometry { input, output, .. } = geometry;
    let weights = geometry.patch_len() * output.channels;
    input.len() <= MAP && output.len() <= MAP && output.channels <= CHANNELS && weights <= WEIGHTS && !output.is_empty()
}

/// Of any kind.
pub fn any(random: &mut Random) -> Geometry {
    let channels = [random.within(1, 20), random.within(1, 12)];
    let one_dimensional = random.one_in(6);
    let [height, width] = [0, 1].map(|axis| {
        let flat = one_dimensional && axis == 0;
        let [len, kernel] = [random.within(1, 9), random.within(1, 5)].map(|most| if flat { 1 } else { most });
        Axis {
            len,
            kernel,
            stride: random.within(1, 2),
            upsample: if flat { 1 } else { random.within(1, 2) },
            padding: [random.below(kernel), random.below(kernel)],
        }
    });
    join([height, width], channels)
}

/// Few outputs of many channels, up to 1,024, by kernels up to 9×9, on maps of a few pixels.
pub fn wide(random: &mut Random) -> Geometry {
    let most = [9, 70, 140, 300, 1024][random.below(5)];
    let channels = [random.within(1 + most / 2, most), random.within(1, 5)];
    let axes = [0, 1].map(|_| {
        let kernel = if random.one_in(2) { 1 } else { random.within(1, 9) };
        let [len, stride, upsample] = [random.within(1, 4), random.within(1, 3), random.within(1, 2)];
        Axis { len, kernel, stride, upsample, padding: [random.below(kernel), random.below(kernel)] }
    });
    join(axes, channels)
}

/// 3×3 with the usual padding, strides of 1 and 2.
pub fn three_by_three(random: &mut Random) -> Geometry {
    let channels = [random.within(1, 24), random.within(1, 9)];
    let stride = random.within(1, 2);
    let axes = [0, 1].map(|_| Axis { len: random.within(1, 12), kernel: 3, stride, upsample: 1, padding: [1; 2] });
    join(axes, channels)
}

/// 3×3 to one channel or from one, from or to whole groups of them.
pub fn three_by_three_thin(random: &mut Random) -> Geometry {
    let channels = if random.one_in(2) { [8 * random.within(1, 4), 1] } else { [1, 4 * random.within(1, 9)] };
    let axes = [1, 18].map(|most| Axis {
        len: random.within(1, 6 + most),
        kernel: 3,
        stride: 1,
        upsample: 1,
        padding: [1; 2],
    });
    join(axes, channels)
}

/// 3×3 at stride 1 with whole quadruples of channels.
pub fn three_by_three_quads(random: &mut Random) -> Geometry {
    let channels = [4 * random.within(1, 5), 1];
    let axes = [0, 1].map(|_| Axis { len: random.within(1, 9), kernel: 3, stride: 1, upsample: 1, padding: [1; 2] });
    join(axes, channels)
}

/// So many taps that sums of int8 need most of int32's bits; 3×3, and now and then of one pixel.
pub fn deep(random: &mut Random) -> Geometry {
    if random.one_in(3) {
        let axes = [0, 1].map(|_| Axis { len: 1, kernel: 1, stride: 1, upsample: 1, padding: [0; 2] });
        return join(axes, [random.within(500, 580), random.within(1, 7)]);
    }
    let channels = [random.within(56, 64), random.within(1, 7)];
    join(
        [0, 1].map(|_| Axis { len: random.within(1, 4), kernel: 3, stride: 1, upsample: 1, padding: [1; 2] }),
        channels,
    )
}

/// 1×1.
pub fn one_by_one(random: &mut Random) -> Geometry {
    let channels = [random.within(1, 64), random.within(1, 24)];
    let axes = [0, 1].map(|_| Axis { len: random.within(1, 6), kernel: 1, stride: 1, upsample: 1, padding: [0; 2] });
    join(axes, channels)
}

/// One pixel.
pub fn linear(random: &mut Random) -> Geometry {
    let channels = if random.one_in(3) {
        [random.within(500, 1024), random.within(1, 8)]
    } else {
        [random.within(1, 150), random.within(1, 40)]
    };
    join([0, 1].map(|_| Axis { len: 1, kernel: 1, stride: 1, upsample: 1, padding: [0; 2] }), channels)
}

/// What Winograd's method takes; some outputs are cut short.
pub fn for_winograd(random: &mut Random) -> Geometry {
    let channels = [random.within(1, 20), random.within(1, 12)];
    for_winograd_with(random, channels)
}

/// The same from many channels to a few.
pub fn for_winograd_wide(random: &mut Random) -> Geometry {
    let channels = [random.within(30, 200), random.within(1, 5)];
    let [upsample, cut] = [random.within(1, 2), random.below(3) / 2];
    let axes = [0, 1].map(|_| Axis { len: random.within(1, 4), kernel: 3, stride: 1, upsample, padding: [1; 2] });
    let mut geometry = join(axes, channels);
    geometry.output.height = geometry.output.height.saturating_sub(cut).max(1);
    geometry
}

/// The same from whole quadruples of channels to five and more.
pub fn three_by_three_of_quads(random: &mut Random) -> Geometry {
    let channels = [4 * random.within(1, 8), random.within(5, 20)];
    for_winograd_with(random, channels)
}

fn for_winograd_with(random: &mut Random, channels: [usize; 2]) -> Geometry {
    let [upsample, cut] = [random.within(1, 2), random.below(3) / 2];
    let axes = [0, 1].map(|_| Axis { len: random.within(1, 9), kernel: 3, stride: 1, upsample, padding: [1; 2] });
    let mut geometry = join(axes, channels);
    geometry.output.height = geometry.output.height.saturating_sub(cut).max(1);
    geometry
}

/// What depthwise convolutions are of: kernels of up to 9 on either axis and now and then beyond, strides up to 4,
/// another padding on every side, up to [`CHANNELS`] channels.
pub fn for_depthwise(random: &mut Random) -> Geometry {
    let many = random.one_in(3);
    let channels = [random.within(1, if many { CHANNELS } else { 20 }), 1];
    let one_dimensional = random.one_in(4).then(|| random.below(2));
    let axes = [0, 1].map(|axis| {
        let flat = one_dimensional == Some(axis);
        let most = if many { 9 } else { 14 };
        let [len, kernel] = [random.within(1, most), random.within(1, 9)].map(|most| if flat { 1 } else { most });
        let kernel = if random.one_in(40) { kernel + 5 } else { kernel };
        Axis {
            len: if one_dimensional == Some(1 - axis) { random.within(1, 70) } else { len },
            kernel,
            stride: if random.one_in(2) { 1 } else { random.within(1, 4) },
            upsample: if flat || !random.one_in(5) { 1 } else { random.within(1, 3) },
            padding: if flat { [0; 2] } else { [random.below(kernel + 1), random.below(kernel + 1)] },
        }
    });
    join(axes, channels)
}

struct Axis {
    len: usize,
    kernel: usize,
    stride: usize,
    upsample: usize,
    padding: [usize; 2],
}

impl Axis {
    fn out(&self) -> usize {
        let room = self.len * self.upsample + self.padding[0] + self.padding[1];
        room.saturating_sub(self.kernel).checked_div(self.stride).unwrap_or_default() + 1
    }
}

fn join([height, width]: [Axis; 2], [in_c, out_c]: [usize; 2]) -> Geometry {
    Geometry {
        input: Shape { height: height.len, width: width.len, channels: in_c },
        output: Shape { height: height.out(), width: width.out(), channels: out_c },
        kernel: [height.kernel, width.kernel],
        stride: [height.stride, width.stride],
        padding: [height.padding[0], width.padding[0]],
        upsample: [height.upsample, width.upsample],
    }
}
