//! Writes the files of a job, whole or not at all.

use std::ffi::OsStr;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::ImageFormat;
use ndarray::{Array1, ArrayD};
use ndarray_npy::WriteNpyExt;
use tempfile::NamedTempFile;

use crate::args::Job;
use crate::batch::Picture;
use crate::sheet;

/// Writes pictures and labels where the job wants them.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write(job: &Job, pictures: &[Picture]) -> Result<()> {
    if let Some(path) = &job.output {
        if path.extension() == Some(OsStr::new("png")) {
            let sheet = sheet::sheet(job.model.shape, pictures)?;
            whole(path, |file| Ok(sheet.write_to(file, ImageFormat::Png)?))?;
        } else {
            let shape = job.model.shape;
            let mut axes = vec![pictures.len(), shape.height, shape.width];
            axes.extend((shape.channels > 1).then_some(shape.channels));
            let bytes = pictures.iter().flat_map(|picture| &picture.bytes).copied().collect();
            let array = ArrayD::from_shape_vec(axes, bytes)?;
            whole(path, |file| Ok(array.write_npy(file)?))?;
        }
    }
    if let Some(path) = &job.labels_out {
        let labels = pictures.iter().map(|picture| picture.label as i64).collect::<Array1<i64>>();
        whole(path, |file| Ok(labels.write_npy(file)?))?;
    }
    Ok(())
}

/// Whether a file can be written there; better said before than after the work. It leaves nothing behind.
///
/// # Errors
/// When it cannot, with the path.
pub fn check(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a folder", path.display());
    temporary(path).map(drop)
}

/// Writes to a file beside the path, then gives it its name.
fn whole(path: &Path, write: impl FnOnce(&mut (dyn WriteSeek + '_)) -> Result<()>) -> Result<()> {
    let mut file = temporary(path)?;
    let mut buffer = BufWriter::new(&mut file);
    let written = write(&mut buffer).and_then(|()| Ok(buffer.flush()?));
    drop(buffer);
    written.and_then(|()| Ok(file.persist(path).map(drop)?)).with_context(|| format!("cannot write {}", path.display()))
}

trait WriteSeek: Write + Seek {}
impl<T: Write + Seek> WriteSeek for T {}

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
