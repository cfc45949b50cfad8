//! The chip that a build is for: its instruction set, and how that wants its weights.

use grano::geometry::Geometry;
use grano::isa::{Isa, Packing};
use grano::kernel::AttentionInt8;
use grano::shape::Shape;

use crate::error::{Error, Result};

/// A value of the target's instruction set, the type being called `$isa` in the expression.
macro_rules! isa {
    ($target:expr, $isa:ident => $value:expr) => {
        match $target {
            $crate::target::Target::Portable => $crate::target::with!($isa = Portable => $value),
            $crate::target::Target::CortexM0 => $crate::target::with!($isa = Armv6m => $value),
            $crate::target::Target::CortexM4
            | $crate::target::Target::CortexM7
            | $crate::target::Target::CortexM33 => $crate::target::with!($isa = Dsp => $value),
            $crate::target::Target::CortexM55 => $crate::target::with!($isa = Helium => $value),
            $crate::target::Target::Riscv32 => $crate::target::with!($isa = Riscv32 => $value),
            $crate::target::Target::X86 => $crate::target::with!($isa = Avx2 => $value),
            $crate::target::Target::Aarch64 => $crate::target::with!($isa = Neon => $value),
            $crate::target::Target::Wasm32 => $crate::target::with!($isa = Simd128 => $value),
        }
    };
}

macro_rules! with {
    ($isa:ident = $type:ident => $value:expr) => {{
        type $isa = grano::isa::$type;
        $value
    }};
}
pub(crate) use {isa, with};

/// A chip, or a family of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Any chip, in plain Rust.
    #[default]
    Portable,
    /// ARMv6-M: also the M0+.
    CortexM0,
    /// ARMv7E-M, with DSP instructions.
    CortexM4,
    /// ARMv7E-M, with DSP instructions.
    CortexM7,
    /// ARMv8-M, with DSP instructions.
    CortexM33,
    /// ARMv8.1-M with Helium: also the M85.
    CortexM55,
    /// RV32IM and RV32IMC.
    Riscv32,
    /// AVX2; AVX-512 VNNI reads the same packing.
    X86,
    /// Neon; its dot products read the same packing.
    Aarch64,
    /// WebAssembly with simd128.
    Wasm32,
}

impl Target {
    /// In a build script: the desktop that the program is compiled for, as [`grano::isa::desktop`] runs it.
    #[must_use]
    pub fn desktop() -> Self {
        match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
            Ok("x86_64") => Self::X86,
            Ok("aarch64") => Self::Aarch64,
            _ => Self::Portable,
        }
    }

    /// The desktop that this program runs on.
    #[must_use]
    pub const fn here() -> Self {
        if cfg!(target_arch = "x86_64") {
            Self::X86
        } else if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::Portable
        }
    }

    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Portable,
        Self::CortexM0,
        Self::CortexM4,
        Self::CortexM7,
        Self::CortexM33,
        Self::CortexM55,
        Self::Riscv32,
        Self::X86,
        Self::Aarch64,
        Self::Wasm32,
    ];

    /// By which users choose it, such as `cortex-m4`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::CortexM0 => "cortex-m0",
            Self::CortexM4 => "cortex-m4",
            Self::CortexM7 => "cortex-m7",
            Self::CortexM33 => "cortex-m33",
            Self::CortexM55 => "cortex-m55",
            Self::Riscv32 => "riscv32",
            Self::X86 => "x86",
            Self::Aarch64 => "aarch64",
            Self::Wasm32 => "wasm32",
        }
    }

    /// The instruction set's name in the engine's module `isa`; where several share a packing, that which all have.
    #[must_use]
    pub fn isa(self) -> &'static str {
        match self {
            Self::Portable => "Portable",
            Self::CortexM0 => "Armv6m",
            Self::CortexM4 | Self::CortexM7 | Self::CortexM33 => "Dsp",
            Self::CortexM55 => "Helium",
            Self::Riscv32 => "Riscv32",
            Self::X86 => "Avx2",
            Self::Aarch64 => "Neon",
            Self::Wasm32 => "Simd128",
        }
    }

    /// Where a convolution's weight of output channel `channel` and tap `tap` lies.
    #[must_use]
    pub fn place_weight(self, geometry: &Geometry, channel: usize, tap: usize) -> usize {
        isa!(self, I => I::place_weight(geometry, channel, tap))
    }

    /// Changes a convolution's packed weights into what its loops read.
    pub fn recode(self, geometry: &Geometry, packed: &mut [i8]) {
        isa!(self, I => I::recode(geometry, packed));
    }

    /// How its weights are packed.
    #[must_use]
    pub fn packing(self) -> Packing {
        isa!(self, I => I::PACKING)
    }

    /// Bytes that buffers and constants begin at multiples of.
    #[must_use]
    pub fn align(self) -> usize {
        isa!(self, I => I::ALIGN)
    }

    /// 32-bit words of scratch that a convolution takes.
    #[must_use]
    pub fn scratch_words(self, geometry: &Geometry) -> usize {
        isa!(self, I => I::scratch_words(geometry))
    }

    /// Elements of scratch that a floating-point convolution takes.
    #[must_use]
    pub fn float_scratch(self, geometry: &Geometry) -> usize {
        isa!(self, I => I::float_scratch(geometry))
    }

    /// 32-bit words of scratch that attention on int8 maps takes.
    #[must_use]
    pub fn attention_scratch(self, shape: Shape, heads: usize) -> usize {
        isa!(self, I => AttentionInt8::scratch_words::<I>(shape, heads))
    }

    /// How transformed weights are packed, see the engine's `kernel::winograd`.
    #[must_use]
    pub fn wide_packing(self) -> Packing {
        isa!(self, I => I::WIDE)
    }
}

impl std::str::FromStr for Target {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|target| target.name() == name);
        known.ok_or_else(|| {
            Error::Model(format!("target `{name}`: give one of {}", Self::ALL.map(Self::name).join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert!(Target::ALL.into_iter().all(|target| target.name().parse::<Target>().unwrap() == target));
        assert!("z80".parse::<Target>().unwrap_err().to_string().contains("cortex-m4"));
    }
}
