//! How good pictures are: `judge`, `eval`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

use crate::data::DataArgs;
use crate::values;

/// Trains a classifier on real pictures and counts how many of the given ones it finds to be what their labels say.
#[derive(clap::Args, Clone, Debug)]
pub struct Judge {
    /// The real data.
    #[command(flatten)]
    pub data: DataArgs,
    /// Pictures to judge, uint8 [N, H, W] or [N, H, W, C], as .npy
    #[arg(long)]
    pub images: PathBuf,
    /// What they should show, int64 [N], as .npy
    #[arg(long)]
    pub labels: PathBuf,
    /// How the classifier is had.
    #[command(flatten)]
    pub classifier: ClassifierArgs,
}

/// Measures a model as devices run it, against real pictures and against the same model in f32 with every step.
#[derive(clap::Args, Clone, Debug)]
pub struct Eval {
    /// The model
    #[arg(long, default_value = "models/fashion.safetensors")]
    pub model: PathBuf,
    /// The real data.
    #[command(flatten)]
    pub data: DataArgs,
    /// Folder of what is measured, continued where it stands; else runs/eval/MODEL
    #[arg(long)]
    pub run: Option<PathBuf>,
    /// Pictures of every set
    #[arg(long, default_value_t = 2000, value_parser = values::set)]
    pub count: u64,
    /// Samplers to measure; else all of the model's own
    #[arg(long, value_delimiter = ',')]
    pub sampler: Vec<String>,
    /// Weights of classifier-free guidance to measure; else the model's own
    #[arg(long, value_delimiter = ',', value_parser = values::guidance32)]
    pub guidance: Vec<f32>,
    /// Numbers to measure: int8, mixed, f16 and f32 as devices compute, torch for f32 by libtorch; else all that the model
    /// can be built in
    #[arg(long, value_delimiter = ',', value_parser = ["int8", "mixed", "f16", "f32", "torch"])]
    pub precision: Vec<String>,
    /// What sets are held against: the sampler of the model's own f32 pictures, whose statistics are written to
    /// RUN/reference.statistics.safetensors; or such a file of another run, NAME.safetensors, and nothing is drawn for
    /// it; or none
    #[arg(long, default_value = "ancestral-1000")]
    pub reference: String,
    /// Guidance of the reference, where it is drawn
    #[arg(long, default_value_t = 1.0, value_parser = values::guidance32)]
    pub reference_guidance: f32,
    /// What draws the reference, f32 or torch; else torch on a GPU and f32 without one, the faster ones
    #[arg(long, value_parser = ["f32", "torch"])]
    pub reference_precision: Option<String>,
    /// Of drawn pictures' noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Standard deviation of the noise on real pictures, an absolute scale
    #[arg(long, default_value_t = 0.05, value_parser = values::sigma)]
    pub noise: f64,
    /// More pictures to measure, such as another network's: NAME=PICTURES.npy or NAME=PICTURES.npy,LABELS.npy
    #[arg(long)]
    pub pictures: Vec<Foreign>,
    /// Test pictures for the likelihood; 0 leaves it out
    #[arg(long, default_value_t = 500, value_parser = values::pictures_or_none)]
    pub elbo: u32,
    /// Parts of time, of each of which every test picture takes one index
    #[arg(long, default_value_t = 100, value_parser = values::times)]
    pub elbo_strata: usize,
    /// Tell the network the test pictures' classes
    #[arg(long)]
    pub elbo_label: bool,
    /// Pictures whose every evaluation is compared, layer by layer
    #[arg(long, default_value_t = 10, value_parser = values::pictures)]
    pub traces: u64,
    /// Resamples of an interval
    #[arg(long, default_value_t = 200, value_parser = values::resamples)]
    pub resamples: u64,
    /// Threads that draw and compute; else one a core
    #[arg(long, value_parser = values::threads)]
    pub threads: Option<usize>,
    /// How the classifier is had.
    #[command(flatten)]
    pub classifier: ClassifierArgs,
}

/// How the classifier is had.
#[derive(clap::Args, Clone, Debug)]
pub struct ClassifierArgs {
    /// Where the classifier is kept; trained first if it is not there. Else runs/classifiers, by data, network and passes
    #[arg(long)]
    pub classifier: Option<PathBuf>,
    /// Which network it is: what one kind does not see of a model's faults, another may
    #[arg(long, value_enum, default_value_t = Architecture::Plain)]
    pub architecture: Architecture,
    /// Passes over the training set; else 6, and more where these are fewer than 600 updates
    #[arg(long, value_parser = values::epochs)]
    pub epochs: Option<i64>,
}

/// The networks that give features.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Two convolutions, each normalised and halved by pooling, and a linear layer
    Plain,
    /// Three residual blocks (He et al. 2016), two of them of stride 2, a 1×1 convolution, and the mean of all positions
    Residual,
}

impl Architecture {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Residual => "residual",
        }
    }
}

/// `NAME=PICTURES.npy` or `NAME=PICTURES.npy,LABELS.npy`.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// By which the report calls it.
    pub name: String,
    /// uint8 `[N, H, W]` or `[N, H, W, C]`.
    pub pictures: PathBuf,
    /// int64 `[N]`.
    pub labels: Option<PathBuf>,
}

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, files) = text.split_once('=').unwrap_or_default();
        let (pictures, labels) =
            files.split_once(',').map_or((files, None), |(pictures, labels)| (pictures, Some(labels.into())));
        if name.is_empty() || pictures.is_empty() {
            return Err("give NAME=PICTURES.npy or NAME=PICTURES.npy,LABELS.npy".into());
        }
        Ok(Self { name: name.into(), pictures: pictures.into(), labels })
    }
}
