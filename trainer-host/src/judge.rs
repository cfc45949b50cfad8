//! How many drawn pictures a classifier that was trained on the real ones recognises.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::classifier::{Classifier, ClassifierArgs};
use crate::data::{Dataset, Split, read_npy};
use crate::distributed::Ranks;

/// Trains a classifier on real pictures and counts how many of the given ones it finds to be what their labels say.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The real data: an IDX folder with its test set
    #[arg(long)]
    pub data: PathBuf,
    /// Pictures to judge, uint8 [N, H, W], as .npy
    #[arg(long)]
    pub images: PathBuf,
    /// What they should show, int64 [N], as .npy
    #[arg(long)]
    pub labels: PathBuf,
    #[command(flatten)]
    pub classifier: ClassifierArgs,
}

/// Runs the command.
///
/// # Errors
/// Names the file that is missing or does not fit.
pub fn judge(args: &Args) -> Result<()> {
    let device = Device::cuda_if_available();
    let train = Dataset::load(&args.data, Split::Train, None)?.on_device(device);
    let test = Dataset::load(&args.data, Split::Test, None)?.on_device(device);
    let (images, labels) = (read_npy::<u8>(&args.images)?, read_npy::<i64>(&args.labels)?);
    let shape = train.shape();
    ensure!(
        images.size() == [labels.size()[0], shape[1] as i64, shape[2] as i64],
        "{}: shape {:?}, for {} labels and real pictures of {shape:?}",
        args.images.display(),
        images.size(),
        labels.size()[0]
    );
    let classifier = Classifier::load_or_train(&args.classifier, &train, 0, &Ranks::alone())?;
    let right = |images: &Tensor, labels: &Tensor| {
        let classes = classifier.look(images).classes;
        classes.eq_tensor(&labels.to_device(device)).to_kind(Kind::Double)
    };
    let percent = |right: &Tensor| 100.0 * right.mean(Kind::Double).double_value(&[]);
    println!("real test pictures: {:.2} % right of {}", percent(&right(&test.images, &test.labels)), test.len());
    let drawn = right(&images.unsqueeze(1), &labels);
    println!("drawn pictures: {:.2} % right of {}", percent(&drawn), labels.size()[0]);
    for class in 0..train.names.len() as i64 {
        let of_class = labels.eq(class).to_device(device);
        if of_class.any().int64_value(&[]) != 0 {
            println!("  class {class}: {:.1} %", percent(&drawn.masked_select(&of_class)));
        }
    }
    Ok(())
}
