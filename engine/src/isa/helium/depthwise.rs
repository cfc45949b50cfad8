//! Depthwise 3×3: sixteen channels of a pixel at a time.

use core::arch::asm;

use super::copy;
use crate::geometry::Geometry;
use crate::isa::depthwise::HELIUM_CHANNELS;
use crate::isa::{Depthwise, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;
use crate::shape::Shape;

/// Channels of a block: the lanes of a vector of bytes.
const LANES: usize = HELIUM_CHANNELS;
/// Rows and columns of the kernel.
const SIDE: usize = 3;
/// Most columns of the halo.
const COLUMNS: usize = 18;
/// From a column of the halo to the next, in bytes.
const COLUMN: usize = SIDE * LANES;

/// The rows under a row of pixels with their padding, `[columns][3 rows][16 channels]`.
#[repr(align(4))]
struct Halo([i8; COLUMNS * COLUMN]);

/// Sixteen channels' words in the order in which products are widened: 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15.
type Words = [[i32; 4]; 4];

/// Parameters of sixteen channels.
#[repr(C)]
struct Block {
    weights: [[i8; LANES]; SIDE * SIDE],
    starts: Words,
    multipliers: Words,
    shift: u32,
    /// Of the output, or the table's entry for 0.
    zero_point: i32,
    table: *const i8,
    /// Channels that there are.
    channels: usize,
    /// From a pixel of the output to the next, in bytes.
    pixel: usize,
    /// From a pixel's first column of the halo to the next one's, in bytes.
    step: usize,
    /// From the output to the residual.
    residual: usize,
    spare: u32,
    residual_multipliers: Words,
}

/// See [`crate::isa::Isa::depthwise`], for [`crate::isa::DepthwiseLoop::ThreeByThree`].
#[inline]
pub(super) fn run(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let Depthwise { geometry, zero_point, weights, biases: [steps, classes], .. } = *depthwise;
    let Geometry { output: Shape { height, width, channels }, stride: [_, stride], .. } = *geometry;
    let epilogue = finish.epilogue;
    let (table, zero) = match epilogue.table {
        Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
        None => (core::ptr::null(), 0),
    };
    let residual = match finish.residual {
        _ if epilogue.residual_multipliers.is_empty() => None,
        Residual::None => None,
        Residual::InOutput => Some(0),
        Residual::From(map) => Some((map.as_ptr() as usize).wrapping_sub(output.as_ptr() as usize)),
    };
    let most = (COLUMNS - SIDE).checked_div(stride).unwrap_or_default() + 1;
    let mut halo = Halo([zero_point as i8; COLUMNS * COLUMN]);
    let mut block = Block {
        weights: [[0; LANES]; SIDE * SIDE],
        starts: [[0; 4]; 4],
        multipliers: [[0; 4]; 4],
        shift: epilogue.requantize.shift,
        zero_point: epilogue.requantize.zero_point + zero,
        table,
        channels: 0,
        pixel: channels,
        step: stride * COLUMN,
        residual: residual.unwrap_or_default(),
        spare: 0,
        residual_multipliers: [[0; 4]; 4],
    };
    for first in (0..channels).step_by(LANES) {
        block.channels = (channels - first).min(LANES);
        let from = weights.as_ptr().wrapping_add(first);
        let to = block.weights.as_mut_ptr().cast();
        // SAFETY: so many weights of every tap are there, and have their places.
        unsafe { copy::copy_pieces((from, channels), (to, LANES), SIDE * SIDE, block.channels) };
        spread(steps, first, &mut block.starts);
        if !classes.is_empty() {
            let mut more = [[0; 4]; 4];
            spread(classes, first, &mut more);
            let starts = block.starts.as_flattened_mut().iter_mut().zip(more.as_flattened());
            starts.for_each(|(start, more)| *start = start.wrapping_add(*more));
        }
        spread(epilogue.requantize.multipliers, first, &mut block.multipliers);
        if residual.is_some() {
            spread(epilogue.residual_multipliers, first, &mut block.residual_multipliers);
        }
        for start in (0..width).step_by(most.max(1)) {
            let pixels = (width - start).min(most);
            let columns = Columns::of(geometry, start, pixels);
            for y in 0..height {
                fill(&mut halo, depthwise, y, &columns, first);
                let place = (y * width + start) * channels + first;
                let output = output.as_mut_ptr().wrapping_add(place);
                let halo = halo.0.as_ptr();
                match (epilogue.table.is_some(), residual.is_some()) {
                    // SAFETY: so many pixels of the maps are there, and lie in the halo with their neighbours.
                    (false, false) => unsafe { row::<false, false>(&block, halo, output, pixels) },
                    // SAFETY: see above.
                    (true, false) => unsafe { row::<true, false>(&block, halo, output, pixels) },
                    // SAFETY: see above.
                    (false, true) => unsafe { row::<false, true>(&block, halo, output, pixels) },
                    // SAFETY: see above.
                    (true, true) => unsafe { row::<true, true>(&block, halo, output, pixels) },
                }
            }
        }
    }
}

/// Sixteen words from `first` on, as far as they are there, in the order of [`Words`].
#[inline(never)]
fn spread(values: &[i32], first: usize, to: &mut Words) {
    let values = values.get(first..).unwrap_or_default();
    let mut buffer = [0; LANES];
    // SAFETY: copies as many words as there are, sixteen at most, and spreads the sixteen.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "mov {place}, {buffer}",
            "wlstp.32 lr, {len}, 3f",
            "2:",
            "vldrw.u32 q0, [{from}], #16",
            "vstrw.32 q0, [{place}], #16",
            "letp lr, 2b",
            "3:",
            "movs r0, #0",
            "vidup.u32 q0, r0, #4",
            "vldrw.u32 q1, [{buffer}, q0, uxtw #2]",
            "vstrw.32 q1, [{to}]",
            "add {place}, {buffer}, #8",
            "vldrw.u32 q1, [{place}, q0, uxtw #2]",
            "vstrw.32 q1, [{to}, #16]",
            "add {place}, {buffer}, #4",
            "vldrw.u32 q1, [{place}, q0, uxtw #2]",
            "vstrw.32 q1, [{to}, #32]",
            "add {place}, {buffer}, #12",
            "vldrw.u32 q1, [{place}, q0, uxtw #2]",
            "vstrw.32 q1, [{to}, #48]",
            from = inout(reg) values.as_ptr() => _, len = in(reg) values.len().min(LANES),
            buffer = in(reg) &mut buffer, place = out(reg) _, to = in(reg) to,
            out("r0") _, out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _,
        );
    }
}

