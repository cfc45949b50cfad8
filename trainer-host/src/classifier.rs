//! A classifier of real pictures, and the features in which sets of pictures are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use grano_trainer_front::arguments::measure::{Architecture, ClassifierArgs};
use indicatif::ProgressBar;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Kind, Tensor};

use crate::data::{Dataset, normalize};
use crate::distributed::Ranks;
use crate::files::{self, short_hash};

/// A network whose features, after a ReLU, a linear layer turns into classes.
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

/// Features of a picture.
pub const FEATURES: i64 = 128;
/// Pictures of an update.
const LEARNT: i64 = 128;
/// Pictures that are looked at at once.
const BATCH: i64 = 1000;

impl Classifier {
    /// Reads the classifier, or trains it on `train`, where that lies, and keeps it; rank 0 does, for all. Sets libtorch's
    /// seed to `seed`.
    ///
    /// # Errors
    /// When the file is another network or cannot be written; when another rank is lost.
    pub fn load_or_train(args: &ClassifierArgs, train: &Dataset, seed: i64, ranks: &Ranks) -> Result<Self> {
        tch::manual_seed(seed);
        let vars = nn::VarStore::new(train.images.device());
        let path = &Self::path(args, train)?;
        let root = vars.root();
        let trunk = match args.architecture {
            Architecture::Plain => plain(&root, train.shape()),
            Architecture::Residual => residual(&root, train.shape()[0]),
        };
        let classes = nn::linear(&root / "classes", FEATURES, classes_of(train), Default::default());
        let mut classifier = Self { vars, trunk, classes };
        if ranks.is_first() {
            if !path.exists() {
                classifier.learn(train, args)?;
                classifier.save(path)?;
            }
            let foreign = || format!("{}: not the classifier of such pictures; name another file", path.display());
            classifier.vars.load(path).with_context(foreign)?;
        }
        classifier.vars.float();
        for weights in classifier.weights().values() {
            ranks.broadcast(weights, 0)?;
        }
        Ok(classifier)
    }

    /// Where the classifier of these pictures is kept: each data set, network and number of passes has its own file.
    ///
    /// # Errors
    /// When the pictures cannot be read.
    pub fn path(args: &ClassifierArgs, train: &Dataset) -> Result<PathBuf> {
        if let Some(path) = &args.classifier {
            return Ok(path.clone());
        }
        let bytes = Vec::<u8>::try_from(train.images.to_device(tch::Device::Cpu).reshape([-1]))?;
        let labels = Vec::<i64>::try_from(train.labels.to_device(tch::Device::Cpu))?;
        let rest = format!("{:?} {} {labels:?} {}", train.shape(), train.names.len(), Self::updates(args, train));
        let hash = short_hash([&bytes[..], rest.as_bytes()]);
        Ok(Path::new("runs/classifiers").join(format!("{}-{hash}.safetensors", args.architecture.name())))
    }

    /// Updates of its training: passes over all pictures, and where their number is not given no fewer than it takes.
    fn updates(args: &ClassifierArgs, train: &Dataset) -> i64 {
        const PASSES: i64 = 6;
        const LEAST: i64 = 600;
        match args.epochs {
            Some(epochs) => epochs * train.len() / LEARNT,
            None => (PASSES * train.len() / LEARNT).max(LEAST),
        }
        .max(1)
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

    /// All weights by their names, f32.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.vars.variables().into_iter().collect()
    }

    /// In f16: what is used is what was kept.
    fn save(&self, path: &Path) -> Result<()> {
        let named = self.weights().into_iter().map(|(name, value)| (name, value.to_kind(Kind::Half)));
        let named: BTreeMap<_, _> = named.collect();
        files::make_parent(path)?;
        files::replace(path, |partial| Ok(Tensor::write_safetensors(&named.iter().collect::<Vec<_>>(), partial)?))
    }

