//! Writes the files of a job, all or none.

use std::ffi::OsStr;

use anyhow::Result;
use image::ImageFormat;
use ndarray::{Array1, ArrayD};
use ndarray_npy::WriteNpyExt;

use crate::files::Files;
use crate::job::Job;
use crate::picture::Picture;
use crate::sheet;
use crate::task::Task;

/// Writes pictures and labels where the job wants them.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write(job: &Job, pictures: &[Picture]) -> Result<()> {
    let (mut files, shape) = (Files::default(), job.shape);
    if let Some(path) = &job.output {
        if path.extension() == Some(OsStr::new("png")) {
            let sheet = match pictures {
                [one] if !matches!(job.task, Task::Noise) => sheet::image(shape, &one.bytes)?,
                _ => sheet::sheet(shape, pictures)?,
            };
            files.add(path, |file| Ok(sheet.write_to(file, ImageFormat::Png)?))?;
        } else {
            let mut axes = vec![pictures.len(), shape.height, shape.width];
            axes.extend((shape.channels > 1).then_some(shape.channels));
            let bytes = pictures.iter().flat_map(|picture| &picture.bytes).copied().collect();
            let array = ArrayD::from_shape_vec(axes, bytes)?;
            files.add(path, |file| Ok(array.write_npy(file)?))?;
        }
    }
    if let Some(path) = &job.labels_out {
        let labels = pictures.iter().filter_map(|picture| Some(picture.label? as i64)).collect::<Array1<i64>>();
        files.add(path, |file| Ok(labels.write_npy(file)?))?;
    }
    files.keep()
}
