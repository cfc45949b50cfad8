//! The int8 network alone, in a program of its own: draws a picture into the terminal, with the instructions that every
//! desktop of this kind has.
//!
//! ```sh
//! cargo run --release -p grano-bench-embedded [LABEL [SEED]]
//! ```

use std::error::Error;

use grano::{Gaussian, Model, Philox, Request, Sampler, Table, picture};

#[allow(dead_code, reason = "constants that other programs need")]
mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

type Fashion = fashion::Fashion;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "sneaker".into());
    let seed = words.next().map_or(Ok(0), |seed| seed.parse())?;
    let label = Fashion::LABELS.iter().position(|known| *known == name);
    let label = label.ok_or_else(|| format!("no label `{name}`; give one of {}", Fashion::LABELS.join(", ")))?;

    let mut sampler = Sampler::<Fashion, _>::new();
    let request = Request { label: Some(label), guidance: Fashion::GUIDANCE };
    sampler.start(Table::default(), Gaussian(Philox::new(seed, 0)), request)?;
    sampler.run();

    for row in picture::rows(Fashion::SHAPE, sampler.x()) {
        // Two characters a pixel: they are about half as wide as high.
        println!("{}", row.map(picture::shade).flat_map(|shade| [shade; 2]).collect::<String>().trim_end());
    }
    Ok(())
}
