//! Parameters that have been proved: the only ones that run.

use core::marker::PhantomData;

use crate::isa::Portable;

/// A kernel whose parameters agree with each other, their weights packed as the instruction set `I` reads them.
///
/// Kernels make it of themselves: `checked()` in a static's initialiser, where a misfit is a compile error, `proved()` when a
/// program runs, where it is an error with a reason. `run` is a method of this type alone. It holds its buffers to the
/// lengths that the parameters ask for, once, and does nothing where they are too short; the loops of instruction sets
/// rely on parameters and lengths from there on.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Proved<K, I = Portable> {
    kernel: K,
    isa: PhantomData<I>,
}

impl<K: Copy, I> Proved<K, I> {
    /// The caller has checked the kernel, or it is a part of one that was.
    pub(super) const fn new(kernel: K) -> Self {
        Self { kernel, isa: PhantomData }
    }

    /// The parameters.
    #[must_use]
    #[inline(always)]
    pub const fn parameters(&self) -> &K {
        &self.kernel
    }
}

/// Ends a check with a reason where the condition does not hold.
macro_rules! require {
    ($condition:expr, $reason:expr) => {
        let holds: bool = $condition;
        if !holds {
            return Err($reason);
        }
    };
}
pub(super) use require;

/// `proved` and `checked` from a kernel's `const fn check(&self) -> Result<(), &'static str>`, which is generic over the
/// instruction set where weights are packed for one.
macro_rules! provable {
    ($([$($generics:tt)*] $kernel:ty $(, packed for $isa:ident)?;)*) => {$(
        impl<$($generics)*> $kernel {
            /// The kernel with its proof, for a program that builds it when it runs.
            ///
            /// # Errors
            /// What the parameters lack.
            pub const fn proved$(<$isa: Isa>)?(
                self,
            ) -> Result<crate::kernel::Proved<Self $(, $isa)?>, &'static str> {
                match self.check$(::<$isa>)?() {
                    Ok(()) => Ok(crate::kernel::Proved::new(self)),
                    Err(reason) => Err(reason),
                }
            }

            /// The kernel with its proof, for a static's initialiser.
            ///
            /// # Panics
            /// At compile time there, with what the parameters lack.
            #[must_use]
            pub const fn checked$(<$isa: Isa>)?(self) -> crate::kernel::Proved<Self $(, $isa)?> {
                match self.proved$(::<$isa>)?() {
                    Ok(proved) => proved,
                    Err(reason) => panic!("{}", reason),
                }
            }
        }
    )*};
}
pub(super) use provable;

/// At compile time: `$run` reads weights that are packed for `$packed`, and needs no more scratch.
macro_rules! same_packing {
    ($packed:ident, $run:ident) => {
        const {
            assert!(
                $packed::PACKING.equals(&$run::PACKING)
                    && $packed::WIDE.equals(&$run::WIDE)
                    && $packed::SCRATCH.equals($run::SCRATCH),
                "an instruction set runs weights of its own packing"
            );
        }
    };
}
pub(super) use same_packing;