/// Columns of the halo under some pixels.
#[derive(Clone, Copy)]
struct Columns {
    /// How many.
    count: usize,
    /// Those before this one are left of the map.
    left: usize,
    /// From this one on they are right of it.
    right: usize,
    /// The map's column at `left`.
    first: usize,
    /// Whether columns outside the map may differ from chunk to chunk.
    borders: bool,
}

impl Columns {
    /// Under `pixels` pixels from column `x` of the output on.
    fn of(geometry: &Geometry, x: usize, pixels: usize) -> Self {
        let Geometry { input, output, stride: [_, stride], padding: [_, padding], .. } = *geometry;
        let count = (pixels - 1) * stride + SIDE;
        let left = padding.saturating_sub(x * stride).min(count);
        Self {
            count,
            left,
            right: (input.width + padding).saturating_sub(x * stride).min(count).max(left),
            first: (x * stride + left).saturating_sub(padding),
            borders: pixels < output.width,
        }
    }
}

/// Fills the halo for row `y` of the output, for sixteen channels from `channel` on.
#[inline(always)]
fn fill(halo: &mut Halo, depthwise: &Depthwise<'_>, y: usize, columns: &Columns, channel: usize) {
    let Geometry { input: shape, stride, padding, .. } = *depthwise.geometry;
    let Columns { count, left, right, first, borders } = *columns;
    let zeros = [depthwise.zero_point as i8; LANES];
    let len = (shape.channels - channel).min(LANES);
    let start = depthwise.input.as_ptr().wrapping_add(first * shape.channels + channel);
    for row in 0..SIDE {
        let to = halo.0.as_mut_ptr().wrapping_add(row * LANES);
        let column = |column: usize| to.wrapping_add(column * COLUMN);
        let source = (y * stride[0] + row).wrapping_sub(padding[0]);
        if source >= shape.height {
            // SAFETY: the same sixteen bytes again and again, into every column.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, COLUMN), count, LANES) };
            continue;
        }
        if borders {
            // SAFETY: the same, into the first columns, and into the last ones.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, COLUMN), left, LANES) };
            // SAFETY: see above.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (column(right), COLUMN), count - right, LANES) };
        }
        let from = start.wrapping_add(source * shape.width * shape.channels);
        if len == LANES {
            // SAFETY: so many columns of the row are on the map, and in the halo.
            unsafe { copy::copy_columns::<SIDE, 1>((from, shape.channels), column(left), right - left) };
        } else {
            // SAFETY: see above; of the last channels, as many as there are.
            unsafe { copy::copy_pieces((from, shape.channels), (column(left), COLUMN), right - left, len) };
        }
    }
}

/// Adds a tap's product to the half of it before, of the even channels or of the odd ones.
macro_rules! half {
    ($tap:literal, $product:literal, $half:literal) => {
        concat!(
            "vldrw.u32 q5, [{block}, #(",
            $tap,
            " * 16)]\n",
            $product,
            " q5, q4, q5\nvadd.i16 ",
            $half,
            ", ",
            $half,
            ", q5\n"
        )
    };
}

/// The products of two taps in 16 bits: they fit, as a weight is no −128. Even channels' are in q6, odd ones' in q7.
macro_rules! first {
    ($tap:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{halo}, #",
            $place,
            "]\nvldrw.u32 q5, [{block}, #(",
            $tap,
            " * 16)]\n",
            "vmullb.s8 q6, q4, q5\nvmullt.s8 q7, q4, q5\n"
        )
    };
}

