//! What a model file holds, as text.

use crate::error::Result;
use crate::graph::Node;
use crate::model::Model;
use crate::precision::Precision;

/// What a model file holds: how its pictures are made, then the networks, a line a node.
///
/// # Errors
/// When a graph does not hold together; those of a model that was loaded do.
pub fn describe(model: &Model) -> Result<String> {
    let header = &model.header;
    let precisions: Vec<&str> = Precision::of(model).into_iter().map(Precision::name).collect();
    let mut text = format!(
        "sha256      {}\nschedule    {:?}, T = {}\npredicts    {:?}\nlabels      {}\nprecisions  {}\nsampler     {}, guidance {}\n",
        model.sha256,
        header.schedule.kind,
        header.schedule.steps,
        header.prediction,
        if header.data.labels.is_empty() { "none".into() } else { header.data.labels.join(", ") },
        precisions.join(", "),
        header.defaults.sampler,
        header.defaults.guidance,
    );
    for (name, list) in &header.samplers {
        text += &format!("  `{name}`: {} at t = {:?}\n", list.rule, list.times);
    }
    for (name, network) in &model.networks {
        let count: usize = network.parameters.values().map(Vec::len).sum();
        let ports: Vec<String> =
            network.graph.inputs.iter().map(|port| format!("{} {:?}", port.name, port.kind)).collect();
        text += &format!(
            "\nnetwork `{name}`: {} → {}, {count} parameters\n",
            ports.join(", "),
            network.graph.outputs.join(", ")
        );
        let shapes = network.graph.shapes()?;
        for Node { name, op, inputs } in &network.graph.nodes {
            text += &format!("  {name:20} {op:?} ({}) → {:?}\n", inputs.join(", "), shapes[name]);
        }
    }
    Ok(text)
}