    fn learn(&self, train: &Dataset, args: &ClassifierArgs) -> Result<()> {
        const BATCH: i64 = LEARNT;
        const LEARNING_RATE: f64 = 2e-3;
        let steps = Self::updates(args, train);
        let mut adam = nn::Adam::default().build(&self.vars, LEARNING_RATE)?;
        let bar = ProgressBar::new(steps as u64);
        for step in 0..steps {
            adam.set_lr(LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos()));
            let indices = Tensor::randint(train.len(), [BATCH], (Kind::Int64, self.vars.device()));
            let (x, labels) = train.batch(&indices);
            let (x, labels) = if train.names.is_empty() { mirrored(&x) } else { (x, labels) };
            let logits = self.trunk.forward_t(&x, true).apply(&self.classes);
            adam.backward_step(&logits.cross_entropy_for_logits(&labels));
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }
}

/// Classes that a network learns: those of the pictures, or, where they have none, in which of four ways a picture is
/// mirrored (in the manner of Gidaris et al. 2018, whose pictures are turned).
fn classes_of(train: &Dataset) -> i64 {
    if train.names.is_empty() { 4 } else { train.names.len() as i64 }
}

/// Pictures f32 `[N, c, h, w]`, each as it is, mirrored left to right, top to bottom, or both; and which, i64 `[N]`.
fn mirrored(x: &Tensor) -> (Tensor, Tensor) {
    let ways = Tensor::randint(4, [x.size()[0]], (Kind::Int64, x.device()));
    let chosen = |bit: i64| ways.bitwise_and(bit).ne(0).reshape([-1, 1, 1, 1]);
    let x = x.flip([3]).where_self(&chosen(1), x);
    (x.flip([2]).where_self(&chosen(2), &x), ways)
}

/// Says that measures are worth little where the classifier knows too few real pictures that it has not learnt from.
pub fn warn_if_poor(accuracy: f64) {
    const ENOUGH: f64 = 0.85;
    if accuracy < ENOUGH {
        eprintln!(
            "warning: the classifier knows {:.1} % of the pictures that were held back; below {:.0} % what it says of others \
             is worth little: give it more --epochs, or the data more pictures",
            100.0 * accuracy,
            100.0 * ENOUGH
        );
    }
}

/// Of pictures `[c, h, w]`.
fn plain(root: &nn::Path<'_>, [c, h, w]: [usize; 3]) -> nn::SequentialT {
    let features = 64 * (h as i64 / 4) * (w as i64 / 4);
    nn::seq_t()
        .add(conv(root, "1", [c as i64, 32], [3, 1]))
        .add_fn(|x| x.relu().max_pool2d_default(2))
        .add(conv(root, "2", [32, 64], [3, 1]))
        .add_fn(|x| x.relu().max_pool2d_default(2).flatten(1, -1))
        .add_fn_t(|x, train| x.dropout(0.3, train))
        .add(nn::linear(root / "hidden", features, FEATURES, Default::default()))
        .add_fn(Tensor::relu)
}

/// Of pictures of `c` channels.
fn residual(root: &nn::Path<'_>, c: usize) -> nn::SequentialT {
    nn::seq_t()
        .add(conv(root, "_stem", [c as i64, 16], [3, 1]))
        .add_fn(Tensor::relu)
        .add(Block::new(&(root / "block1"), [16, 16], 1))
        .add(Block::new(&(root / "block2"), [16, 32], 2))
        .add(Block::new(&(root / "block3"), [32, 64], 2))
        .add(conv(root, "_head", [64, FEATURES], [1, 1]))
        .add_fn(|x| x.relu().mean_dim([2i64, 3].as_slice(), false, Kind::Float))
}

/// ReLU(conv2(ReLU(conv1(x))) + shortcut(x)), every convolution normalised.
#[derive(Debug)]
struct Block {
    convs: [nn::SequentialT; 2],
    shortcut: Option<nn::SequentialT>,
}

impl Block {
    fn new(path: &nn::Path<'_>, [from, to]: [i64; 2], stride: i64) -> Self {
        Self {
            convs: [conv(path, "1", [from, to], [3, stride]), conv(path, "2", [to, to], [3, 1])],
            shortcut: (stride > 1).then(|| conv(path, "_shortcut", [from, to], [1, stride])),
        }
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let [first, second] = &self.convs;
        let h = second.forward_t(&first.forward_t(x, train).relu(), train);
        let shortcut = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |conv| conv.forward_t(x, train));
        (h + shortcut).relu()
    }
}

