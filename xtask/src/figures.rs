//! The figures that each program must keep to: a file a program in `boards/firmware/figures`, holding what the program
//! printed in the emulator and what it takes. A change that moves them has to change the file.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use crate::firmware::{Program, Size, workspace};

/// Figures may grow by this much before the check fails. Counts under the emulator repeat exactly; the room is for
/// small changes elsewhere that nobody wants to bless.
const TOLERANCE: f64 = 0.02;

/// The same between two compilers, which unroll and inline differently. Rust 1.95 and 1.96 differed by 2 % in
/// instructions, 4 % in flash and 5 % in stack; the pictures never differ.
const OTHER_COMPILER_TOLERANCE: f64 = 0.10;

/// Below this many bytes or instructions growth is not worth a word.
const NOISE: i64 = 64;

/// The subtable with the instructions of each layer.
const LAYERS: &str = "layers";

/// Numbers that must be equal on any compiler, as texts must.
const EXACT: [&str; 2] = ["steps", "evaluations"];

/// Everything measured about a program.
pub struct Figures {
    name: String,
    /// The picture and what else the program printed as comments.
    comments: String,
    table: Table,
}

impl Figures {
    /// Joins what the program printed in its runs (TOML, a picture in comments) with its size.
    pub fn new(program: &Program, compiler: &str, logs: &[String], size: Size) -> Result<Self> {
        let mut table = Table::from_iter([("compiler".into(), Value::String(compiler.into()))]);
        for log in logs {
            let printed: Table = toml::from_str(log).with_context(|| format!("{} printed no figures", program.name))?;
            for (key, value) in printed {
                // Each run measures the stack; the deepest counts.
                let deepest = table.get(&key).and_then(Value::as_integer).max(value.as_integer());
                table.insert(key, deepest.map_or(value, Value::Integer));
            }
        }
        table.insert("flash_bytes".into(), Value::Integer(size.flash.try_into()?));
        table.insert("static_ram_bytes".into(), Value::Integer(size.ram.try_into()?));
        let comments = logs.iter().flat_map(|log| log.lines()).filter(|line| line.starts_with('#'));
        let comments = comments.map(|line| format!("{}\n", line.trim_end())).collect();
        Ok(Self { name: program.name.clone(), comments, table })
    }

