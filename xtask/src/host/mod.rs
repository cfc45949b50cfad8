//! `cargo xtask bench host`: the reference U-Net on one core, in grano and in others' engines, all in one run; and what
//! the desktop's program takes.
//!
//! [`setup`] builds and converts; a [`runner`] is one engine, waiting for work; [`rounds`] lets all of them take turns;
//! [`programs`] measures whole programs; [`report`] says and keeps what came out.

mod programs;
mod report;
mod rounds;
mod runner;
mod setup;

use anyhow::Result;

use runner::Runner;

pub use setup::folder;

/// Measures everything; with `bless`, keeps it as the committed figures.
pub fn bench(bless: bool) -> Result<()> {
    let bench = setup::set_up()?;
    let (mut runners, absent) = Runner::start_all(&bench)?;
    let times = rounds::measure(&mut runners)?;
    let figures = report::Figures {
        machine: setup::machine()?,
        networks: report::networks(&mut runners, &times)?,
        absent,
        programs: programs::measure(&bench)?,
    };
    print!("{figures}");
    if bless { figures.bless() } else { Ok(()) }
}
