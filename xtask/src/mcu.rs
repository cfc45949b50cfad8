//! `cargo xtask bench mcu`: what each network takes on each chip, layer by layer, in the emulator.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::{
    bare_metal::{self, BareMetal},
    figures::Figures,
    firmware::{self, LABEL, Program, SEED},
    setup,
};

/// Measures the programs of one board, or of all, and compares with the committed figures or writes these.
pub fn run(board: Option<&str>, bless: bool) -> Result<()> {
    let mut programs = firmware::programs()?;
    programs.retain(|program| program.in_emulator() && board.is_none_or(|board| program.package == board));
    ensure!(!programs.is_empty(), "no board in the emulator is called `{}`", board.unwrap_or_default());
    setup::qemu()?;
    let bare_metal = bare_metal::set_up()?;
    firmware::cargo_all(&bare_metal, "build", &programs, &[])?;
    let mut all = Vec::new();
    let mut complaints = Vec::new();
    for program in &programs {
        let figures = measure(program, &bare_metal)?;
        figures.check_budget(program)?;
        let verdict = if bless { figures.bless() } else { figures.check() };
        complaints.extend(verdict.err().map(|error| format!("{error:#}")));
        all.push((program, figures));
    }
    print_tables(&all)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// Runs a built program in the emulator: an evaluation, and a picture where its manifest says so.
pub fn measure(program: &Program, bare_metal: &BareMetal) -> Result<Figures> {
    let elf = program.elf();
    let mut logs = vec![program.print(&elf, &[])?];
    if program.binary.draws {
        logs.push(program.print(&elf, &[LABEL, &SEED.to_string()])?);
    }
    Figures::new(program, &bare_metal.compiler, &logs, firmware::size(&elf)?)
}

/// A table of the programs, and one of the layers for each network, a column a program.
fn print_tables(all: &[(&Program, Figures)]) -> Result<()> {
    println!("\n{:20} {:>14} {:>10} {:>12} {:>8}", "program", "an evaluation", "flash", "static RAM", "stack");
    for (program, figures) in all {
        let [evaluation, flash, ram, stack] =
            ["instructions_per_evaluation", "flash_bytes", "static_ram_bytes", "stack_bytes"]
                .map(|key| figures.integer(key));
        println!("{:20} {:>14} {:>10} {:>12} {:>8}", program.name, evaluation?, flash?, ram?, stack?);
    }
    let mut networks = BTreeMap::<_, Vec<_>>::new();
    for (program, figures) in all {
        networks.entry((&program.binary.network, &program.binary.precision)).or_default().push((program, figures));
    }
    for ((network, precision), columns) in networks {
        println!("\n{:32}", format!("{network}, {precision}: instructions"));
        print_layers(&columns)?;
    }
    Ok(())
}

/// Rows are the layers of the network on any of the boards, as kernels may be split differently.
fn print_layers(columns: &[(&&Program, &Figures)]) -> Result<()> {
    let mut names = Vec::<&str>::new();
    let layers = columns.iter().map(|(_, figures)| figures.layers()).collect::<Result<Vec<_>>>()?;
    for name in layers.iter().flat_map(|layers| layers.keys()) {
        // Glue only brings maps into shape for the layers of a benchmark.
        if !names.contains(&name.as_str()) && !name.starts_with("glue") {
            names.push(name);
        }
    }
    let cells = |first: &str, cells: &[String]| {
        println!("{first:32}{}", cells.iter().map(|cell| format!(" {cell:>14}")).collect::<String>());
    };
    cells("", &columns.iter().map(|(program, _)| program.package.clone()).collect::<Vec<_>>());
    for name in names {
        let row = layers.iter().map(|layers| layers.get(name).map_or_else(String::new, ToString::to_string));
        cells(name, &row.collect::<Vec<_>>());
    }
    Ok(())
}