    /// A text that the program printed, such as `crc32` in hexadecimal.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.table.get(key).and_then(Value::as_str).with_context(|| self.missing(key))
    }

    /// Flash and RAM, stack included, against the manifest's budget.
    pub fn check_budget(&self, program: &Program) -> Result<()> {
        let flash = self.integer("flash_bytes")?;
        let ram = self.integer("static_ram_bytes")? + self.integer("stack_bytes")?;
        for (what, is, may) in [("flash", flash, program.binary.flash_bytes), ("RAM", ram, program.binary.ram_bytes)] {
            ensure!(is <= i64::try_from(may)?, "{}: {is} bytes of {what}, but the budget is {may}", self.name);
        }
        Ok(())
    }

    /// Compares with the committed file.
    pub fn check(&self) -> Result<()> {
        let path = self.path();
        ensure!(path.exists(), "{}: there are no figures to compare with. {BLESS}", self.name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        self.compare(&toml::from_str(&text).with_context(|| path.display().to_string())?)
    }

    fn compare(&self, committed: &Table) -> Result<()> {
        let same_compiler = committed.get("compiler") == self.table.get("compiler");
        let tolerance = if same_compiler { TOLERANCE } else { OTHER_COMPILER_TOLERANCE };
        if !same_compiler {
            println!(
                "{}: the committed figures are {}'s; with this compiler they may differ by {:.0} %",
                self.name,
                committed.get("compiler").map_or_else(String::new, Value::to_string),
                100.0 * tolerance
            );
        }
        let new = flat(&self.table);
        let mut complaints = Vec::new();
        for (key, old) in flat(committed).iter().filter(|(key, _)| *key != "compiler") {
            let Some(new) = new.get(key) else {
                complaints.push(self.missing(key));
                continue;
            };
            if let (Some(old), Some(new), false) = (old.as_integer(), new.as_integer(), EXACT.contains(&key.as_str())) {
                let limit = (old as f64 * (1.0 + tolerance)) as i64 + NOISE;
                if new > limit {
                    complaints.push(format!("{key} grew from {old} to {new}, more than {} %", 100.0 * tolerance));
                } else if same_compiler && (new as f64) < old as f64 * (1.0 - tolerance) {
                    println!("{}: {key} shrank from {old} to {new}. {BLESS}", self.name);
                }
            } else if new != old {
                complaints.push(format!("{key} is {new}, was {old}"));
            }
        }
        let complaints = complaints.join("\n  ");
        ensure!(complaints.is_empty(), "{}:\n  {complaints}\n{BLESS}", self.name);
        Ok(())
    }

    /// Makes these the committed figures.
    pub fn bless(&self) -> Result<()> {
        let path = self.path();
        let head = "# Written by `cargo xtask bench mcu --bless`; `cargo xtask test` compares.\n#\n";
        fs::create_dir_all(workspace().join("figures"))?;
        fs::write(&path, format!("{head}{}\n{}", self.comments, toml::to_string(&self.table)?))?;
        println!("wrote {}", path.display());
        Ok(())
    }

    /// Instructions by layer, in the order in which they run.
    pub fn layers(&self) -> Result<&Table> {
        self.table.get(LAYERS).and_then(Value::as_table).with_context(|| self.missing(LAYERS))
    }

    /// A number that the program printed, or that was read off its file.
    pub fn integer(&self, key: &str) -> Result<i64> {
        self.table.get(key).and_then(Value::as_integer).with_context(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> String {
        format!("{} printed no `{key}`", self.name)
    }

    fn path(&self) -> PathBuf {
        workspace().join("figures").join(&self.name).with_extension("toml")
    }
}

/// The values of a table, those of its subtables as `SUBTABLE.KEY`.
fn flat(table: &Table) -> Table {
    let inner = |key: &String, value: &Value| match value.as_table() {
        Some(table) => flat(table).into_iter().map(|(name, value)| (format!("{key}.{name}"), value)).collect(),
        None => Table::from_iter([(key.clone(), value.clone())]),
    };
    table.iter().flat_map(|(key, value)| inner(key, value)).collect()
}

const BLESS: &str = "If that is meant: `cargo xtask bench mcu --bless`";

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(compiler: &str, crc32: &str, instructions: i64) -> Figures {
        let table = toml::from_str(&format!(
            "compiler = \"{compiler}\"\ncrc32 = \"{crc32}\"\nsteps = 20\nlayers.\"stem\" = {instructions}"
        ));
        Figures { name: "board".into(), comments: String::new(), table: table.unwrap() }
    }

    #[test]
    fn growth_and_other_pictures_are_refused() {
        let committed = figures("1.95", "0badcafe", 1_000_000).table;
        let verdict =
            |compiler, crc32, instructions| figures(compiler, crc32, instructions).compare(&committed).is_ok();
        assert!(verdict("1.95", "0badcafe", 1_019_000));
        assert!(!verdict("1.95", "0badcafe", 1_021_000));
        assert!(verdict("1.96", "0badcafe", 1_090_000));
        assert!(!verdict("1.96", "0badcafe", 1_110_000));
        assert!(!verdict("1.96", "0badcaff", 1_000_000));
        assert!(verdict("1.95", "0badcafe", 10));
    }

    #[test]
    fn a_figure_that_is_not_measured_any_more_is_missed() {
        let mut committed = figures("1.95", "0badcafe", 1).table;
        committed.insert("stack_bytes".into(), Value::Integer(1000));
        let error = figures("1.95", "0badcafe", 1).compare(&committed).unwrap_err().to_string();
        assert!(error.contains("stack_bytes"), "{error}");
    }
}