/// A convolution, which keeps the picture's size but for its stride, and its normalisation.
fn conv(path: &nn::Path<'_>, name: &str, [from, to]: [i64; 2], [kernel, stride]: [i64; 2]) -> nn::SequentialT {
    let config = nn::ConvConfig { stride, padding: kernel / 2, bias: false, ..Default::default() };
    nn::seq_t().add(nn::conv2d(path / format!("conv{name}"), from, to, kernel, config)).add(nn::batch_norm2d(
        path / format!("norm{name}"),
        to,
        Default::default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn either_network_learns_and_knows_its_own_file() {
        let _alone = testing::seed(0);
        // Class c is c·60 bright, with some noise.
        let labels = Tensor::arange(96, (Kind::Int64, tch::Device::Cpu)).remainder(3);
        let noise = Tensor::randint(60, [96, 1, 12, 8], (Kind::Int64, tch::Device::Cpu));
        let images = (labels.reshape([-1, 1, 1, 1]) * 60 + noise).to_kind(Kind::Uint8);
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let train = Dataset { images, labels, names, augment: Default::default() };
        let (folder, alone) = (tempfile::tempdir().unwrap(), Ranks::alone());
        let args = |architecture, file: &str| ClassifierArgs {
            classifier: Some(folder.path().join(file)),
            architecture,
            epochs: Some(40),
        };
        for (architecture, file) in
            [(Architecture::Plain, "plain.safetensors"), (Architecture::Residual, "residual.safetensors")]
        {
            let trained =
                Classifier::load_or_train(&args(architecture, file), &train, 0, &alone).unwrap().look(&train.images);
            let right = trained.classes.eq_tensor(&train.labels).to_kind(Kind::Double).mean(Kind::Double);
            assert!(right.double_value(&[]) > 0.9, "{architecture:?}: {right:?} right");
            assert_eq!(trained.features.size(), [96, FEATURES]);
            assert!(trained.features.min().double_value(&[]) >= 0.0);
            let read =
                Classifier::load_or_train(&args(architecture, file), &train, 1, &alone).unwrap().look(&train.images);
            assert_eq!(read.features, trained.features);
        }
        let error = Classifier::load_or_train(&args(Architecture::Residual, "plain.safetensors"), &train, 0, &alone)
            .err()
            .unwrap();
        assert!(error.to_string().contains("plain.safetensors: not the classifier"), "{error}");
    }

    /// Pictures without classes teach which way up they are.
    #[test]
    fn pictures_without_classes_make_features_too() {
        let _alone = testing::seed(0);
        let rows = Tensor::arange(12, (Kind::Int64, tch::Device::Cpu)).reshape([1, 1, 12, 1]) * 10;
        let columns = Tensor::arange(8, (Kind::Int64, tch::Device::Cpu)).reshape([1, 1, 1, 8]) * 12;
        let images = (rows + columns + Tensor::randint(40, [96, 1, 12, 8], (Kind::Int64, tch::Device::Cpu)))
            .to_kind(Kind::Uint8);
        let labels = Tensor::zeros([96], (Kind::Int64, tch::Device::Cpu));
        let train = Dataset { images, labels, names: Vec::new(), augment: Default::default() };
        let folder = tempfile::tempdir().unwrap();
        let args = ClassifierArgs {
            classifier: Some(folder.path().join("a.safetensors")),
            architecture: Architecture::Plain,
            epochs: Some(100),
        };
        let classifier = Classifier::load_or_train(&args, &train, 0, &Ranks::alone()).unwrap();
        let (x, ways) = mirrored(&normalize(&train.images));
        let right = classifier.look(&x).classes.eq_tensor(&ways).to_kind(Kind::Double).mean(Kind::Double);
        assert!(right.double_value(&[]) > 0.9, "{right:?} right");
        let other = ClassifierArgs { classifier: None, ..args };
        let path = Classifier::path(&other, &train).unwrap();
        let fewer = Dataset { images: train.images.narrow(0, 0, 95), labels: train.labels.narrow(0, 0, 95), ..train };
        assert_ne!(path, Classifier::path(&other, &fewer).unwrap(), "other data have another file");
    }
}
