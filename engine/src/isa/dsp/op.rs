//! Single instructions that the compiler does not offer.

use core::arch::asm;

/// Makes a function of an instruction that only computes. Those that set Q or GE do not say `preserves_flags`.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($operand:ident),*): $text:literal $($flags:ident)?;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name($($operand: u32),*) -> u32 {
            let result;
            // SAFETY: the instruction reads and writes the named registers alone, and flags where it does not say otherwise.
            unsafe {
                asm!(
                    ".arch armv7e-m", $text, out = lateout(reg) result, $($operand = in(reg) $operand),*,
                    options(pure, nomem, nostack $(, $flags)?)
                );
            }
            result
        }
    )*};
}

instructions! {
    /// Bytes 0 and 2, signed, as halves.
    sxtb16(a): "sxtb16 {out}, {a}" preserves_flags;
    /// Bytes 1 and 3, signed, as halves.
    sxtb16_odd(a): "sxtb16 {out}, {a}, ror #8" preserves_flags;
    /// The low half of `a` and that of `b` above it.
    pkhbt(a, b): "pkhbt {out}, {a}, {b}, lsl #16" preserves_flags;
    /// The high half of `b` and that of `a` above it.
    pkhtb(a, b): "pkhtb {out}, {a}, {b}, asr #16" preserves_flags;
    /// `sum` and the high word of a product, rounded.
    smmlar(a, b, sum): "smmlar {out}, {a}, {b}, {sum}" preserves_flags;
    /// Differences of halves.
    ssub16(a, b): "ssub16 {out}, {a}, {b}";
    /// Sums of halves.
    sadd16(a, b): "sadd16 {out}, {a}, {b}";
    /// The products of the low and of the high halves, and a summand.
    smlad(a, b, sum): "smlad {out}, {a}, {b}, {sum}";
    /// The product of the low halves, and a summand.
    smlabb(a, b, sum): "smlabb {out}, {a}, {b}, {sum}";
    /// The product of the high halves, and a summand.
    smlatt(a, b, sum): "smlatt {out}, {a}, {b}, {sum}";
    /// Held to −128 … 127.
    ssat8(a): "ssat {out}, #8, {a}";
    /// Held to −512 … 511.
    ssat10(a): "ssat {out}, #10, {a}";
    /// Held to −8192 … 8191.
    ssat14(a): "ssat {out}, #14, {a}";
}

/// The square root, correctly rounded as the definition's is.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(in crate::isa) fn sqrt(x: f32) -> f32 {
    let result: u32;
    // SAFETY: computes, on a chip whose floats are passed in registers of their own; puts back the one that it uses, as
    // the compiler does not let blocks name it. The floating-point exceptions' flags may change.
    unsafe {
        asm!(
            ".fpu fpv4-sp-d16", "vmov {kept}, s0", "vmov s0, {x}", "vsqrt.f32 s0, s0", "vmov {x}, s0",
            "vmov s0, {kept}",
            x = inout(reg) x.to_bits() => result, kept = out(reg) _, options(pure, nomem, nostack)
        );
    }
    f32::from_bits(result)
}
