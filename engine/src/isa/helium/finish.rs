//! From sums to int8, four pixels of two channels at a time.

use core::arch::asm;

use super::layout::{CHANNELS, PIXELS, TILE};
use crate::isa::ToInt8;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// [`ToInt8`] as the loop wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finisher<'a> {
    finish: &'a ToInt8<'a>,
    out_c: usize,
    /// For whole pairs of channels, and for a last channel without a partner.
    constants: [Constants; 2],
    residual: bool,
}

/// Vectors that a pass starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Constants {
    /// Where elements lie from the tile's first on, in the order in which two vectors of sums are narrowed: their
    /// elements alternate.
    offsets: [u16; 8],
    /// 8 bytes before the first pair's multipliers, for two pixels.
    multipliers: [*const i32; 4],
    /// The same for the residual's.
    residual_multipliers: [*const i32; 4],
}

/// Two bits for every element that is written of so many pixels × channels, in the order of [`Constants::offsets`].
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
    pub fn new(finish: &'a ToInt8<'a>, out_c: usize) -> Self {
        let (multipliers, residuals) = (finish.epilogue.requantize.multipliers, finish.epilogue.residual_multipliers);
        let constants = |first: usize, second: usize| {
            let pair = |multipliers: &[i32]| {
                let at = |channel: usize| multipliers.as_ptr().wrapping_add(channel).wrapping_sub(2);
                [at(first), at(second), at(first), at(second)]
            };
            let [pixel, next] = [out_c as u16, (second - first) as u16];
            Constants {
                offsets: [0, 2 * pixel, next, 2 * pixel + next, pixel, 3 * pixel, pixel + next, 3 * pixel + next],
                multipliers: pair(multipliers),
                residual_multipliers: pair(residuals),
            }
        };
        let last = out_c.saturating_sub(1);
        let residual = !matches!(finish.residual, Residual::None) && !residuals.is_empty();
        Self { finish, out_c, constants: [constants(0, 1), constants(last, last)], residual }
    }

    /// Finishes a tile's sums of all channels, `[out_c / 2][4][2]`. `index` is the place of its first element in the map.
    ///
    /// # Safety
    /// The sums, the output, the residual if it has its own map, and the multipliers are long enough for `pixels` (1
    /// to 4) pixels of `out_c` channels from `index` on; `3 · out_c + 1` is a u16.
    #[inline(always)]
    pub unsafe fn tile(&self, sums: *const i32, pixels: usize, index: usize, output: *mut i8) {
        let output = output.wrapping_add(index);
        let residual = match self.finish.residual {
            Residual::None | Residual::InOutput => output.cast_const(),
            Residual::From(map) => map.as_ptr().wrapping_add(index),
        };
        let [even, odd] = MASKS[(pixels - 1) & 3];
        let [first, second] = &self.constants;
        let (pairs, last) = (self.out_c / CHANNELS, self.out_c - 1);
        if pairs > 0 {
            // SAFETY: whole pairs, as the caller promises.
            unsafe { self.pairs(first, even, sums, residual, output, pairs) };
        }
        if !self.out_c.is_multiple_of(CHANNELS) {
            let sums = sums.wrapping_add(pairs * TILE);
            // SAFETY: the last channel, alone.
            unsafe { self.pairs(second, odd, sums, residual.wrapping_add(last), output.wrapping_add(last), 1) };
        }
    }

    /// Chooses the loop.
    ///
    /// # Safety
    /// As [`Self::tile`], for `pairs` pairs of channels and the elements that the mask names.
    #[inline(always)]
    unsafe fn pairs(
        &self,
        constants: &Constants,
        mask: u32,
        sums: *const i32,
        residual: *const i8,
        output: *mut i8,
        pairs: usize,
    ) {
        match (self.residual, self.finish.epilogue.table.is_some()) {
            // SAFETY: as the caller promises.
            (false, false) => unsafe { self.run::<false, false>(constants, mask, sums, residual, output, pairs) },
            // SAFETY: as the caller promises.
            (false, true) => unsafe { self.run::<false, true>(constants, mask, sums, residual, output, pairs) },
            // SAFETY: as the caller promises.
            (true, false) => unsafe { self.run::<true, false>(constants, mask, sums, residual, output, pairs) },
            // SAFETY: as the caller promises.
            (true, true) => unsafe { self.run::<true, true>(constants, mask, sums, residual, output, pairs) },
        }
    }

    /// [`crate::epilogue::Epilogue`] on vectors: VRMULH is its rounding; narrowing to int16 before the zero point is
    /// added changes no value that is not clamped; a saturating shift by 6 and back clamps a table's index to ten bits.
    /// Instructions for eight elements: 15, a table 2 more, a residual 10 more.
    ///
    /// # Safety
    /// As [`Self::pairs`].
    #[inline(always)]
    unsafe fn run<const RESIDUAL: bool, const TABLE: bool>(
        &self,
        constants: &Constants,
        mask: u32,
        sums: *const i32,
        residual: *const i8,
        output: *mut i8,
        pairs: usize,
    ) {
        let requantize = &self.finish.epilogue.requantize;
        let (table, zero_point) = match self.finish.epilogue.table {
            Some(table) => (table.as_ptr(), requantize.zero_point + TABLE_LEN as i32 / 2),
            None => (core::ptr::null(), requantize.zero_point),
        };
        // SAFETY: reads the constants and what they point at, the sums and the residual, and writes the output, of
        // `pairs` pairs of channels, elements outside the mask excepted, as the caller promises.
        unsafe {
            asm!(
                ".cpu cortex-m55",
                "vmsr p0, {mask}",
                "vldrh.u16 q7, [{constants}]",
                "vldrw.u32 q6, [{constants}, #16]",
                ".if {RESIDUAL}",
                "vldrw.u32 q5, [{constants}, #32]",
                ".endif",
                "dls lr, {pairs}",
                "2:",
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
                "le lr, 2b",
                RESIDUAL = const RESIDUAL as u8, TABLE = const TABLE as u8,
                constants = in(reg) constants, mask = in(reg) mask, sums = inout(reg) sums => _,
                residual = inout(reg) residual => _, output = inout(reg) output => _,
                shift = in(reg) requantize.shift, zero_point = in(reg) zero_point, table = in(reg) table,
                pairs = in(reg) pairs, out("lr") _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
                out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _,
                out("d14") _, out("d15") _,
            );
        }
    }
}
