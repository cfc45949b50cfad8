//! What a build takes of a chip: asked of the compiled networks, by budgets, reports and users alike.

use crate::compile::{Compiled, CompiledNetwork};
use crate::error::{Error, Result};
use crate::model::{DENOISER, Model};
use crate::schedule::Table;

/// What a model takes on a chip. Code and stack are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of constants.
    pub flash_bytes: usize,
    /// Bytes of a sampler's memory: the arena and the sampler's maps.
    pub ram_bytes: usize,
    /// Bytes of the arena, which the networks share.
    pub arena_bytes: usize,
    /// Bytes of the sampler's maps of f32: the picture, and, where they are needed, x̂0 of the step before and the
    /// labelled prediction.
    pub maps_bytes: usize,
    /// Of each network, the denoiser first.
    pub networks: Vec<NetworkResources>,
}

/// What a network takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkResources {
    /// Its name.
    pub name: String,
    /// Bytes of constants.
    pub flash_bytes: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Multiply–accumulates of an evaluation.
    pub macs: usize,
    /// Predicted instructions of an evaluation; none for floating point.
    pub instructions: Option<u64>,
}

impl Compiled {
    /// Bytes of the arena: the most that any network needs.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.networks.iter().map(|network| network.program.plan.arena_bytes).max().unwrap_or(0)
    }
}

impl CompiledNetwork {
    /// What it takes.
    #[must_use]
    pub fn resources(&self) -> NetworkResources {
        NetworkResources {
            name: self.name.clone(),
            flash_bytes: self.groups.iter().flat_map(|group| &group.call_bytes).sum(),
            arena_bytes: self.program.plan.arena_bytes,
            macs: self.program.calls.iter().map(|call| call.macs).sum(),
            instructions: self.program.instructions(),
        }
    }
}

impl Resources {
    /// Of compiled networks whose sampler keeps maps of so many bytes.
    pub(crate) fn of(compiled: &Compiled, maps_bytes: usize) -> Self {
        let arena_bytes = compiled.arena_bytes();
        Self {
            flash_bytes: compiled.constants.len(),
            ram_bytes: arena_bytes + maps_bytes,
            arena_bytes,
            maps_bytes,
            networks: compiled.networks.iter().map(CompiledNetwork::resources).collect(),
        }
    }

    /// Bytes of a sampler's maps: the picture; another where a table draws on x̂0 of the step before, and one for guidance.
    pub(crate) fn maps_bytes(model: &Model, tables: &[&Table], guided: bool) -> usize {
        let len: usize = model.networks.get(DENOISER).map_or(0, |network| network.graph.input().iter().product());
        let maps = 1 + usize::from(tables.iter().any(|table| table.is_multistep())) + usize::from(guided);
        4 * len * maps
    }

    /// That budgets, in bytes, are kept by a build called `name`.
    ///
    /// # Errors
    /// Names the budget that is not, by how much, and what helps.
    pub fn check(&self, name: &str, flash_budget: usize, ram_budget: usize) -> Result<()> {
        let Self { flash_bytes, ram_bytes, arena_bytes, maps_bytes, .. } = self;
        if *flash_bytes > flash_budget {
            return Err(Error::Model(format!(
                "`{name}` takes {flash_bytes} bytes of flash, {} more than its budget of {flash_budget}; name fewer samplers or steps, or train a smaller network",
                flash_bytes - flash_budget
            )));
        }
        if *ram_bytes > ram_budget {
            let lever = if maps_bytes > arena_bytes {
                "the sampler's maps are most of it: choose a sampler that is not multistep, build without guidance, or train on smaller pictures"
            } else {
                "the network's maps are most of it: choose int8, or train a network with fewer channels"
            };
            return Err(Error::Model(format!(
                "`{name}` takes {ram_bytes} bytes of RAM ({arena_bytes} for the network, {maps_bytes} for the sampler), {} more than its budget of {ram_budget}; {lever}",
                ram_bytes - ram_budget
            )));
        }
        Ok(())
    }
}
