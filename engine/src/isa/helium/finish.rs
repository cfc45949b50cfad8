//! From sums to int8, four pixels of two channels at a time.

use core::arch::asm;

use super::layout::{CHANNELS, PIXELS, TILE};
use crate::isa::ToInt8;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// [`ToInt8`] as the loop wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finisher<'a> {
    /// For the whole pairs of channels, and for a last channel without a partner.
    parts: [Part; 2],
    residual: Residual<'a, i8>,
    /// The loop.
    run: unsafe fn(&Part, *const i32, *const i8, *mut i8, usize, u32),
}

/// What a loop over some channels reads.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where elements lie from the tile's first on, in the order in which two vectors of sums are narrowed: their
    /// elements alternate.
    offsets: [u16; 8],
    /// 8 bytes before the first pair's multipliers, for two pixels.
    multipliers: [*const i32; 4],
    /// The same for the residual's.
    residual_multipliers: [*const i32; 4],
    /// Pairs of channels, 0 for an empty part.
    pairs: usize,
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

/// Two bits for every element that is written of so many pixels × channels, in the order of [`Part::offsets`].
const fn mask(pixels: usize, channels: usize) -> u32 {
    const PIXEL_OF: [usize; 8] = [0, 2, 0, 2, 1, 3, 1, 3];
    const CHANNEL_OF: [usize; 8] = [0, 0, 1, 1, 0, 0, 1, 1];
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
    pub fn new(finish: &ToInt8<'a>, out_c: usize) -> Self {
        let epilogue = finish.epilogue;
        let residual = !matches!(finish.residual, Residual::None) && !epilogue.residual_multipliers.is_empty();
        let (table, zero) = match epilogue.table {
            Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
            None => (core::ptr::null(), 0),
        };
        let part = |channel: usize, pairs: usize, width: usize| {
            let next = width - 1;
            let pair = |multipliers: &[i32]| {
                let first = multipliers.as_ptr().wrapping_add(channel).wrapping_sub(2);
                [first, first.wrapping_add(next), first, first.wrapping_add(next)]
            };
            let [pixel, next] = [out_c as u16, next as u16];
            Part {
                offsets: [0, 2 * pixel, next, 2 * pixel + next, pixel, 3 * pixel, pixel + next, 3 * pixel + next],
                multipliers: pair(epilogue.requantize.multipliers),
                residual_multipliers: pair(epilogue.residual_multipliers),
                pairs,
                skipped: (out_c.div_ceil(CHANNELS) - pairs) * TILE * size_of::<i32>(),
                advance: PIXELS * out_c - pairs * CHANNELS,
                shift: epilogue.requantize.shift,
                zero_point: epilogue.requantize.zero_point + zero,
                table,
                channel,
            }
        };
        let pairs = out_c / CHANNELS;
        Self {
            parts: [part(0, pairs, CHANNELS), part(pairs * CHANNELS, out_c % CHANNELS, 1)],
            residual: finish.residual,
            run: match (residual, epilogue.table.is_some()) {
                (false, false) => run::<false, false>,
                (false, true) => run::<false, true>,
                (true, false) => run::<true, false>,
                (true, true) => run::<true, true>,
            },
        }
    }

    /// Finishes the sums of `pixels` pixels, `[pixels / 4][out_c / 2][4][2]`. `index` is the first element's place in
    /// the map.
    ///
    /// # Safety
    /// The sums, the output, the residual if it has its own map, and the multipliers are long enough for `pixels`
    /// pixels of `out_c` channels from `index` on; `3 · out_c + 1` is a u16.
    #[inline(always)]
    pub unsafe fn pixels(&self, sums: *const i32, pixels: usize, index: usize, output: *mut i8) {
        let output = output.wrapping_add(index);
        let residual = match self.residual {
            Residual::None | Residual::InOutput => output.cast_const(),
            Residual::From(map) => map.as_ptr().wrapping_add(index),
        };
        let (tiles, rest) = (pixels / PIXELS, pixels % PIXELS);
        for (which, part) in self.parts.iter().enumerate() {
            if part.pairs == 0 {
                continue;
            }
            let tile = part.pairs * TILE + part.skipped / size_of::<i32>();
            let channel = part.channel;
            let (sums, output) = (sums.wrapping_add(channel / CHANNELS * TILE), output.wrapping_add(channel));
            let residual = residual.wrapping_add(channel);
            if tiles > 0 {
                // SAFETY: whole tiles, as the caller promises.
                unsafe { (self.run)(part, sums, residual, output, tiles, MASKS[PIXELS - 1][which & 1]) };
            }
            if rest > 0 {
                let skipped = tiles * (part.advance + part.pairs * CHANNELS);
                let (sums, residual) = (sums.wrapping_add(tiles * tile), residual.wrapping_add(skipped));
                // SAFETY: the last tile, of which the mask names the pixels.
                unsafe {
                    (self.run)(part, sums, residual, output.wrapping_add(skipped), 1, MASKS[(rest - 1) & 3][which & 1]);
                }
            }
        }
    }
}

/// [`crate::epilogue::Epilogue`] on vectors: VRMULH is its rounding; narrowing to int16 before the zero point is
/// added changes no value that is not clamped; a saturating shift by 6 and back clamps a table's index to ten bits.
/// Instructions for eight elements: 15, a table 2 more, a residual 10 more; 8 for a tile.
///
/// # Safety
/// The part's pointers lead to all its pairs' multipliers, `sums`, `residual` and `output` to their part of `tiles`
/// tiles, elements outside the mask excepted; neither pairs nor tiles are 0.
unsafe fn run<const RESIDUAL: bool, const TABLE: bool>(
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
            "vmsr p0, {mask}",
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
            "vldrw.u32 q2, [q6, #8]!",
            "vshl.s32 q0, {shift}",
            "vshl.s32 q1, {shift}",
            "vrmulh.s32 q0, q0, q2",
            "vrmulh.s32 q1, q1, q2",
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q1",
            "vqadd.s16 q0, q0, {zero_point}",
            ".if {TABLE}",
            "vqshlu.s16 q1, q0, #6",
            "vshr.u16 q1, q1, #6",
            "vldrb.u16 q0, [{table}, q1]",
            ".else",
            "vqmovnb.s16 q0, q0",
            ".endif",
            "vpst",
            "vstrbt.16 q0, [{output}, q7]",
            "add {output}, {output}, #2",
            "le lr, 3b",
            "ldrd {step}, lr, [{part}, #52]",
            "add {sums}, {sums}, {step}",
            "add {output}, {output}, lr",
            ".if {RESIDUAL}",
            "add {residual}, {residual}, lr",
            ".endif",
            "subs {tiles}, {tiles}, #1",
            "bne 2b",
            RESIDUAL = const RESIDUAL as u8, TABLE = const TABLE as u8,
            part = in(reg) part, mask = in(reg) mask, sums = inout(reg) sums => _,
            residual = inout(reg) residual => _, output = inout(reg) output => _, tiles = inout(reg) tiles => _,
            shift = out(reg) _, zero_point = out(reg) _, table = out(reg) _, step = out(reg) _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
