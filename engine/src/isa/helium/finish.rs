//! From sums to int8, four pixels of two channels at a time.

use core::arch::asm;
use core::marker::PhantomData;

use super::layout::{CHANNELS, PIXELS, TILE};
use crate::conditioning::at;
use crate::isa::ToInt8;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// [`ToInt8`] as the loop wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finisher<'a> {
    /// For the whole pairs of channels, and for a last channel without a partner.
    parts: [Part; 2],
    output: *mut i8,
    /// In the output's place where it has no map.
    residual: *const i8,
    /// The loop.
    run: Loop,
    lifetime: PhantomData<&'a mut [i8]>,
}

/// See [`run`].
type Loop = unsafe fn(&Part, *const i32, *const i8, *mut i8, usize, u32);

/// What a loop over some channels reads.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where elements lie from the tile's first on, in the order in which vectors of sums are narrowed: their elements
    /// alternate. A u16 each; a u8 each in a loop over two pairs at once.
    offsets: [u8; 16],
    /// 8 bytes before the first pair's multipliers, for two pixels.
    multipliers: [*const i32; 4],
    /// The same for the residual's.
    residual_multipliers: [*const i32; 4],
    /// Turns of the loop; 0 for an empty part.
    turns: usize,
    /// Bytes of a tile's sums that other channels have.
    skipped: usize,
    /// From behind one tile's last channel to the next one's first, in elements of the map.
    advance: usize,
    shift: u32,
    /// Of the output, or the table's entry for 0.
    zero_point: i32,
    table: *const i8,
    /// The first channel.
    channel: usize,
}

/// Pixels and channels of a pair's elements, as narrowing two vectors of sums orders them.
const PIXEL_OF: [usize; 8] = [0, 2, 0, 2, 1, 3, 1, 3];
const CHANNEL_OF: [usize; 8] = [0, 0, 1, 1, 0, 0, 1, 1];

/// Two bits for every element that is written of so many pixels × channels, in their order.
const fn mask(pixels: usize, channels: usize) -> u32 {
    let (mut mask, mut lane) = (0, 0);
    while lane < PIXEL_OF.len() {
        if PIXEL_OF[lane] < pixels && CHANNEL_OF[lane] < channels {
            mask |= 3 << (2 * lane);
        }
        lane += 1;
    }
    mask
}

/// [`mask`] for whole pairs, and for a last channel without a partner.
const MASKS: [[u32; 2]; PIXELS] =
    [[mask(1, 2), mask(1, 1)], [mask(2, 2), mask(2, 1)], [mask(3, 2), mask(3, 1)], [mask(4, 2), mask(4, 1)]];

