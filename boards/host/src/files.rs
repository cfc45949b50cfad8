//! Files that are written whole or not at all.

use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use tempfile::NamedTempFile;

/// Where the bytes of a file go.
pub trait Sink: Write + Seek {}
impl<T: Write + Seek> Sink for T {}

/// Files that are complete but not in their places yet. Dropped before [`Self::keep`], they leave nothing behind.
#[derive(Default)]
pub struct Files {
    complete: Vec<(NamedTempFile, PathBuf)>,
}

impl Files {
    /// Writes one beside its place.
    ///
    /// # Errors
    /// When it cannot be written, with the path.
    pub fn add(&mut self, path: &Path, write: impl FnOnce(&mut dyn Sink) -> Result<()>) -> Result<()> {
        let mut file = temporary(path)?;
        let mut buffer = BufWriter::new(&mut file);
        let written = write(&mut buffer).and_then(|()| Ok(buffer.flush()?));
        drop(buffer);
        written.with_context(|| format!("cannot write {}", path.display()))?;
        self.complete.push((file, path.to_path_buf()));
        Ok(())
    }

    /// Gives all of them their names.
    ///
    /// # Errors
    /// When one cannot take its place, with the path.
    pub fn keep(self) -> Result<()> {
        for (file, path) in self.complete {
            file.persist(&path)
                .map_err(|error| Error::from(error.error))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whether a file can be written there; better said before than after the work. It leaves nothing behind.
///
/// # Errors
/// When it cannot, with the path.
pub fn check(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a folder", path.display());
    temporary(path).map(drop)
}

fn temporary(path: &Path) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As the user's mask has it; a temporary file is otherwise for its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The kind alone: the error's own text names the temporary file.
    let file = builder.tempfile_in(folder).map_err(|error| std::io::Error::from(error.kind()));
    file.with_context(|| format!("cannot write {}", path.display()))
}
