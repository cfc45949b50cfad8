//! Whether the chip that cargo builds for has the instructions of the [`Target`] that a build names.
//!
//! Generated code calls instructions that compilers do not check: on a core without them a program is built, and faults
//! when it runs. So [`crate::Build::emit`] compares the target with what cargo tells build scripts. On another architecture,
//! as in tests of a chip's network on a desktop, the portable methods run, which is fine.

use crate::target::Target;

/// What cargo tells a build script of the chip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    /// `TARGET`, such as `thumbv7em-none-eabihf`.
    pub triple: String,
    /// `CARGO_CFG_TARGET_ARCH`, such as `arm`.
    pub arch: String,
    /// `CARGO_CFG_TARGET_FEATURE`, separated by commas; on stable compilers it lacks those of Arm.
    pub features: String,
    /// `CARGO_ENCODED_RUSTFLAGS`, separated by U+001F.
    pub rustflags: String,
}

/// Cores with DSP instructions beyond those of ARMv7E-M, by the names that compilers know.
const WITH_DSP: [&str; 9] = [
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m35p",
    "cortex-m52",
    "cortex-m55",
    "cortex-m85",
    "star-mc1",
    "star-mc3",
];
/// Cores with Helium.
const WITH_MVE: [&str; 4] = ["cortex-m52", "cortex-m55", "cortex-m85", "star-mc3"];

