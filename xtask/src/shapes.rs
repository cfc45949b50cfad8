//! `cargo xtask bench shapes`: what the plan says of random layers, against what boards count of them in the emulator.
//!
//! The layers are `grano_networks::shapes`: each a network of its own, spread over a few programs a board. The plan is the
//! generated `plan.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use toml::Table;

use crate::{
    bare_metal::{self, BareMetal},
    firmware::{self, Program},
    setup,
};

/// The firmware's package, and what tells its build script the board and the part.
const PACKAGE: &str = "shapes";
const SETTINGS: &str = "GRANO_SHAPES";
/// The boards that it knows.
const BOARDS: [&str; 5] = ["qemu-m0", "qemu-m4f", "qemu-m33", "qemu-m55", "qemu-rv32"];

/// A call of a layer's network.
struct Row {
    network: String,
    layer: String,
    shape: String,
    macs: f64,
    plan: f64,
    count: f64,
    way: String,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.plan / self.count
    }

    /// How far off the plan is, either way.
    fn misfit(&self) -> f64 {
        self.ratio().max(1.0 / self.ratio())
    }

    /// Whether it only brings maps into shape.
    fn is_glue(&self) -> bool {
        ["glue", "quantize", "store"].iter().any(|start| self.layer.starts_with(start))
    }

    /// The kind of the network's layer, such as `conv3x3`; what brings maps into shape is of kinds of its own.
    fn kind(&self) -> &str {
        let words = if self.is_glue() { &self.layer } else { &self.network };
        let end = if self.is_glue() { words.find('.') } else { words.rfind('_') };
        end.map_or(&**words, |end| &words[..end])
    }
}

/// Runs the first `take` of `parts` programs of one board, or of all, and prints tables; every row goes to
/// `target/shapes/{board}.csv`.
pub fn run(board: Option<&str>, [parts, take]: [usize; 2]) -> Result<()> {
    let boards: Vec<&str> = BOARDS.into_iter().filter(|name| board.is_none_or(|board| board == *name)).collect();
    ensure!(!boards.is_empty(), "the boards are {}, not `{}`", BOARDS.join(", "), board.unwrap_or_default());
    setup::qemu()?;
    let bare_metal = bare_metal::set_up()?;
    for board in boards {
        let program = firmware::program(board)?;
        let mut rows = Vec::new();
        for part in 0..take.min(parts) {
            rows.extend(measure(&program, &bare_metal, [part, parts])?);
        }
        print(board, &mut rows);
        write(board, &rows)?;
    }
    Ok(())
}

/// One program's calls.
fn measure(program: &Program, bare_metal: &BareMetal, [part, parts]: [usize; 2]) -> Result<Vec<Row>> {
    let build = program
        .cargo_of(bare_metal, "build", PACKAGE)
        .args(["--message-format", "json-render-diagnostics"])
        .env(SETTINGS, format!("{} {part} {parts}", program.package));
    println!("$ {build}");
    let messages = build.text()?;
    let folder = out_dir(&messages).context("cargo does not say where the build script wrote to")?;
    let plan = |number: usize| fs::read_to_string(Path::new(folder).join(format!("{PACKAGE}{number}/plan.txt"))).ok();
    let plan: String = (0..).map_while(plan).collect();
    let log = program.print(&program.elf_of(PACKAGE), &[])?;
    let log: Table = toml::from_str(&log)?;
    let counts = log.get("layers").and_then(|layers| layers.as_table()).context("the board printed no layers")?;
    let mut rows = planned(&plan);
    rows.retain_mut(|row| {
        let count = counts.get(&format!("{}.{}", row.network, row.layer)).and_then(|count| count.as_integer());
        row.count = count.unwrap_or_default() as f64;
        count.is_some()
    });
    ensure!(!rows.is_empty(), "plan and board name no layer alike");
    Ok(rows)
}

/// The folder that the build script of the package wrote to, in cargo's messages.
fn out_dir(messages: &str) -> Option<&str> {
    let is_ours = |line: &&str| line.contains("\"build-script-executed\"") && line.contains("/firmware/shapes#");
    let (_, rest) = messages.lines().rfind(is_ours)?.split_once("\"out_dir\":\"")?;
    rest.split_once('"').map(|(folder, _)| folder)
}

/// The calls in `plan.txt`, without counts. A table of layers follows `network NAME`; its columns are number, name, output,
/// MACs, instructions, flash, rows and algorithm.
fn planned(plan: &str) -> Vec<Row> {
    let (mut network, mut rows) = ("", Vec::new());
    for line in plan.lines() {
        if let Some(name) = line.strip_prefix("network ") {
            network = name;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, layer, shape, macs, plan, _, _, way @ ..] = &words[..] else { continue };
        let (Ok(_), Ok(macs), Ok(plan)) = (number.parse::<usize>(), macs.parse(), plan.parse()) else { continue };
        let [network, layer, shape] = [network, *layer, *shape].map(str::to_owned);
        rows.push(Row { network, layer, shape, macs, plan, count: 0.0, way: way.join(" ") });
    }
    rows
}

/// Plan against count, the worst, and speed by kind.
fn print(board: &str, rows: &mut [Row]) {
    rows.sort_by(|a, b| b.misfit().total_cmp(&a.misfit()));
    let mut kinds = BTreeMap::<&str, Vec<&Row>>::new();
    rows.iter().for_each(|row| kinds.entry(row.kind()).or_default().push(row));
    let heads = ["calls", "plan/count", "within 25 %", "within 50 %", "MACs an instruction"];
    println!("\n{board:20} {:>6} {:>12} {:>12} {:>12} {:>20}", heads[0], heads[1], heads[2], heads[3], heads[4]);
    for (kind, rows) in kinds {
        let sum = |value: fn(&Row) -> f64| rows.iter().map(|row| value(row)).sum::<f64>();
        let within = |most: f64| {
            let near = rows.iter().filter(|row| (1.0 - most..=1.0 + most).contains(&row.ratio())).count();
            format!("{:.0} %", 100.0 * near as f64 / rows.len() as f64)
        };
        let (plan, count, macs) = (sum(|row| row.plan), sum(|row| row.count), sum(|row| row.macs));
        println!(
            "{kind:20} {:>6} {:>12.2} {:>12} {:>12} {:>20.3}",
            rows.len(),
            plan / count,
            within(0.25),
            within(0.5),
            macs / count
        );
    }
    println!("\nthe ten worst");
    for row in rows.iter().filter(|row| !row.is_glue()).take(10) {
        let Row { network, layer, shape, plan, count, way, .. } = row;
        println!("{network}.{layer:12} {shape:>12} plan {plan:>9} count {count:>9} ratio {:>5.2}  {way}", row.ratio());
    }
}

fn write(board: &str, rows: &[Row]) -> Result<()> {
    let folder = firmware::target_folder().join(PACKAGE);
    fs::create_dir_all(&folder)?;
    let path = folder.join(board).with_extension("csv");
    let mut table = csv::Writer::from_path(&path)?;
    table.write_record(["network", "layer", "shape", "macs", "plan", "count", "algorithm"])?;
    for Row { network, layer, shape, macs, plan, count, way } in rows {
        let [macs, plan, count] = [macs, plan, count].map(ToString::to_string);
        table.write_record([network, layer, shape, &macs, &plan, &count, way])?;
    }
    println!("\n{}", path.display());
    Ok(table.flush()?)
}
