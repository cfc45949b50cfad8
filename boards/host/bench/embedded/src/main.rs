//! The int8 network alone, in a program of its own: draws a picture into the terminal, with the instructions that every
//! desktop of this kind has.
//!
//! ```sh
//! cargo run --release -p grano-bench-embedded [LABEL [SEED]]
//! ```

use std::error::Error;

use grano::Label as _;

#[allow(dead_code, reason = "constants that other programs need")]
mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

use fashion::Label;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "sneaker".into());
    let seed = words.next().map_or(Ok(0), |seed| seed.parse())?;
    let label = Label::named(&name);
    let label = label.ok_or_else(|| format!("no label `{name}`; give one of {}", Label::NAMES.join(", ")))?;

    let mut painter = fashion::Painter::new();
    painter.start(label, seed);
    painter.run();
    painter.picture().rows().for_each(|row| println!("{row}"));
    Ok(())
}