macro_rules! second {
    ($tap:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{halo}, #",
            $place,
            "]\n",
            half!($tap, "vmullb.s8", "q6"),
            half!($tap, "vmullt.s8", "q7")
        )
    };
}

/// Adds them to the sums.
macro_rules! widen {
    () => {
        concat!(
            "vmovlb.s16 q4, q6\nvmovlt.s16 q5, q6\nvadd.i32 q0, q0, q4\nvadd.i32 q1, q1, q5\n",
            "vmovlb.s16 q4, q7\nvmovlt.s16 q5, q7\nvadd.i32 q2, q2, q4\nvadd.i32 q3, q3, q5\n"
        )
    };
}

/// A vector of sums, scaled.
macro_rules! scale {
    ($sums:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{block}, #",
            $place,
            "]\nvshl.s32 ",
            $sums,
            ", {shift}\nvrmulh.s32 ",
            $sums,
            ", ",
            $sums,
            ", q4\n"
        )
    };
}

/// The table's entries for a vector of int16.
macro_rules! look_up {
    ($index:literal) => {
        concat!("vqshlu.s16 q4, ", $index, ", #6\nvshr.u16 q4, q4, #6\nvldrb.u16 ", $index, ", [{table}, q4]\n")
    };
}

/// Adds the products of a vector of half-words, the residual's, to the sums.
macro_rules! residual {
    ($widen:literal, $values:literal, $place:literal, $sums:literal) => {
        concat!(
            $widen,
            " q4, ",
            $values,
            "\nvldrw.u32 q5, [{block}, #",
            $place,
            "]\nvmul.i32 q4, q4, q5\nvadd.i32 ",
            $sums,
            ", ",
            $sums,
            ", q4\n"
        )
    };
}

/// A row of pixels. Narrowing to int16 before the zero point is added changes no value that is not clamped. Instructions
/// for sixteen outputs: 117, a table 5 more, a residual 21.
///
/// # Safety
/// The halo has the columns of `pixels` pixels, at least one; the output as many of the block's channels.
#[inline(never)]
unsafe fn row<const TABLE: bool, const RESIDUAL: bool>(block: &Block, halo: *const i8, output: *mut i8, pixels: usize) {
    // SAFETY: reads and writes what the caller promises: channels that there are not are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "ldrd {shift}, {zero_point}, [{block}, #272]",
            "ldr {table}, [{block}, #280]",
            "ldrd {channels}, {pixel}, [{block}, #284]",
            "vmrs {vpr}, p0",
            "vctp.8 {channels}",
            "dls lr, {pixels}",
            // Both have done their work.
            "ldrd {pixels}, {channels}, [{block}, #292]",
            "2:",
            "vldrw.u32 q0, [{block}, #144]",
            "vldrw.u32 q1, [{block}, #160]",
            "vldrw.u32 q2, [{block}, #176]",
            "vldrw.u32 q3, [{block}, #192]",
            first!("0", "0"), second!("1", "48"), widen!(),
            first!("2", "96"), second!("3", "16"), widen!(),
            first!("4", "64"), second!("5", "112"), widen!(),
            first!("6", "32"), second!("7", "80"), widen!(),
            first!("8", "128"), widen!(),
            ".if {RESIDUAL}",
            "add {place}, {output}, {channels}",
            "vpst",
            "vldrbt.u8 q4, [{place}]",
            "vmovlb.s8 q6, q4",
            "vmovlt.s8 q7, q4",
            residual!("vmovlb.s16", "q6", "304", "q0"),
            residual!("vmovlt.s16", "q6", "320", "q1"),
            residual!("vmovlb.s16", "q7", "336", "q2"),
            residual!("vmovlt.s16", "q7", "352", "q3"),
            ".endif",
            scale!("q0", "208"), scale!("q1", "224"), scale!("q2", "240"), scale!("q3", "256"),
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q1",
            "vqmovnb.s32 q2, q2",
            "vqmovnt.s32 q2, q3",
            "vqadd.s16 q0, q0, {zero_point}",
            "vqadd.s16 q2, q2, {zero_point}",
            ".if {TABLE}",
            look_up!("q0"), look_up!("q2"),
            "vmovnt.i16 q0, q2",
            ".else",
            "vqmovnb.s16 q0, q0",
            "vqmovnt.s16 q0, q2",
            ".endif",
            "vpst",
            "vstrbt.8 q0, [{output}]",
            "add {output}, {output}, {pixel}",
            "add {halo}, {halo}, {pixels}",
            "le lr, 2b",
            "vmsr p0, {vpr}",
            TABLE = const TABLE as u8, RESIDUAL = const RESIDUAL as u8,
            block = in(reg) block, halo = inout(reg) halo => _, output = inout(reg) output => _,
            pixels = inout(reg) pixels => _, place = out(reg) _,
            shift = out(reg) _, zero_point = out(reg) _, table = out(reg) _, channels = out(reg) _, pixel = out(reg) _,
            vpr = out(reg) _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
