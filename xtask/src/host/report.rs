//! What came out, for people and as the committed file.

use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use super::{
    programs::Programs,
    rounds::{Times, WORK, median, ratio},
    runner::{Absent, PEAK, REFERENCE, Runner},
};
use crate::shell::root;

/// The most that an output in f32 may differ from [`REFERENCE`]'s, which is of the order of 1: all have to compute the
/// same network. The sums' orders differ.
const TOLERANCE: f64 = 1e-4;

/// Everything.
pub struct Figures {
    pub machine: [(&'static str, String); 2],
    pub networks: Vec<Network>,
    pub absent: Vec<Absent>,
    pub programs: Programs,
}

/// One engine's.
pub struct Network {
    name: &'static str,
    version: String,
    evaluation_us: f64,
    picture_ms: f64,
    /// Its time in that of grano with the same numbers, the median of rounds.
    times_grano: f64,
    /// The time that the core needs at least, in its time.
    share_of_peak: f64,
    /// Of the output, against the reference's.
    difference: Option<Difference>,
}

/// Between two outputs.
struct Difference {
    largest: f64,
    /// Signal to noise in decibels.
    snr_db: f64,
}

/// Joins times and outputs.
pub fn networks(runners: &mut [Runner], times: &Times) -> Result<Vec<Network>> {
    let find = |runner: &&mut Runner| runner.name == REFERENCE;
    let reference = runners.iter_mut().find(find).context("PyTorch, which the others are compared with, failed")?;
    let reference = reference.output()?;
    let of = |work, name: &str| times.iter().find(|((w, n), _)| *w == work && *n == name).map_or(&[][..], |(_, t)| t);
    let [evaluate, picture] = WORK;
    let network = |runner: &mut Runner| {
        let name = runner.name;
        let (_, numbers) = name.rsplit_once('-').unwrap_or(("", "int8"));
        let has_output = ![PEAK, REFERENCE].contains(&name);
        let difference = has_output.then(|| runner.output()).transpose()?.map(|is| Difference::new(&reference, &is));
        let largest = difference.as_ref().map_or(0.0, |difference| difference.largest);
        ensure!(numbers != "f32" || largest < TOLERANCE, "{name} computes another network: it is {largest} off");
        Ok(Network {
            name,
            version: runner.version.clone(),
            evaluation_us: median(of(evaluate, name).iter().copied()) / 1e3,
            picture_ms: median(of(picture, name).iter().copied()) / 1e6,
            times_grano: ratio(of(evaluate, name), of(evaluate, &format!("grano-{numbers}"))),
            share_of_peak: ratio(of(evaluate, PEAK), of(evaluate, name)),
            difference,
        })
    };
    runners.iter_mut().map(network).collect()
}

impl Difference {
    fn new(right: &[f64], is: &[f64]) -> Self {
        let pairs = || right.iter().zip(is);
        let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let noise = power(&mut pairs().map(|(right, is)| right - is));
        let largest = pairs().map(|(right, is)| (right - is).abs()).fold(0.0, f64::max);
        Self { largest, snr_db: 10.0 * (power(&mut right.iter().copied()) / noise).log10() }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.machine {
            writeln!(f, "{key:9} {value}")?;
        }
        writeln!(
            f,
            "\n{:17} {:>11} {:>11} {:>8} {:>9} {:>8}  version",
            "one core", "evaluation", "DDIM-20", "× grano", "of peak", "ε SNR"
        )?;
        for network in &self.networks {
            let Network { name, version, evaluation_us, picture_ms, times_grano, share_of_peak, difference } = network;
            let snr = difference.as_ref().map_or_else(String::new, |d| format!("{:.1} dB", d.snr_db));
            write!(f, "{name:17} {evaluation_us:8.0} µs {picture_ms:8.2} ms {times_grano:8.2} ")?;
            writeln!(f, "{:7.1} % {snr:>8}  {version}", 100.0 * share_of_peak)?;
        }
        for Absent { name, reason } in &self.absent {
            writeln!(f, "{name:17} cannot run it: {reason}")?;
        }
        writeln!(f)?;
        for (threads, rate) in &self.programs.pictures_per_second {
            writeln!(f, "{rate:.1} pictures of `fashion` a second on {threads} core(s)")?;
        }
        let Programs { scaling, efficiency, peak_kib: [program, embedded], embedded_bytes, .. } = self.programs;
        let [scaling, efficiency] = [scaling, efficiency].map(|share| 100.0 * share);
        writeln!(f, "{scaling:.1} % of linear by the clock, {efficiency:.1} % by processor time")?;
        writeln!(
            f,
            "{program} KiB at most for one picture, {embedded} KiB in the small program of {embedded_bytes} bytes"
        )
    }
}

impl Figures {
    /// The instruction set of grano's kernels here, which its version ends with.
    fn isa(&self) -> &str {
        let version = self.networks.iter().find(|network| network.name == "grano-int8").map(|it| it.version.as_str());
        version.and_then(|version| version.rsplit_once(", ")).map_or("unknown", |(_, isa)| isa)
    }

    /// Makes these the committed figures of the machine's instruction set.
    pub fn bless(&self) -> Result<()> {
        let mut table = Table::new();
        for (key, value) in &self.machine {
            table.insert((*key).into(), Value::String(value.clone()));
        }
        let Programs { scaling, efficiency, peak_kib: [program, embedded], embedded_bytes, .. } = self.programs;
        for (threads, rate) in &self.programs.pictures_per_second {
            table.insert(format!("pictures_per_second_on_{threads}"), rounded(*rate, 2));
        }
        table.insert("share_of_linear".into(), rounded(scaling, 3));
        table.insert("share_of_linear_by_processor_time".into(), rounded(efficiency, 3));
        table.insert("peak_kib".into(), Value::Integer(program.try_into()?));
        table.insert("embedded_peak_kib".into(), Value::Integer(embedded.try_into()?));
        table.insert("embedded_bytes".into(), Value::Integer(embedded_bytes.try_into()?));
        table.insert("network".into(), Value::Array(self.networks.iter().map(Network::table).collect()));
        let path = root().join("boards/host/figures").join(self.isa().replace(' ', "-").to_lowercase() + ".toml");
        let head = "# Written by `cargo xtask bench host --bless`: the reference U-Net on one core, and the host program.\n#\n";
        let comments: String =
            self.to_string().lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
        fs::create_dir_all(root().join("boards/host/figures"))?;
        fs::write(&path, format!("{head}{comments}\n{}", toml::to_string(&table)?))?;
        println!("wrote {}", path.display());
        Ok(())
    }
}

impl Network {
    fn table(&self) -> Value {
        let text = |text: &str| Value::String(text.to_owned());
        let mut table = Table::new();
        table.insert("name".into(), text(self.name));
        table.insert("version".into(), text(&self.version));
        table.insert("evaluation_us".into(), rounded(self.evaluation_us, 1));
        table.insert("picture_ms".into(), rounded(self.picture_ms, 3));
        table.insert("times_grano".into(), rounded(self.times_grano, 3));
        table.insert("share_of_peak".into(), rounded(self.share_of_peak, 3));
        if let Some(Difference { largest, snr_db }) = &self.difference {
            table.insert("largest_difference".into(), text(&format!("{largest:.1e}")));
            table.insert("snr_db".into(), rounded(*snr_db, 1));
        }
        Value::Table(table)
    }
}

fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10f64.powi(digits);
    Value::Float((value * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let difference = Difference::new(&[10.0, 0.0, -10.0], &[10.0, 1.0, -11.0]);
        assert_eq!(difference.largest, 1.0);
        assert!((difference.snr_db - 20.0).abs() < 1e-9);
    }
}
