//! What a header says: names, numbers, and that its parts fit each other.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::graph::{Graph, PortKind};
use crate::limits::{
    LARGEST_GUIDANCE, LARGEST_VALUE, MOST_SAMPLERS, MOST_STEPS, at_most, check_label, check_name, quoted,
};
use crate::model::{DENOISER, Header, Ranges};

/// Checks everything but the networks by themselves.
pub(crate) fn check(header: &Header) -> Result<()> {
    data(header)?;
    if let Some(graph) = header.networks.get(DENOISER) {
        graph.check_denoiser()?;
    }
    samplers(header)?;
    for (name, found) in &header.ranges {
        let graph = header.networks.get(name).ok_or_else(|| {
            Error::Model(format!("`ranges` of {}, which is no network of the model; remove them", quoted(name)))
        })?;
        ranges(&format!("ranges.{name}"), found, graph, header.schedule.steps)?;
    }
    match (&header.likelihood, header.networks.get(DENOISER)) {
        (None, _) => Ok(()),
        (Some(found), Some(graph)) => ranges("likelihood", found, graph, header.schedule.steps),
        (Some(_), None) => Err(Error::Model(format!("`likelihood` without a network `{DENOISER}`; remove it"))),
    }
}

fn data(header: &Header) -> Result<()> {
    let (labels, range) = (&header.data.labels, header.data.range);
    if range != [-1.0, 1.0] {
        return Err(Error::Model(format!("data.range is {range:?}; grano knows [-1, 1]")));
    }
    check_labels("data.labels", labels)?;
    for (name, own) in &header.labels {
        if name == DENOISER || !header.networks.contains_key(name) {
            return Err(Error::Model(format!(
                "`labels` of {}; only networks other than the denoiser have classes of their own; remove them",
                quoted(name)
            )));
        }
        check_labels(&format!("labels.{name}"), own)?;
    }
    for (name, graph) in &header.networks {
        let reads_label = graph.inputs.iter().any(|port| matches!(port.kind, PortKind::Label { .. }));
        let (classes, named) = (graph.classes(), header.labels_of(name).len());
        if (reads_label || header.labels.contains_key(name)) && classes != named {
            let field = if header.labels.contains_key(name) { format!("labels.{name}") } else { "data.labels".into() };
            return Err(Error::Model(format!("network `{name}` has {classes} classes, but {field} names {named}")));
        }
    }
    Ok(())
}

/// That names of classes are sound and differ.
fn check_labels(field: &str, labels: &[String]) -> Result<()> {
    let mut known = BTreeSet::new();
    for label in labels {
        check_label(label)?;
        if !known.insert(label) {
            return Err(Error::Model(format!("{field}: two classes are called `{label}`; rename one")));
        }
    }
    Ok(())
}

/// The model's samplers, and the one that it is meant for.
fn samplers(header: &Header) -> Result<()> {
    let guidance = header.defaults.guidance;
    if !(0.0..=LARGEST_GUIDANCE).contains(&guidance) {
        return Err(Error::Model(format!("defaults.guidance is {guidance:?}; give 0 to {LARGEST_GUIDANCE}")));
    }
    at_most("samplers", header.samplers.len(), MOST_SAMPLERS)?;
    header.schedule.betas()?;
    for (name, list) in &header.samplers {
        check_name("sampler", name)?;
        check_name(&format!("sampler `{name}`: rule"), &list.rule)?;
    }
    let own = &header.defaults.sampler;
    check_name("defaults.sampler", own)?;
    for name in header.samplers.keys().chain([own]) {
        let sampler = header.sampler(name)?;
        at_most(&format!("sampler `{name}`: steps"), sampler.evaluations(), MOST_STEPS)?;
        sampler.table(&header.schedule, header.prediction)?;
    }
    Ok(())
}

/// Ranges of a network's values; `field` is where they stand.
fn ranges(field: &str, ranges: &Ranges, graph: &Graph, steps: usize) -> Result<()> {
    let Ranges { times, values, fine } = ranges;
    if let Some(pair) = times.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::Model(format!("{field}.times: {} after {}; they must rise", pair[1], pair[0])));
    }
    if let Some(time) = times.last().filter(|&&time| time >= steps) {
        return Err(Error::Model(format!("{field}.times: {time}; the schedule has the times 0 to {}", steps - 1)));
    }
    let is_known = |name: &String| graph.node(name).is_some() || graph.port(name).is_some();
    if let Some(name) = values.keys().chain(fine).find(|name| !is_known(name)) {
        return Err(Error::Model(format!("{field}: {} is no node or input of the network; remove it", quoted(name))));
    }
    for (name, grid) in values {
        if grid.len() != times.len() {
            let (found, wanted) = (grid.len(), times.len());
            return Err(Error::Model(format!(
                "{field}.values.{name}: {found} ranges for {wanted} times; give one each"
            )));
        }
        let is_range =
            |[low, high]: &[f32; 2]| low <= high && low.abs() <= LARGEST_VALUE && high.abs() <= LARGEST_VALUE;
        if let Some(range) = grid.iter().find(|range| !is_range(range)) {
            return Err(Error::Model(format!(
                "{field}.values.{name}: the range {range:?}; give [low, high] of at most {LARGEST_VALUE:e}, low first"
            )));
        }
    }
    Ok(())
}
