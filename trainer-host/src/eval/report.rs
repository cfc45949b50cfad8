//! `report.html`: one page that needs nothing else.

use anyhow::{Result, ensure};
use base64ct::{Base64, Encoding};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tch::{Device, Kind, Tensor};

use super::fidelity::{EQUAL, Layer};
use super::interval::{Interval, Mean};
use super::quality::Quality;
use super::svg::{Curve, Scale, bar, curves, histograms, short};
use super::{Evaluation, Fidelity};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2329; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.4rem; } h3 { font-size: 1rem; }
p.note { color: #5b6670; } table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: .6rem 0; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #aab4bd; } th, td { padding: .15rem .6rem .15rem 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 49%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #1d2329; }
svg text.left { text-anchor: end; } svg text.middle { text-anchor: middle; } .grid { stroke: #dde3e8; }
th:not(:first-child) { text-align: right; }
i.bar { display: inline-block; height: .7rem; background: #6fa3d4; } img { image-rendering: pixelated; max-width: 100%; }
figure { display: inline-block; margin: .4rem 1rem .4rem 0; vertical-align: top; } figcaption { color: #5b6670; }
";

/// Pictures with a caption.
pub struct Sheet {
    /// What they are.
    pub caption: String,
    /// As HTML wants it: a PNG in base 64.
    source: String,
}

impl Sheet {
    /// u8 `[N, C, H, W]`, `columns` a row.
    ///
    /// # Errors
    /// When pictures are neither grey nor RGB.
    pub fn new(caption: impl Into<String>, pictures: &Tensor, columns: i64) -> Result<Self> {
        let [n, c, h, w] = pictures.size()[..] else { anyhow::bail!("pictures have four axes") };
        ensure!(c == 1 || c == 3, "{n} pictures of {c} channels make no sheet");
        let rows = (n + columns - 1) / columns;
        let missing = Tensor::zeros([rows * columns - n, c, h, w], (Kind::Uint8, Device::Cpu));
        let all = Tensor::cat(&[pictures, &missing], 0).reshape([rows, columns, c, h, w]).permute([0, 3, 1, 4, 2]);
        let bytes = Vec::<u8>::try_from(all.contiguous().reshape([-1]))?;
        let colour = if c == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut png = Vec::new();
        PngEncoder::new(&mut png).write_image(&bytes, (columns * w) as u32, (rows * h) as u32, colour)?;
        let mut text = vec![0; Base64::encoded_len(&png)];
        let text = Base64::encode(&png, &mut text).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Self { caption: caption.into(), source: format!("data:image/png;base64,{text}") })
    }
}

/// The report as a page.
pub fn html(evaluation: &Evaluation, sheets: &[Sheet]) -> String {
    let title = format!("Evaluation of {}", evaluation.model);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) } style { (PreEscaped(STYLE)) } }
            body {
                h1 { (title) }
                p.note { "Model file of SHA-256 " (evaluation.model_sha256) ". int8, mixed, f16 and f32 are computed by the engine, as devices do; torch is f32 by libtorch." }
                h2 { "Quality of pictures" }
                (quality(evaluation))
                h2 { "Accuracy by class" }
                (accuracy(evaluation))
                h2 { "Nearest training pictures" }
                (neighbours(evaluation))
                @if !evaluation.fidelity.is_empty() {
                    h2 { "Against f32 with the same noise" }
                    (fidelity(&evaluation.fidelity))
                }
                @if !evaluation.likelihood.is_empty() {
                    h2 { "Likelihood of test pictures" }
                    (likelihood(evaluation))
                }
                h2 { "Pictures" }
                @for sheet in sheets {
                    figure {
                        img src=(sheet.source) alt=(sheet.caption);
                        figcaption { (sheet.caption) }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn quality(evaluation: &Evaluation) -> Markup {
    let known = evaluation.known.iter().map(|known| &known.frechet);
    let widest = evaluation.sets.iter().map(|set| &set.frechet).chain(known).map(|one| one.fd).fold(0.0, f64::max);
    html! {
        p.note {
            "FD: Fréchet distance of the 128 features of the classifier " (evaluation.classifier) " ("
            (evaluation.architecture.name()) ") to those of all training pictures; in brackets 95 % \
             by bootstrap. Ratios are over " (evaluation.reference.as_deref().unwrap_or("nothing: there is no reference"))
            ". Real test pictures are the floor at this number of pictures. Precision and recall: k = 3, against as many \
             training pictures. Noise is added to pixels in [−1, 1], which are then clipped to that, not rounded to bytes."
        }
        table {
            tr { th { "set" } th { "pictures" } th { "FD" } th {} th { "ratio" } th { "precision" } th { "recall" } th { "accuracy" } }
            @for (set, ratio) in evaluation.sets.iter().zip(&evaluation.ratios) {
                tr {
                    td { (set.name) }
                    td.number { (set.count) }
                    td.number { (with_interval(set.frechet.fd, set.frechet.interval)) }
                    td { (bar(set.frechet.fd / widest)) }
                    td.number { @if let Some((ratio, interval)) = ratio { (with_interval(*ratio, *interval)) } }
                    td.number { @if let Some(both) = set.precision_recall { (format!("{:.3}", both.precision)) } }
                    td.number { @if let Some(both) = set.precision_recall { (format!("{:.3}", both.recall)) } }
                    td.number { @if let Some(accuracy) = &set.accuracy { (percent(accuracy.overall)) } }
                }
            }
            @if let Some(known) = &evaluation.known {
                tr {
                    td { (known.name) }
                    td.number { (known.count) }
                    td.number { (with_interval(known.frechet.fd, known.frechet.interval)) }
                    td { (bar(known.frechet.fd / widest)) }
                    td colspan="4" {}
                }
            }
        }
    }
}

fn accuracy(evaluation: &Evaluation) -> Markup {
    html! {
        table {
            tr { th { "set" } @for label in &evaluation.labels { th { (label) } } }
            @for set in &evaluation.sets {
                @if let Some(accuracy) = &set.accuracy {
                    tr {
                        td { (set.name) }
                        @for part in &accuracy.by_class { td.number { @if let Some(part) = part { (percent(*part)) } } }
                    }
                }
            }
        }
    }
}

fn neighbours(evaluation: &Evaluation) -> Markup {
    let drawn = || evaluation.sets.iter();
    fn distances(set: &Quality) -> (String, &[f64]) {
        (set.name.clone(), &set.by_pixels.distance)
    }
    let by_features = |set| (distances(set).0, &set.by_features.distance[..]);
    html! {
        p.note {
            "Euclidean distances to the nearest of all training pictures. “Suspicious” is the part that lies closer than \
             the nearest hundredth of test pictures, which no training has seen: about 1 % is what chance gives. Training \
             pictures with noise show what copies look like."
        }
        table {
            tr { th { "set" } th { "pixels: median" } th { "least" } th { "suspicious" } th { "features: median" } th { "least" } th { "suspicious" } }
            @for (set, closeness) in evaluation.sets.iter().zip(&evaluation.closeness) {
                tr {
                    td { (set.name) }
                    @for closeness in closeness {
                        td.number { (short(closeness.median)) }
                        td.number { (short(closeness.least)) }
                        td.number { (percent(closeness.suspicious)) }
                    }
                }
            }
        }
        (histograms("distance in pixels", 30, &drawn().map(distances).collect::<Vec<_>>()))
        (histograms("distance in features", 30, &drawn().map(by_features).collect::<Vec<_>>()))
    }
}

fn fidelity(all: &[Fidelity]) -> Markup {
    let psnr = |fidelity: &Fidelity| {
        (fidelity.name.clone(), fidelity.psnr.pictures.iter().map(|db| db.min(EQUAL)).collect::<Vec<_>>())
    };
    let psnrs: Vec<_> = all.iter().map(psnr).collect();
    let borrowed: Vec<(String, &[f64])> = psnrs.iter().map(|(name, values)| (name.clone(), &values[..])).collect();
    html! {
        table {
            tr { th { "set" } th { "median PSNR, dB" } th { "worst PSNR, dB" } }
            @for fidelity in all {
                tr {
                    td { (fidelity.name) }
                    td.number { (format!("{:.2}", fidelity.psnr.median)) }
                    td.number { (format!("{:.2}", fidelity.psnr.worst)) }
                }
            }
        }
        (histograms("PSNR, dB", 30, &borrowed))
        @for fidelity in all { (losses(fidelity)) }
    }
}

fn losses(fidelity: &Fidelity) -> Markup {
    let losses = &fidelity.losses;
    let mut layers: Vec<&Layer> = losses.layers.iter().collect();
    layers.sort_by(|a, b| b.added.total_cmp(&a.added));
    let most = layers.first().map_or(1.0, |layer| layer.added.max(1e-30));
    let output = losses.layers.last();
    let over_steps = |name: &str, values: &[f64]| Curve {
        name: name.into(),
        points: losses.times.iter().zip(values).map(|(t, value)| [*t as f64, *value]).collect(),
    };
    html! {
        h3 { (fidelity.name) }
        p.note {
            "Every evaluation on the way of some f32 pictures, on the same input. Layers by the noise-to-signal that they \
             add to the noisiest stored value that they are computed from."
        }
        table {
            tr { th { "layer" } th { "SNR, dB" } th { "worst step, dB" } th { "noise added" } th {} }
            @for layer in layers {
                tr {
                    td { (layer.name) }
                    td.number { (format!("{:.1}", layer.snr_db)) }
                    td.number { (format!("{:.1}", layer.by_step_db.iter().copied().fold(EQUAL, f64::min))) }
                    td.number { (format!("{:.1e}", layer.added)) }
                    td { (bar(layer.added / most)) }
                }
            }
        }
        @if let Some(output) = output {
            (curves("t", "SNR of the output, dB", Scale::Linear, &[over_steps(&fidelity.name, &output.by_step_db)]))
        }
        (curves("t", "error of the step in x, root mean square", Scale::Linear, &[over_steps(&fidelity.name, &losses.moved)]))
    }
}

fn likelihood(evaluation: &Evaluation) -> Markup {
    let middles: Vec<f64> = evaluation.parts.windows(2).map(|part| (part[0] + part[1] - 1) as f64 / 2.0).collect();
    let curve = |(name, values): (&String, Vec<f64>)| Curve {
        name: name.clone(),
        points: middles.iter().zip(values).map(|(t, value)| [*t, value]).collect(),
    };
    let all = &evaluation.likelihood;
    let terms = all.iter().map(|one| curve((&one.precision, one.bound.by_time.clone())));
    let exact = all.iter().find(|one| one.precision == "f32");
    let differences = all.iter().filter(|one| one.above_f32.is_some()).map(|one| {
        let values = one.bound.by_time.iter().zip(exact.iter().flat_map(|exact| &exact.bound.by_time));
        curve((&one.precision, values.map(|(term, exact)| term - exact).collect()))
    });
    html! {
        p.note {
            "Variational bound in bits per dimension, " (evaluation.likelihood_pictures) " test pictures, ± standard \
             error. L_T and L_0 exact; L_1 … L_{T−1} with one time index and one ε for every picture in each of "
            (middles.len()) " parts of time, the same for every network; β̃ variances, σ₁² = β̃₂ in L_0; x̂0 not clipped."
        }
        table {
            tr { th { "network" } th { "total" } th { "L_T" } th { "L_1 … L_{T−1}" } th { "L_0" } th { "L_0 if σ₁² = β₁" } th { "more than f32" } }
            @for one in all {
                tr {
                    td { (one.precision) }
                    @let bound = &one.bound;
                    @for mean in [bound.total, bound.prior, bound.denoising, bound.reconstruction, bound.reconstruction_beta] {
                        td.number { (with_error(mean)) }
                    }
                    td.number { @if let Some(above) = one.above_f32 { (with_error(above)) } }
                }
            }
        }
        (curves("t", "one term L, bits/dim", Scale::Logarithmic, &terms.collect::<Vec<_>>()))
        (curves("t", "one term L, more than f32", Scale::Linear, &differences.collect::<Vec<_>>()))
    }
}

/// A figure and its interval, three digits after the point.
pub fn with_interval(value: f64, Interval { low, high }: Interval) -> String {
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

fn with_error(Mean { mean, standard_error }: Mean) -> String {
    format!("{mean:.4} ± {standard_error:.4}")
}

fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}