impl Chip {
    /// In a build script: the chip of the program.
    #[must_use]
    pub fn of_build_script() -> Self {
        let of = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            triple: of("TARGET"),
            arch: of("CARGO_CFG_TARGET_ARCH"),
            features: of("CARGO_CFG_TARGET_FEATURE"),
            rustflags: of("CARGO_ENCODED_RUSTFLAGS"),
        }
    }

    /// That it has the instructions of a target, or is of another architecture.
    ///
    /// # Errors
    /// Says what it lacks, and which flag or target fits.
    pub fn check(&self, target: Target) -> Result<(), String> {
        let Self { triple, arch, .. } = self;
        let is_mainline = triple.starts_with("thumbv8m.main") || triple.starts_with("thumbv8.1m.main");
        let name = target.name();
        match target {
            Target::CortexM4 | Target::CortexM7 | Target::CortexM33 if arch == "arm" => {
                if triple.starts_with("thumbv7em") || (is_mainline && self.has("dsp", &WITH_DSP)) {
                    return Ok(());
                }
                Err(format!(
                    "target {name} takes DSP instructions, which {triple} lacks: {}",
                    if is_mainline {
                        "add rustflags `-C target-feature=+dsp`, if the chip has them, or take target cortex-m0"
                    } else {
                        "compile for thumbv7em-none-eabi or thumbv7em-none-eabihf, if the chip is a Cortex-M4 or M7, or take target cortex-m0 (Cortex-M0 to M3, M23) or portable"
                    }
                ))
            }
            Target::CortexM55 if arch == "arm" => {
                if is_mainline && (self.has("mve", &WITH_MVE) || self.has("mve.fp", &WITH_MVE)) {
                    return Ok(());
                }
                Err(format!(
                    "target {name} takes Helium instructions, which {triple} lacks: {}",
                    if is_mainline {
                        "add rustflags `-C target-feature=+v8.1m.main,+mve`, if the chip has them, or take target cortex-m33 (with `-C target-feature=+dsp`) or cortex-m0"
                    } else {
                        "compile for thumbv8m.main-none-eabihf with rustflags `-C target-feature=+v8.1m.main,+mve`, if the chip is a Cortex-M55 or M85, or take the target of the chip that it is"
                    }
                ))
            }
            Target::Riscv32 if arch == "riscv32" && !self.has("m", &[]) => Err(format!(
                "target {name} multiplies, which {triple} cannot: compile for riscv32im-unknown-none-elf or riscv32imc-unknown-none-elf, if the chip has the M extension, or take target portable"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a feature is there: as cargo says, or else as the last flag that speaks of it does.
    fn has(&self, feature: &str, processors: &[&str]) -> bool {
        let mut has = self.features.split(',').any(|known| known == feature);
        // A processor brings its features wherever it stands; single ones are added and removed in their order.
        let options = self.options();
        let processor = options.iter().filter_map(|option| option.strip_prefix("target-cpu=")).next_back();
        has |= processor.is_some_and(|processor| processors.contains(&processor));
        for change in
            options.iter().filter_map(|option| option.strip_prefix("target-feature=")).flat_map(|all| all.split(','))
        {
            match change.trim().split_at_checked(1) {
                Some(("+", name)) if name == feature => has = true,
                Some(("-", name)) if name == feature => has = false,
                _ => {}
            }
        }
        has
    }

    /// The options after `-C` or `--codegen`, in their order.
    fn options(&self) -> Vec<&str> {
        let mut options = Vec::new();
        let mut flags = self.rustflags.split('\u{1f}');
        while let Some(flag) = flags.next() {
            match flag {
                "-C" | "--codegen" => options.extend(flags.next()),
                _ => options.extend(flag.strip_prefix("--codegen=").or_else(|| flag.strip_prefix("-C"))),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Triple, architecture, features, flags, target; and the empty text where they fit, else a word of the remedy.
    type Case = (&'static str, &'static str, &'static str, &'static [&'static str], Target, &'static str);
    const CASES: [Case; 26] = [
        ("thumbv6m-none-eabi", "arm", "", &[], Target::CortexM0, ""),
        ("thumbv6m-none-eabi", "arm", "", &[], Target::Portable, ""),
        ("thumbv6m-none-eabi", "arm", "", &[], Target::CortexM4, "cortex-m0"),
        ("thumbv7m-none-eabi", "arm", "", &[], Target::CortexM4, "thumbv7em-none-eabi"),
        ("thumbv7m-none-eabi", "arm", "", &[], Target::CortexM0, ""),
        ("thumbv7em-none-eabihf", "arm", "", &[], Target::CortexM4, ""),
        ("thumbv7em-none-eabi", "arm", "", &[], Target::CortexM7, ""),
        ("thumbv7em-none-eabihf", "arm", "", &[], Target::CortexM33, ""),
        ("thumbv7em-none-eabihf", "arm", "", &[], Target::CortexM55, "thumbv8m.main-none-eabihf"),
        ("thumbv8m.base-none-eabi", "arm", "", &[], Target::CortexM33, "cortex-m0"),
        ("thumbv8m.main-none-eabihf", "arm", "", &[], Target::CortexM33, "+dsp"),
        ("thumbv8m.main-none-eabihf", "arm", "", &["-C", "target-feature=+dsp"], Target::CortexM33, ""),
        ("thumbv8m.main-none-eabi", "arm", "", &["-Ctarget-cpu=cortex-m33"], Target::CortexM33, ""),
        (
            "thumbv8m.main-none-eabi",
            "arm",
            "",
            &["-Ctarget-cpu=cortex-m33", "-Ctarget-feature=-dsp"],
            Target::CortexM33,
            "+dsp",
        ),
        ("thumbv8m.main-none-eabi", "arm", "dsp,mclass", &[], Target::CortexM33, ""),
        ("thumbv8m.main-none-eabi", "arm", "", &["-C", "target-cpu=cortex-m23"], Target::CortexM33, "+dsp"),
        ("thumbv8m.main-none-eabihf", "arm", "", &["-C", "target-feature=+dsp"], Target::CortexM55, "+mve"),
        (
            "thumbv8m.main-none-eabihf",
            "arm",
            "",
            &["-C", "target-feature=+v8.1m.main,+mve", "-C", "no-vectorize-loops", "-C", "no-vectorize-slp"],
            Target::CortexM55,
            "",
        ),
        ("thumbv8m.main-none-eabihf", "arm", "", &["--codegen=target-cpu=cortex-m55"], Target::CortexM55, ""),
        ("thumbv8m.main-none-eabihf", "arm", "", &["--cfg", "mve", "-C", "opt-level=3"], Target::CortexM55, "+mve"),
        ("armv7-unknown-linux-gnueabihf", "arm", "", &[], Target::CortexM4, "portable"),
        ("riscv32imc-unknown-none-elf", "riscv32", "c,m,zca", &[], Target::Riscv32, ""),
        ("riscv32i-unknown-none-elf", "riscv32", "", &[], Target::Riscv32, "riscv32im"),
        ("riscv32i-unknown-none-elf", "riscv32", "", &["-C", "target-feature=+m"], Target::Riscv32, ""),
        ("x86_64-unknown-linux-gnu", "x86_64", "sse2", &[], Target::CortexM55, ""),
        ("wasm32-unknown-unknown", "wasm32", "", &[], Target::CortexM4, ""),
    ];

    #[test]
    fn chips_without_the_instructions_are_refused_with_a_remedy() {
        for (triple, arch, features, flags, target, remedy) in CASES {
            let [triple, arch, features] = [triple, arch, features].map(String::from);
            let chip = Chip { triple: triple.clone(), arch, features, rustflags: flags.join("\u{1f}") };
            match chip.check(target) {
                Ok(()) => assert_eq!(remedy, "", "{triple} {flags:?} {target:?}"),
                Err(error) => {
                    let names_all = error.contains(target.name()) && error.contains(&triple) && error.contains(remedy);
                    assert!(!remedy.is_empty() && names_all, "{triple} {flags:?} {target:?}: {error}");
                }
            }
        }
    }

    /// Outside a build script cargo says nothing, and nothing is refused.
    #[test]
    fn without_cargo_nothing_is_known() {
        assert!(Target::ALL.into_iter().all(|target| Chip::default().check(target).is_ok()));
    }
}
