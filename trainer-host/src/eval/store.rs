//! The run folder: every piece of an evaluation is kept under a name that says all that it depends on, so that a second
//! run finds what the first has done, and redoes what has changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use crate::data::parse_npy;
use crate::distributed::Ranks;
use crate::files::{self, short_hash};

/// Counted up when what a piece's name does not say changes, the computation itself.
const VERSION: u32 = 1;

/// A folder of pieces, rank 0's, that all ranks compute together.
pub struct Store {
    folder: PathBuf,
    ranks: Ranks,
}

impl Store {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path, ranks: Ranks) -> Result<Self> {
        let folder = folder.join("pieces");
        if ranks.is_first() {
            std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        }
        Ok(Self { folder, ranks })
    }

    /// The ranks that compute.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// A result: found, or computed, by every rank, and kept. `settings` are all that it depends on.
    ///
    /// # Errors
    /// Those of the computation, and when it cannot be kept.
    pub fn result<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        settings: &[&str],
        compute: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.path(name, settings, "json");
        if let Some(bytes) = self.ranks.read_first(|| Ok(std::fs::read(&path).ok()))? {
            return serde_json::from_slice(&bytes).with_context(|| format!("{}: broken; delete it", path.display()));
        }
        let spinner = if self.ranks.is_first() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let spinner = spinner.with_message(name.to_string());
        spinner.enable_steady_tick(Duration::from_millis(200));
        let value = compute()?;
        if self.ranks.is_first() {
            files::write(&path, &serde_json::to_vec_pretty(&value)?)?;
        }
        spinner.finish_and_clear();
        Ok(value)
    }

    /// A tensor of elements `T`, `[count, …]`: found, or computed from as many rows of it as there are. `more` gives the
    /// next `piece` rows, or those that are left, on each rank others; all are kept each time.
    ///
    /// # Errors
    /// Those of the computation, and when it cannot be kept.
    pub fn tensor<T>(
        &self,
        name: &str,
        settings: &[&str],
        count: i64,
        piece: i64,
        mut more: impl FnMut(i64, &ProgressBar) -> Result<Tensor>,
    ) -> Result<Tensor>
    where
        T: ndarray_npy::ReadableElement + ndarray_npy::WritableElement + tch::kind::Element + Copy,
    {
        let path = self.path(name, settings, "npy");
        let kept = || if path.exists() { Ok(Some(std::fs::read(&path)?)) } else { Ok(None) };
        let kept = self.ranks.read_first(kept).with_context(|| format!("{}", path.display()))?;
        let broken = || format!("{}: broken; delete it", path.display());
        let mut rows = kept.map(|bytes| parse_npy::<T>(&bytes[..]).with_context(broken)).transpose()?;
        let have = |rows: &Option<Tensor>| rows.as_ref().map_or(0, |rows| rows.size()[0]);
        if have(&rows) < count {
            let bar = if self.ranks.is_first() { bar(count as u64, name)? } else { ProgressBar::hidden() };
            let bar = bar.with_position(have(&rows) as u64);
            bar.reset_eta();
            while have(&rows) < count {
                let next = self.round::<T>(have(&rows), count, piece, &mut |from| more(from, &bar))?;
                let all = rows.map_or_else(|| next.shallow_clone(), |rows| Tensor::cat(&[&rows, &next], 0));
                if self.ranks.is_first() {
                    files::write_npy::<T>(&path, &all)?;
                }
                bar.set_position(all.size()[0] as u64);
                rows = Some(all);
            }
            bar.finish_and_clear();
        }
        rows.map(|rows| rows.narrow(0, 0, count)).context("no rows")
    }

    /// The rows from `have` on that all ranks compute at once, a piece each, as far as there are any.
    fn round<T>(&self, have: i64, count: i64, piece: i64, more: &mut dyn FnMut(i64) -> Result<Tensor>) -> Result<Tensor>
    where
        T: ndarray_npy::ReadableElement + ndarray_npy::WritableElement + tch::kind::Element + Copy,
    {
        let pieces: Vec<i64> = (have..count).step_by(piece as usize).take(self.ranks.count()).collect();
        let own = pieces.iter().enumerate().find(|(i, _)| self.ranks.owns(*i));
        let own = own.map(|(_, &from)| more(from)).transpose()?;
        if self.ranks.is_alone() {
            return own.context("no rows");
        }
        let own = own.map(|rows| files::npy::<T>(&rows)).transpose()?;
        let shared = (0..pieces.len()).map(|root| {
            let bytes = self.ranks.share(own.clone(), root)?.context("no rows")?;
            parse_npy::<T>(&bytes[..])
        });
        Ok(Tensor::cat(&shared.collect::<Result<Vec<_>>>()?, 0))
    }

    fn path(&self, name: &str, settings: &[&str], extension: &str) -> PathBuf {
        let hash = short_hash(settings.iter().flat_map(|setting| [setting.as_bytes(), b"\n"]));
        self.folder.join(format!("{}-v{VERSION}-{hash}.{extension}", name.replace([' ', '/'], "-")))
    }
}

/// A bar for `count` of something.
///
/// # Errors
/// None in practice: the bar's template is fixed.
pub fn bar(count: u64, what: &str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} · {elapsed} spent, {eta} left")?;
    Ok(ProgressBar::new(count).with_style(style).with_message(what.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_found_and_what_changed_is_redone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Ranks::alone()).unwrap();
        let compute = |settings: &[&str], value: f64| store.result("fd", settings, || Ok(value)).unwrap();
        assert_eq!(compute(&["a", "b"], 1.0), 1.0);
        assert_eq!(compute(&["a", "b"], 2.0), 1.0, "found");
        assert_eq!(compute(&["a", "c"], 3.0), 3.0, "other settings");
        assert_eq!(compute(&["ab", ""], 4.0), 4.0, "settings are told apart");
    }

    #[test]
    fn rows_are_kept_as_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Ranks::alone()).unwrap();
        let draw = |count: i64, until: i64| {
            store.tensor::<u8>("pictures", &["s"], count, 2, |from, _| {
                anyhow::ensure!(from < until, "interrupted");
                Ok(Tensor::from_slice(&[from as u8, from as u8 + 1]).reshape([2, 1]))
            })
        };
        assert!(draw(6, 4).unwrap_err().to_string().contains("interrupted"));
        let mut started_at = Vec::new();
        let rest = store.tensor::<u8>("pictures", &["s"], 6, 2, |from, _| {
            started_at.push(from);
            Ok(Tensor::from_slice(&[4u8, 5]).reshape([2, 1]))
        });
        assert_eq!(started_at, [4]);
        assert_eq!(Vec::<u8>::try_from(rest.unwrap().reshape([-1])).unwrap(), [0, 1, 2, 3, 4, 5]);
        let fewer = draw(3, 0).unwrap();
        assert_eq!(fewer.size(), [3, 1], "a longer set holds a shorter one");
    }
}
