//! The int8 network alone, in a program of its own: draws a picture into the terminal.
//!
//! ```sh
//! cargo run --release -p grano-host --example embedded [LABEL [SEED]]
//! ```

use std::error::Error;

use grano::denoiser::Denoiser;
use grano::noise::{Gaussian, Philox};
use grano::picture;
use grano::sampler::{Request, Sampler};

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion_int8/model.rs"));
}

type Network = fashion::FashionInt8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let label = words.next().unwrap_or_else(|| "sneaker".into());
    let seed = words.next().map_or(Ok(0), |seed| seed.parse())?;
    let number = fashion::LABELS.iter().position(|known| *known == label);
    let number = number.ok_or_else(|| format!("no label `{label}`; give one of {}", fashion::LABELS.join(", ")))?;

    let mut sampler = Sampler::<Network, _>::new();
    let request = Request { label: Some(number), guidance: fashion::GUIDANCE };
    sampler.start(&fashion::SAMPLERS[0], Gaussian(Philox::new(seed, 0)), request)?;
    sampler.run();

    for row in picture::rows(Network::SHAPE, sampler.x()) {
        // Two characters a pixel: they are about half as wide as high.
        println!("{}", row.map(picture::shade).flat_map(|shade| [shade; 2]).collect::<String>().trim_end());
    }
    Ok(())
}
