//! How many drawn pictures a classifier that was trained on the real ones recognises.

use anyhow::{Result, ensure};
use grano_trainer_front::arguments::measure::Judge as Args;
use tch::{Device, Kind, Tensor};

use crate::classifier::{Classifier, warn_if_poor};
use crate::data::{load, read_npy};
use crate::distributed::Ranks;

/// Runs the command.
///
/// # Errors
/// Names the file that is missing or does not fit.
pub fn judge(args: &Args) -> Result<()> {
    let device = Device::cuda_if_available();
    let data = load(&args.data, None)?;
    let (train, test) = (data.train.on_device(device), data.test.on_device(device));
    let place = args.data.data.display();
    ensure!(!train.names.is_empty(), "{place}: pictures without classes; nothing can be judged by labels");
    let (images, labels) = (read_npy::<u8>(&args.images)?, read_npy::<i64>(&args.labels)?);
    let [c, h, w] = train.shape().map(|n| n as i64);
    let images = if images.dim() == 3 { images.unsqueeze(-1) } else { images };
    ensure!(
        images.dim() == 4 && labels.dim() == 1 && images.size() == [labels.size()[0], h, w, c],
        "{}: shape {:?}, for {:?} labels and real pictures of {h}×{w}×{c}",
        args.images.display(),
        images.size(),
        labels.size()
    );
    let images = images.permute([0, 3, 1, 2]).contiguous();
    let classes = train.names.len() as i64;
    ensure!(
        labels.numel() > 0 && labels.min().int64_value(&[]) >= 0 && labels.max().int64_value(&[]) < classes,
        "{}: labels of 0 to {} are what the data know",
        args.labels.display(),
        classes - 1
    );
    let classifier = Classifier::load_or_train(&args.classifier, &train, 0, &Ranks::alone())?;
    let right = |images: &Tensor, labels: &Tensor| {
        let classes = classifier.look(images).classes;
        classes.eq_tensor(&labels.to_device(device)).to_kind(Kind::Double)
    };
    let percent = |right: &Tensor| 100.0 * right.mean(Kind::Double).double_value(&[]);
    match test.len() {
        0 => println!("no real pictures are held back: how good the classifier is cannot be said"),
        n => {
            let share = percent(&right(&test.images, &test.labels));
            println!("real test pictures: {share:.2} % right of {n}");
            warn_if_poor(share / 100.0);
        }
    }
    let drawn = right(&images, &labels);
    println!("drawn pictures: {:.2} % right of {}", percent(&drawn), labels.size()[0]);
    for class in 0..classes {
        let of_class = labels.eq(class).to_device(device);
        if of_class.any().int64_value(&[]) != 0 {
            let name = &train.names[class as usize];
            println!("  {name}: {:.1} %", percent(&drawn.masked_select(&of_class)));
        }
    }
    Ok(())
}
