//! How many drawn pictures a classifier that was trained on the real ones recognises.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, Split, normalize, read_npy};
use crate::files;

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
    /// Where the classifier is kept; trained first if it is not there
    #[arg(long, default_value = "runs/classifier.safetensors")]
    pub classifier: PathBuf,
    /// Passes over the training set
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i64).range(1..))]
    pub epochs: i64,
}

/// Logits `[N, classes]` of f32 `[N, c, h, w]` in [−1, 1]: two convolutions, each normalised and halved by pooling, and
/// two linear layers.
fn classifier(root: &nn::Path<'_>, classes: i64, [c, h, w]: [usize; 3]) -> nn::SequentialT {
    let conv = nn::ConvConfig { padding: 1, bias: false, ..Default::default() };
    let features = 64 * (h as i64 / 4) * (w as i64 / 4);
    nn::seq_t()
        .add(nn::conv2d(root / "conv1", c as i64, 32, 3, conv))
        .add(nn::batch_norm2d(root / "norm1", 32, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2))
        .add(nn::conv2d(root / "conv2", 32, 64, 3, conv))
        .add(nn::batch_norm2d(root / "norm2", 64, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2).flatten(1, -1))
        .add_fn_t(|x, train| x.dropout(0.3, train))
        .add(nn::linear(root / "hidden", features, 128, Default::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(root / "classes", 128, classes, Default::default()))
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
    tch::manual_seed(0);
    let mut vars = nn::VarStore::new(device);
    let net = classifier(&vars.root(), train.names.len() as i64, shape);
    if args.classifier.exists() {
        vars.load(&args.classifier)
            .with_context(|| format!("{}: not this classifier; delete it", args.classifier.display()))?;
    } else {
        learn(&net, &vars, &train, args.epochs)?;
        files::make_parent(&args.classifier)?;
        let partial = args.classifier.with_extension("partial.safetensors");
        let save = || -> Result<()> {
            vars.save(&partial)?;
            Ok(std::fs::rename(&partial, &args.classifier)?)
        };
        save().with_context(|| format!("{}", args.classifier.display()))?;
    }
    let right = |images: &Tensor, labels: &Tensor| -> Tensor {
        let parts: Vec<Tensor> = (images.split(1000, 0).iter())
            .map(|images| tch::no_grad(|| net.forward_t(&normalize(images), false).argmax(-1, false)))
            .collect();
        Tensor::cat(&parts, 0).eq_tensor(labels).to_kind(Kind::Double)
    };
    let percent = |right: &Tensor| 100.0 * right.mean(Kind::Double).double_value(&[]);
    println!("real test pictures: {:.2} % right of {}", percent(&right(&test.images, &test.labels)), test.len());
    let (images, labels) = (images.unsqueeze(1).to_device(device), labels.to_device(device));
    let drawn = right(&images, &labels);
    println!("drawn pictures: {:.2} % right of {}", percent(&drawn), labels.size()[0]);
    for class in 0..train.names.len() as i64 {
        let of_class = labels.eq(class);
        if of_class.any().int64_value(&[]) != 0 {
            println!("  class {class}: {:.1} %", percent(&drawn.masked_select(&of_class)));
        }
    }
    Ok(())
}

fn learn(net: &impl ModuleT, vars: &nn::VarStore, train: &Dataset, epochs: i64) -> Result<()> {
    const BATCH: i64 = 128;
    const LEARNING_RATE: f64 = 2e-3;
    let steps = epochs * train.len() / BATCH;
    let mut adam = nn::Adam::default().build(vars, LEARNING_RATE)?;
    let bar = ProgressBar::new(steps as u64);
    for step in 0..steps {
        adam.set_lr(LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos()));
        let (x, labels) = train.batch(&Tensor::randint(train.len(), [BATCH], (Kind::Int64, vars.device())));
        adam.backward_step(&net.forward_t(&x, true).cross_entropy_for_logits(&labels));
        bar.inc(1);
    }
    bar.finish();
    Ok(())
}
