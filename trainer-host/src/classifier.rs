//! A classifier of real pictures, and the features in which sets of pictures are compared.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Kind, Tensor};

use crate::data::{Dataset, normalize};
use crate::files;

/// How the classifier is had.
#[derive(clap::Args, Clone, Debug)]
pub struct ClassifierArgs {
    /// Where the classifier is kept; trained first if it is not there
    #[arg(long, default_value = "runs/classifier.safetensors")]
    pub classifier: std::path::PathBuf,
    /// Passes over the training set
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i64).range(1..))]
    pub epochs: i64,
}

/// Two convolutions, each normalised and halved by pooling, and two linear layers, the first of which, after its ReLU,
/// gives the features.
pub struct Classifier {
    vars: nn::VarStore,
    trunk: nn::SequentialT,
    classes: nn::Linear,
}

/// What the classifier says of pictures.
pub struct Seen {
    /// f32 `[N, 128]`, none below 0.
    pub features: Tensor,
    /// The likeliest class, i64 `[N]`.
    pub classes: Tensor,
}

/// Pictures that are looked at at once.
const BATCH: i64 = 1000;

impl Classifier {
    /// Reads the classifier, or trains it on `train`, where that lies, and keeps it. Sets libtorch's seed to `seed`.
    ///
    /// # Errors
    /// When the file is another network or cannot be written.
    pub fn load_or_train(args: &ClassifierArgs, train: &Dataset, seed: i64) -> Result<Self> {
        tch::manual_seed(seed);
        let vars = nn::VarStore::new(train.images.device());
        let path = args.classifier.as_path();
        let (trunk, classes) = layers(&vars.root(), train.names.len() as i64, train.shape());
        let mut classifier = Self { vars, trunk, classes };
        if !path.exists() {
            classifier.learn(train, args.epochs)?;
            classifier.save(path)?;
        }
        let foreign = || format!("{}: not the classifier of such pictures; name another file", path.display());
        classifier.vars.load(path).with_context(foreign)?;
        classifier.vars.float();
        Ok(classifier)
    }

    /// Looks at f32 `[N, c, h, w]` in [−1, 1], or at bytes, which are brought there.
    pub fn look(&self, images: &Tensor) -> Seen {
        let parts = images.split(BATCH, 0);
        let seen = parts.iter().map(|images| {
            let images = images.to_device(self.vars.device());
            let images = if images.kind() == Kind::Uint8 { normalize(&images) } else { images };
            tch::no_grad(|| {
                let features = self.features(&images);
                let classes = features.apply(&self.classes).argmax(-1, false);
                (features, classes)
            })
        });
        let (features, classes): (Vec<_>, Vec<_>) = seen.unzip();
        Seen { features: Tensor::cat(&features, 0), classes: Tensor::cat(&classes, 0) }
    }

    /// Features f32 `[N, 128]` of f32 `[N, c, h, w]` in [−1, 1], with gradients.
    pub fn features(&self, images: &Tensor) -> Tensor {
        self.trunk.forward_t(images, false)
    }

    /// In f16: what is used is what was kept.
    fn save(&self, path: &Path) -> Result<()> {
        let named = self.vars.variables().into_iter().map(|(name, value)| (name, value.to_kind(Kind::Half)));
        let named: BTreeMap<_, _> = named.collect();
        files::make_parent(path)?;
        files::replace(path, |partial| Ok(Tensor::write_safetensors(&named.iter().collect::<Vec<_>>(), partial)?))
    }

    fn learn(&self, train: &Dataset, epochs: i64) -> Result<()> {
        const BATCH: i64 = 128;
        const LEARNING_RATE: f64 = 2e-3;
        let steps = epochs * train.len() / BATCH;
        let mut adam = nn::Adam::default().build(&self.vars, LEARNING_RATE)?;
        let bar = ProgressBar::new(steps as u64);
        for step in 0..steps {
            adam.set_lr(LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos()));
            let indices = Tensor::randint(train.len(), [BATCH], (Kind::Int64, self.vars.device()));
            let (x, labels) = train.batch(&indices);
            let logits = self.trunk.forward_t(&x, true).apply(&self.classes);
            adam.backward_step(&logits.cross_entropy_for_logits(&labels));
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }
}

/// The features, and the logits `[N, classes]` of them.
fn layers(root: &nn::Path<'_>, classes: i64, [c, h, w]: [usize; 3]) -> (nn::SequentialT, nn::Linear) {
    let conv = nn::ConvConfig { padding: 1, bias: false, ..Default::default() };
    let features = 64 * (h as i64 / 4) * (w as i64 / 4);
    let trunk = nn::seq_t()
        .add(nn::conv2d(root / "conv1", c as i64, 32, 3, conv))
        .add(nn::batch_norm2d(root / "norm1", 32, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2))
        .add(nn::conv2d(root / "conv2", 32, 64, 3, conv))
        .add(nn::batch_norm2d(root / "norm2", 64, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2).flatten(1, -1))
        .add_fn_t(|x, train| x.dropout(0.3, train))
        .add(nn::linear(root / "hidden", features, 128, Default::default()))
        .add_fn(Tensor::relu);
    (trunk, nn::linear(root / "classes", 128, classes, Default::default()))
}