impl<'a> Finisher<'a> {
    /// For maps of `out_c` channels.
    #[inline]
    pub fn new(finish: &ToInt8<'a>, out_c: usize, output: &'a mut [i8]) -> Self {
        let epilogue = finish.epilogue;
        let residual = !matches!(finish.residual, Residual::None) && !epilogue.residual_multipliers.is_empty();
        let (table, zero) = match epilogue.table {
            Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
            None => (core::ptr::null(), 0),
        };
        // Two pairs at once, where a tile's offsets are bytes.
        let two = !residual && out_c.is_multiple_of(2 * CHANNELS) && out_c <= 84;
        let part = |channel: usize, pairs: usize, width: usize| {
            let next = width - 1;
            let pair = |multipliers: &[i32]| {
                let first = multipliers.as_ptr().wrapping_add(channel).wrapping_sub(2);
                [first, first.wrapping_add(next), first, first.wrapping_add(next)]
            };
            let places = PIXEL_OF.map(|pixel| pixel * out_c);
            let offset = |lane: usize| at(&places, lane) + at(&CHANNEL_OF, lane) * next;
            Part {
                offsets: core::array::from_fn(|byte| match (two, byte % 2) {
                    (true, second) => (offset(byte / 2) + second * CHANNELS) as u8,
                    (false, second) => (offset(byte / 2) >> (8 * second)) as u8,
                }),
                multipliers: pair(epilogue.requantize.multipliers),
                residual_multipliers: pair(epilogue.residual_multipliers),
                turns: if two { pairs / 2 } else { pairs },
                skipped: (out_c.div_ceil(CHANNELS) - pairs) * TILE * size_of::<i32>(),
                advance: PIXELS * out_c - pairs * CHANNELS,
                shift: epilogue.requantize.shift,
                zero_point: epilogue.requantize.zero_point + zero,
                table,
                channel,
            }
        };
        let pairs = out_c / CHANNELS;
        let output = output.as_mut_ptr();
        Self {
            parts: [part(0, pairs, CHANNELS), part(pairs * CHANNELS, out_c % CHANNELS, 1)],
            output,
            residual: match finish.residual {
                Residual::None | Residual::InOutput => output,
                Residual::From(map) => map.as_ptr(),
            },
            run: match (residual, epilogue.table.is_some(), two, epilogue.requantize.shift > 0) {
                (true, false, _, _) => run::<true, false, false, true>,
                (true, true, _, _) => run::<true, true, false, true>,
                (false, false, false, _) => run::<false, false, false, true>,
                (false, true, false, _) => run::<false, true, false, true>,
                (false, false, true, false) => run::<false, false, true, false>,
                (false, false, true, true) => run::<false, false, true, true>,
                (false, true, true, false) => run::<false, true, true, false>,
                (false, true, true, true) => run::<false, true, true, true>,
            },
            lifetime: PhantomData,
        }
    }

    /// Finishes the sums of `tiles` times `pixels` pixels, `[tiles][out_c / 2][4][2]`. `index` is the first element's
    /// place in the map.
    ///
    /// # Safety
    /// There are so many sums; the output, the residual if it has its own map, and the multipliers are long enough for
    /// these pixels of `out_c` channels from `index` on; `3 · out_c + 1` is a u16. Only a single tile may have fewer
    /// than four pixels, and none is empty.
    #[inline(always)]
    pub unsafe fn tiles(&self, sums: *const i32, tiles: usize, pixels: usize, index: usize) {
        let [pairs, last] = &self.parts;
        let [mask, last_mask] = MASKS[(pixels - 1) & 3];
        let (residual, output) = (self.residual.wrapping_add(index), self.output.wrapping_add(index));
        if pairs.turns > 0 {
            // SAFETY: whole pairs, as the caller promises.
            unsafe { (self.run)(pairs, sums, residual, output, tiles, mask) };
        }
        if last.turns > 0 {
            let channel = last.channel;
            let (residual, output) = (residual.wrapping_add(channel), output.wrapping_add(channel));
            // SAFETY: the last channel, alone.
            unsafe { (self.run)(last, sums.wrapping_add(channel / 2 * TILE), residual, output, tiles, last_mask) };
        }
    }
}

/// Two vectors of a pair's sums to one of int16.
macro_rules! requantize {
    ($low:literal, $high:literal) => {
        concat!(
            "vldrw.u32 q2, [q6, #8]!\n",
            ".if {SHIFT}\nvshl.s32 ",
            $low,
            ", {shift}\nvshl.s32 ",
            $high,
            ", {shift}\n.endif\n",
            "vrmulh.s32 ",
            $low,
            ", ",
            $low,
            ", q2\nvrmulh.s32 ",
            $high,
            ", ",
            $high,
            ", q2\n",
            "vqmovnb.s32 ",
            $low,
            ", ",
            $low,
            "\nvqmovnt.s32 ",
            $low,
            ", ",
            $high,
            "\n",
            "vqadd.s16 ",
            $low,
            ", ",
            $low,
            ", {zero_point}\n",
        )
    };
}

/// The table's entries for a vector of int16.
macro_rules! look_up {
    ($index:literal, $spare:literal) => {
        concat!(
            "vqshlu.s16 ",
            $spare,
            ", ",
            $index,
            ", #6\nvshr.u16 ",
            $spare,
            ", ",
            $spare,
            ", #6\n",
            "vldrb.u16 ",
            $index,
            ", [{table}, ",
            $spare,
            "]\n",
        )
    };
}

