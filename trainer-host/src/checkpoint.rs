//! The training state as one safetensors file, replaced in one move: a run that is killed loses at most
//! the updates since its last checkpoint, never the checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::model;
use grano_trainer_front::arguments::settings::Settings;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Tensor};

use crate::distributed::Ranks;
use crate::files;
use crate::network::Network;
use crate::optimize::extension;
use crate::state::{Adam, Extended, State};

const FLAT: [&str; 4] = ["parameters", "ema", "adam.first", "adam.second"];

/// Before the names of the task's own tensors.
const TASK: &str = "task.";

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    arguments: Value,
    model: model::Header,
    step: u64,
    seconds: f64,
    #[serde(default)]
    extended: Option<Extended>,
}

/// Where a run's checkpoint is.
pub fn path(run: &Path) -> PathBuf {
    run.join("checkpoint.safetensors")
}

/// Writes the state of a training that is described by `arguments`, and the header of the model that it makes.
///
/// # Errors
/// When the file cannot be written; the one before is then still whole.
pub fn save(run: &Path, arguments: &Value, model: &model::Header, state: &State) -> Result<()> {
    let (arguments, model) = (arguments.clone(), model.clone());
    let header = Header { arguments, model, step: state.step, seconds: state.seconds, extended: state.extended };
    let flats = [state.network.flat(), &state.ema, &state.adam.first, &state.adam.second];
    let task = state.tensors.iter().map(|(name, tensor)| (format!("{TASK}{name}"), tensor));
    let all = FLAT.iter().map(ToString::to_string).zip(flats).chain(task);
    let all = all.map(|(name, tensor)| Ok((name, bytes(tensor)?))).collect::<Result<Vec<_>>>()?;
    let tensors = all
        .iter()
        .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("checkpoint".to_string(), serde_json::to_string(&header)?)]);
    files::write(&path(run), &safetensors::serialize(tensors, Some(metadata))?)
}

/// Reads the state of a run that is to go on, rank 0 from its folder; `None` when the run is new.
///
/// # Errors
/// When the file is broken, or the run was begun with other arguments; names those.
pub fn load(run: &Path, arguments: &Value, ranks: &Ranks) -> Result<Option<(model::Header, State)>> {
    let read = || if path(run).exists() { bytes_of(run).map(Some) } else { Ok(None) };
    let Some(bytes) = ranks.read_first(read)? else { return Ok(None) };
    let (header, mut state) = open(run, &bytes, ranks.device())?;
    let different = different(&header.arguments, arguments);
    ensure!(
        different.is_empty(),
        "{}: this run was begun with other arguments: {}; repeat those, or name another folder with --run",
        run.display(),
        different.join(", ")
    );
    let settings = |arguments: &Value| serde_json::from_value::<Settings>(arguments.clone());
    if let (Ok(before), Ok(now)) = (settings(&header.arguments), settings(arguments)) {
        state.extended = extension(&before, header.extended, &now, state.step);
    }
    Ok(Some((header.model, state)))
}

/// The arguments that must be, but are not, those of the run's beginning.
fn different(before: &Value, now: &Value) -> Vec<String> {
    const FREE: [&str; 8] = ["data", "csv", "output", "run", "steps", "checkpoint_every", "sample_every", "precision"];
    let arguments = before.as_object().into_iter().flatten();
    arguments
        .filter(|(name, value)| !FREE.contains(&name.as_str()) && now[name.as_str()] != **value)
        .map(|(name, value)| format!("--{} was {value}, now {}", name.replace('_', "-"), now[name]))
        .collect()
}

/// Reads the state of a run, and the header of the model that it makes.
///
/// # Errors
/// When there is no checkpoint or it is broken.
pub fn read(run: &Path, device: Device) -> Result<(model::Header, State)> {
    let (header, state) = open(run, &bytes_of(run)?, device)?;
    Ok((header.model, state))
}

fn bytes_of(run: &Path) -> Result<Vec<u8>> {
    let path = path(run);
    std::fs::read(&path).with_context(|| format!("{}: no checkpoint; train first", path.display()))
}

fn open(run: &Path, bytes: &[u8], device: Device) -> Result<(Header, State)> {
    let broken = || format!("{}: broken checkpoint; delete it to begin anew", path(run).display());
    parse(bytes, device).with_context(broken)
}

fn parse(bytes: &[u8], device: Device) -> Result<(Header, State)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get("checkpoint")).context("no header")?;
    let header: Header = serde_json::from_str(text)?;
    let tensors = SafeTensors::deserialize(bytes)?;
    let flat = |name: &str| -> Result<Tensor> {
        let view = tensors.tensor(name)?;
        ensure!(view.dtype() == Dtype::F32, "`{name}` is not f32");
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok(Tensor::from_slice(&values).to_device(device))
    };
    let [parameters, ema, first, second] = FLAT.map(flat);
    // A run has one network.
    let graph = header.model.networks.values().next().context("no network")?;
    let network = Network::from_flat(graph.clone(), parameters?)?;
    let (ema, first, second) = (ema?, first?, second?);
    ensure!(
        [&ema, &first, &second].iter().all(|flat| flat.size() == network.flat().size()),
        "its tensors differ in length"
    );
    let task = tensors.names().into_iter().filter_map(|name| Some((name, name.strip_prefix(TASK)?)));
    let own = task.map(|(name, own)| Ok((own.to_string(), flat(name)?))).collect::<Result<BTreeMap<_, _>>>()?;
    let mut adam = Adam::new(network.flat(), Adam::BETA1);
    (adam.first, adam.second) = (first, second);
    let (step, seconds, extended) = (header.step, header.seconds, header.extended);
    Ok((header, State { network, ema, adam, tensors: own, step, seconds, extended }))
}

/// A tensor's values as little-endian f32.
///
/// # Errors
/// When libtorch cannot hand them over.
pub fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = Vec::<f32>::try_from(tensor.to_device(Device::Cpu).to_kind(tch::Kind::Float).reshape([-1]))?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
