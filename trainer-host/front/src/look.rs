//! `look`: what a command would learn from, before it does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, RgbImage};

use crate::arguments::data::Look;
use crate::data::{Loaded, load};

/// Pictures of a class on the sheet, and the most classes there.
const COLUMNS: usize = 10;
const ROWS: usize = 32;
/// Small pictures are shown larger, to about so many pixels.
const SHOWN: usize = 64;

/// Prints a summary, and writes the sheet.
///
/// # Errors
/// Names what is wrong with the data, or the file that cannot be written.
pub fn look(args: &Look) -> Result<()> {
    let png = args.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    ensure!(png, "--output {}: name a .png", args.output.display());
    let loaded = load(&args.data, args.labels.as_deref())?;
    print!("{}", summary(&args.data.data, &loaded));
    write_sheet(&loaded, &args.output)?;
    println!("sheet, a row a class: {}", args.output.display());
    Ok(())
}

/// What was found, in lines.
pub fn summary(path: &Path, loaded: &Loaded) -> String {
    let mut text = String::new();
    let report = &loaded.report;
    let [height, width, channels] = loaded.shape;
    let colour = if channels == 1 { "grey" } else { "colour" };
    // Writing to a string does not fail.
    let mut line = |parts: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{parts}");
    };
    line(format_args!("{}: {}", path.display(), report.kind));
    line(format_args!("pictures: {} of {height}×{width}, {colour}", loaded.count()));
    let sizes = report.sizes.iter().take(5).map(|([h, w], count)| format!("{count} of {h}×{w}"));
    if report.sizes.len() > 1 || report.sizes.keys().any(|size| *size != [height, width]) {
        let more = if report.sizes.len() > 5 { format!(", … ({} sizes)", report.sizes.len()) } else { String::new() };
        line(format_args!("sizes as found: {}{more}", sizes.collect::<Vec<_>>().join(", ")));
    }
    let [low, mean, high] = report.values;
    line(format_args!("values: {low:.0} to {high:.0}, mean {mean:.0}"));
    let counts = loaded.counts();
    match counts.len() {
        0 => line(format_args!("classes: none")),
        n => line(format_args!("classes: {n}")),
    }
    const MOST: usize = 60;
    for (class, (name, found)) in loaded.names.iter().zip(&report.classes).enumerate().take(MOST) {
        let was = if name == found { String::new() } else { format!(" (`{found}` in the data)") };
        line(format_args!("  {class:3} {name}{was}: {}", counts[class]));
    }
    if counts.len() > MOST {
        line(format_args!("  … and {} more", counts.len() - MOST));
    }
    if let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max())
        && *most > 10 * least.max(&1)
    {
        line(format_args!("note: classes are uneven, {least} to {most} pictures"));
    }
    if height % 4 > 0 || width % 4 > 0 {
        let [h, w] = [height, width].map(|side| side.next_multiple_of(4));
        line(format_args!("note: the compact network takes sides of multiples of 4: --size {h}x{w} --resize pad"));
    }
    for note in &report.notes {
        line(format_args!("note: {note}"));
    }
    for (reason, names) in &report.skipped {
        let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 3 { ", …" } else { "" };
        line(format_args!("left out, {reason}: {} ({shown}{more})", names.len()));
    }
    text
}

/// The first pictures of every class, as the network sees them, but larger.
fn write_sheet(loaded: &Loaded, path: &Path) -> Result<()> {
    let [height, width, channels] = loaded.shape;
    let size = height * width * channels;
    let set = &loaded.train;
    let rows: Vec<Vec<usize>> = match loaded.names.len() {
        0 => {
            let every = set.labels.len().div_ceil(COLUMNS * COLUMNS).max(1);
            let chosen: Vec<usize> = (0..set.labels.len()).step_by(every).collect();
            chosen.chunks(COLUMNS).map(<[usize]>::to_vec).collect()
        }
        classes => (0..classes.min(ROWS) as i64)
            .map(|class| {
                let own: Vec<usize> = (0..set.labels.len()).filter(|&i| set.labels[i] == class).collect();
                own.iter().copied().step_by(own.len().div_ceil(COLUMNS).max(1)).take(COLUMNS).collect()
            })
            .collect(),
    };
    let (sheet_w, sheet_h) = (COLUMNS * width, rows.len() * height);
    let mut sheet = vec![0; sheet_w * sheet_h * channels];
    for (row, chosen) in rows.iter().enumerate() {
        for (column, &i) in chosen.iter().enumerate() {
            let picture = &set.pixels[i * size..][..size];
            for (y, line) in picture.chunks_exact(width * channels).enumerate() {
                let at = ((row * height + y) * sheet_w + column * width) * channels;
                sheet[at..][..line.len()].copy_from_slice(line);
            }
        }
    }
    let (w, h) = (sheet_w as u32, sheet_h as u32);
    let sheet = match channels {
        1 => GrayImage::from_raw(w, h, sheet).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(w, h, sheet).map(DynamicImage::ImageRgb8),
    };
    let sheet = sheet.context("no sheet of these pictures")?;
    let by = (SHOWN / height.max(width)).clamp(1, 8) as u32;
    let large = match &sheet {
        DynamicImage::ImageLuma8(grey) => imageops::resize(grey, w * by, h * by, FilterType::Nearest).into(),
        colour => DynamicImage::from(imageops::resize(&colour.to_rgb8(), w * by, h * by, FilterType::Nearest)),
    };
    save(&large, path)
}

/// Writes a PNG whole or not at all.
fn save(picture: &DynamicImage, path: &Path) -> Result<()> {
    let partial: PathBuf = path.with_extension("partial.png");
    let written = picture.save(&partial).map_err(anyhow::Error::from);
    let written = written.and_then(|()| Ok(std::fs::rename(&partial, path)?));
    written.with_context(|| format!("{}: cannot be written; does its folder exist?", path.display()))
}