/// [`crate::epilogue::Epilogue`] on vectors: VRMULH is its rounding; narrowing to int16 before the zero point is
/// added changes no value that is not clamped; a saturating shift by 6 and back clamps a table's index to ten bits.
/// Instructions for eight elements: 15, or 13 with `TWO` pairs at once and 11 where these need no `SHIFT`; a table 2
/// more, a residual 10 more; 8 for a tile.
///
/// # Safety
/// The part's pointers lead to all its pairs' multipliers, `sums`, `residual` and `output` to their part of `tiles`
/// tiles, elements outside the mask excepted; neither turns nor tiles are 0.
// Only compiled where it is used: other chips lack the registers that it names.
#[inline]
unsafe fn run<const RESIDUAL: bool, const TABLE: bool, const TWO: bool, const SHIFT: bool>(
    part: &Part,
    sums: *const i32,
    residual: *const i8,
    output: *mut i8,
    tiles: usize,
    mask: u32,
) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            // What the predicate was is kept in place of the mask.
            "vmrs {step}, p0",
            "vmsr p0, {mask}",
            "mov {mask}, {step}",
            "vldrh.u16 q7, [{part}]",
            "ldrd {shift}, {zero_point}, [{part}, #60]",
            "ldr {table}, [{part}, #68]",
            "2:",
            "ldr {step}, [{part}, #48]",
            "vldrw.u32 q6, [{part}, #16]",
            ".if {RESIDUAL}",
            "vldrw.u32 q5, [{part}, #32]",
            ".endif",
            "dls lr, {step}",
            "3:",
            "vldrw.u32 q0, [{sums}], #16",
            "vldrw.u32 q1, [{sums}], #16",
            ".if {RESIDUAL}",
            "vpst",
            "vldrbt.s16 q3, [{residual}, q7]",
            "vldrw.u32 q2, [q5, #8]!",
            "add {residual}, {residual}, #2",
            "vmovlb.s16 q4, q3",
            "vmovlt.s16 q3, q3",
            "vmul.i32 q4, q4, q2",
            "vmul.i32 q3, q3, q2",
            "vadd.i32 q0, q0, q4",
            "vadd.i32 q1, q1, q3",
            ".endif",
            requantize!("q0", "q1"),
            ".if {TWO}",
            "vldrw.u32 q3, [{sums}], #16",
            "vldrw.u32 q4, [{sums}], #16",
            requantize!("q3", "q4"),
            ".endif",
            ".if {TABLE}",
            look_up!("q0", "q1"),
            ".if {TWO}",
            look_up!("q3", "q4"),
            "vmovnt.i16 q0, q3",
            ".endif",
            ".else",
            "vqmovnb.s16 q0, q0",
            ".if {TWO}",
            "vqmovnt.s16 q0, q3",
            ".endif",
            ".endif",
            "vpst",
            ".if {TWO}",
            "vstrbt.8 q0, [{output}, q7]",
            "add {output}, {output}, #4",
            ".else",
            "vstrbt.16 q0, [{output}, q7]",
            "add {output}, {output}, #2",
            ".endif",
            "le lr, 3b",
            "ldrd {step}, lr, [{part}, #52]",
            "add {sums}, {sums}, {step}",
            "add {output}, {output}, lr",
            ".if {RESIDUAL}",
            "add {residual}, {residual}, lr",
            ".endif",
            "subs {tiles}, {tiles}, #1",
            "bne 2b",
            "vmsr p0, {mask}",
            RESIDUAL = const RESIDUAL as u8, TABLE = const TABLE as u8, TWO = const TWO as u8, SHIFT = const SHIFT as u8,
            part = in(reg) part, mask = inout(reg) mask => _, sums = inout(reg) sums => _,
            residual = inout(reg) residual => _, output = inout(reg) output => _, tiles = inout(reg) tiles => _,
            shift = out(reg) _, zero_point = out(reg) _, table = out(reg) _, step = out(reg) _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
