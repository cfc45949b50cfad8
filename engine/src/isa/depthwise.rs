//! Which loop a depthwise convolution takes: one rule an instruction set, for its kernel and for what predicts costs.

use crate::geometry::Geometry;

/// A loop over a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthwiseLoop {
    /// The portable one.
    Plain,
    /// Kernels of 3×3, unrolled.
    ThreeByThree,
    /// Any kernel of at most [`MOST_SIDE`] rows and columns.
    AnyKernel,
}

/// Most rows and columns of a kernel.
pub(super) const MOST_SIDE: usize = 9;
/// Channels that Arm DSP's loops compute together.
pub(super) const DSP_CHANNELS: usize = 4;
/// Channels of Helium's 3×3 loop: the lanes of a vector of bytes.
pub(super) const HELIUM_CHANNELS: usize = 16;

/// Pixels of Arm DSP's widened rows: at least one output of 9×9 taps.
pub(super) const DSP_PIXELS: usize = 256;
/// Channels that Helium lays out together: the lanes of a vector of half-words.
pub(super) const PLANES: usize = 8;
/// Bytes of Helium's planes, and of what is read past them.
pub(super) const PLANES_BYTES: usize = 4608;
/// Helium's lanes of a vector of taps.
pub(super) const TAPS: usize = 16;
/// Vectors of taps.
pub(super) const TAP_VECTORS: usize = (MOST_SIDE * MOST_SIDE).div_ceil(TAPS);
/// The widest stride that leaves planes their place.
const MOST_STRIDE: usize = 64;

/// A map of one column as one of one row: it lies in memory as it did.
pub(super) const fn laid_flat(geometry: &Geometry) -> Geometry {
    let Geometry { mut input, mut output, kernel, stride, padding, upsample } = *geometry;
    if input.width != 1 || output.width != 1 || kernel[1] != 1 || padding[1] != 0 || upsample[1] != 1 {
        return *geometry;
    }
    (input.width, output.width) = (input.height, output.height);
    (input.height, output.height) = (1, 1);
    Geometry {
        input,
        output,
        kernel: [1, kernel[0]],
        stride: [1, stride[0]],
        padding: [0, padding[0]],
        upsample: [1, upsample[0]],
    }
}

/// Outputs along an axis whose kernels lie on `room` pixels, at least one.
const fn outputs(room: usize, kernel: usize, stride: usize) -> usize {
    room.saturating_sub(kernel) / at_least_one(stride) + 1
}

/// A divisor that the compiler sees is not 0; shapes are checked, but not where it can see it.
const fn at_least_one(divisor: usize) -> usize {
    if divisor == 0 { 1 } else { divisor }
}

/// As many outputs as there are, or fewer.
const fn at_most(outputs: usize, most: usize) -> usize {
    if outputs < most { outputs } else { most }
}

/// Rows and columns of the output that Arm DSP widens the map for at once: whole rows if they fit, whole pairs of columns
/// else.
pub(super) const fn dsp_part(geometry: &Geometry) -> [usize; 2] {
    let Geometry { output, kernel: [k_h, k_w], stride: [down, right], .. } = *geometry;
    let columns = outputs(DSP_PIXELS / at_least_one(k_h), k_w, right);
    let columns = if columns >= output.width { output.width } else { at_least_one(columns & !1) };
    let pitch = (columns - 1) * right + k_w;
    [at_most(outputs(DSP_PIXELS / at_least_one(pitch), k_h, down), output.height), columns]
}

/// Rows and columns of the output that Helium lays planes out for at once: whole rows if they fit, whole fours of columns
/// else.
pub(super) const fn helium_part(geometry: &Geometry) -> [usize; 2] {
    let Geometry { output, kernel: [k_h, k_w], stride: [_, right], .. } = *geometry;
    // Past the last output of a row, up to three more are computed; a vector of taps is read whole.
    let plane = PLANES_BYTES.saturating_sub(3 * right * k_h + TAP_VECTORS * TAPS) / PLANES;
    let columns = outputs(plane / at_least_one(k_h), k_w, right);
    let columns = if columns >= output.width { output.width } else { at_least_one(columns & !3) };
    let row = ((columns - 1) * right + k_w) * k_h;
    [at_most(at_least_one(plane / at_least_one(row)), output.height), columns]
}

/// Whether a loop for any kernel takes this one.
const fn is_small(geometry: &Geometry) -> bool {
    let Geometry { kernel, stride, .. } = geometry;
    kernel[0] <= MOST_SIDE && kernel[1] <= MOST_SIDE && stride[0] <= MOST_STRIDE && stride[1] <= MOST_STRIDE
}

/// Arm DSP's, with or without a residual.
pub(super) const fn dsp(geometry: &Geometry, residual: bool) -> DepthwiseLoop {
    let channels = geometry.output.channels;
    if geometry.is_same_3x3() && channels.is_multiple_of(DSP_CHANNELS) && geometry.input.width > 2 && !residual {
        DepthwiseLoop::ThreeByThree
    } else if is_small(geometry) && channels >= DSP_CHANNELS {
        DepthwiseLoop::AnyKernel
    } else {
        DepthwiseLoop::Plain
    }
}

/// Helium's. A vector of the 3×3 loop takes as long for a few channels as for sixteen: about as long as nine take by the
/// other.
pub(super) const fn helium(geometry: &Geometry) -> DepthwiseLoop {
    let channels = geometry.output.channels;
    let three = geometry.kernel[0] == 3 && geometry.kernel[1] == 3;
    let plain = geometry.upsample[0] == 1 && geometry.upsample[1] == 1;
    let last = channels % HELIUM_CHANNELS;
    if three && plain && (last == 0 || last > 9) {
        DepthwiseLoop::ThreeByThree
    } else if is_small(geometry) {
        DepthwiseLoop::AnyKernel
    } else {
        DepthwiseLoop::Plain
    }
}
