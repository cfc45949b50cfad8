//! Whether the machine has dot products.

/// Known when compiled, or told by Linux, which lets programs read the register that says so (since release 4.11).
#[inline]
pub(super) fn has_dot() -> bool {
    if cfg!(target_feature = "dotprod") {
        return true;
    }
    #[cfg(target_os = "linux")]
    {
        use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

        // Neither yes (2) nor no (1) yet: the register is read by a trap.
        static FOUND: AtomicU8 = AtomicU8::new(0);
        let mut found = FOUND.load(Relaxed);
        if found == 0 {
            let features: u64;
            // SAFETY: it reads a register. Linux answers programs that do.
            unsafe {
                core::arch::asm!("mrs {}, ID_AA64ISAR0_EL1", out(reg) features, options(nomem, nostack, preserves_flags));
            }
            // Bits 47 to 44, `DP`, of Arm's manual.
            found = 1 + u8::from(features >> 44 & 0xf > 0);
            FOUND.store(found, Relaxed);
        }
        found == 2
    }
    #[cfg(not(target_os = "linux"))]
    false
}
