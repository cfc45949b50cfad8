//! Operations, one file each: an operation's file says everything about it.
//!
//! An operation appears three times on the way to code, and implements a trait each time:
//!
//! - [`Operation`], a node of a graph: shapes, parameters, what it means (the naive reference), and what it becomes when
//!   the time indices are known;
//! - [`LayerOp`], a layer of a folded network: what can be fused into it, and the kernels that compute it, in floating
//!   point and on integers;
//! - [`KernelOp`], a kernel with its parameters: scratch, cost, and how it is packed for generated code and for the
//!   in-process runtime.
//!
//! The three lists below make an operation known.

mod activation;
mod add;
mod attention;
mod average_pool;
mod channel;
mod concat;
mod conv2d;
mod depth_to_space;
mod embedding;
mod group_norm;
mod input;
mod linear;
mod output;
mod product;
mod scale_shift;
mod sinusoid;
mod softmax;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use activation::{Activation, Apply, Function};
pub use add::{Add, Sum};
pub use attention::{Attend, Attention};
pub use average_pool::{AveragePool, GlobalAveragePool, Pool};
pub use channel::{ChannelBias, ChannelGain};
pub use concat::Concat;
pub use conv2d::{Conv2d, Convolution, Sums};
pub use depth_to_space::{DepthToSpace, PixelShuffle};
pub use embedding::Embedding;
pub use group_norm::{GroupNorm, Normalization};
pub use linear::Linear;
pub use product::{Multiply, Product};
pub use scale_shift::{ScaleShift, ScaleShiftRows};
pub use sinusoid::Sinusoid;
pub use softmax::{ChannelSoftmax, Softmax};

pub(crate) use activation::{
    ActivationFloat, ActivationInt8, Table, fine_index, fine_target, float_activation, target,
};
pub(crate) use add::{AddFloat, AddInt8};
pub(crate) use attention::{AttentionFloat, AttentionInt8};
pub(crate) use average_pool::{AveragePoolFloat, AveragePoolInt8};
pub(crate) use channel::per_channel;
pub(crate) use concat::{ConcatFloat, ConcatInt8};
pub(crate) use conv2d::kernel::{Conv2dFine, Conv2dFloat, Conv2dHead, Conv2dInt8, DepthwiseFloat, DepthwiseInt8, pair};
pub(crate) use depth_to_space::Shuffle;
pub(crate) use group_norm::{GroupNormFloat, GroupNormInt8};
pub(crate) use input::{Load, Quantize};
pub(crate) use output::Store;
pub(crate) use product::{ProductFloat, ProductInt8};
pub(crate) use scale_shift::{ScaleShiftFloat, ScaleShiftInt8};
pub(crate) use softmax::{SoftmaxFloat, SoftmaxInt8};

use crate::backward::Tape;
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::fold::{FusedActivation, Layer, Node, Rows};
use crate::graph::{self, Shape};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Packed};
use crate::quantize::Quantizer;
use crate::target::Target;

/// Makes an enum of types that implement a trait, and a function that gives the trait's view of any of them.
macro_rules! registry {
    ($(#[$meta:meta])* $name:ident, $view:ident: $trait:ident { $($variant:ident,)* }) => {
        $(#[$meta])*
        pub enum $name {
            $(#[allow(missing_docs, reason = "the variant's type is documented")] $variant($variant),)*
        }

        impl $name {
            /// What every one of them can say.
            #[must_use]
            pub fn $view(&self) -> &dyn $trait {
                match self {
                    $(Self::$variant(it) => it,)*
                }
            }
        }

        $(impl From<$variant> for $name {
            fn from(it: $variant) -> Self {
                Self::$variant(it)
            }
        })*
    };
}

registry! {
    /// What a node computes; files name it in snake case.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "op", rename_all = "snake_case")]
    Op, operation: Operation {
        Conv2d,
        Linear,
        GroupNorm,
        Attention,
        Activation,
        Add,
        ChannelGain,
        ChannelBias,
        ScaleShift,
        Sinusoid,
        Embedding,
        DepthToSpace,
        AveragePool,
        GlobalAveragePool,
        Product,
        Softmax,
    }
}

registry! {
    /// How a value of a folded network is computed.
    #[derive(Clone, Debug, PartialEq)]
    Kind, layer: LayerOp {
        Convolution,
        Normalization,
        Attend,
        ScaleShiftRows,
        Sum,
        Apply,
        PixelShuffle,
        Concat,
        Pool,
        Multiply,
        ChannelSoftmax,
    }
}

registry! {
    /// A kernel with its parameters; see the engine's `kernel` module for what each computes.
    #[derive(Clone, Debug, PartialEq)]
    Kernel, kernel: KernelOp {
        Quantize,
        Load,
        Store,
        Conv2dInt8,
        Conv2dFine,
        Conv2dHead,
        Conv2dFloat,
        DepthwiseInt8,
        DepthwiseFloat,
        GroupNormInt8,
        GroupNormFloat,
        ScaleShiftInt8,
        ScaleShiftFloat,
        AttentionInt8,
        AttentionFloat,
        AddInt8,
        AddFloat,
        ActivationInt8,
        ActivationFloat,
        Shuffle,
        ConcatInt8,
        ConcatFloat,
        AveragePoolInt8,
        AveragePoolFloat,
        ProductInt8,
        ProductFloat,
        SoftmaxInt8,
        SoftmaxFloat,
    }
}

impl Kind {
    /// The same, to be changed by a fusion.
    pub(crate) fn layer_mut(&mut self) -> &mut dyn LayerOp {
        match self {
            Self::Convolution(it) => it,
            Self::Normalization(it) => it,
            Self::Attend(it) => it,
            Self::ScaleShiftRows(it) => it,
            Self::Sum(it) => it,
            Self::Apply(it) => it,
            Self::PixelShuffle(it) => it,
            Self::Concat(it) => it,
            Self::Pool(it) => it,
            Self::Multiply(it) => it,
            Self::ChannelSoftmax(it) => it,
        }
    }
}

/// A node's operation.
pub trait Operation {
    /// The shape of the value, given those of the inputs.
    ///
    /// # Errors
    /// Names the node that does not fit its inputs, or whose numbers are out of range.
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape>;

    /// The tensors that it needs, `weight` or `bias`, with their shapes in PyTorch's axis order.
    fn parameters(&self, inputs: &[Shape], classes: usize) -> Vec<(&'static str, Vec<usize>)> {
        let _ = (inputs, classes);
        Vec::new()
    }

    /// Multiply–accumulates of its parameters and maps, for a value of shape `output`.
    fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        let _ = (inputs, output);
        0
    }

    /// The value, computed naively: f32 values, f64 sums in a fixed order.
    fn reference(&self, at: &At<'_>) -> Vec<f32>;

    /// What it becomes when the time indices are known: rows where it depends on step and class alone, else a layer.
    ///
    /// # Errors
    /// Names the node that cannot be folded, and why.
    fn fold(&self, node: &Node<'_>) -> Result<Folding>;

    /// Appends the nodes that take the gradient of its value, `gradient`, to that of input number `input`, and gives the name
    /// of the last: a value of the input's shape. See [`crate::backward`].
    ///
    /// # Errors
    /// Names the node that has no backward pass, and why.
    fn backward(&self, tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let _ = (tape, gradient);
        Err(Error::node(
            &node.name,
            format!(
                "its operation has no backward pass with respect to `{}`; train a network without it",
                node.inputs[input]
            ),
        ))
    }
}

/// What a node becomes when the time indices are known.
pub enum Folding {
    /// A vector that depends on step and class alone.
    Rows(Rows),
    /// A map.
    Layer(Box<Kind>),
}

impl Folding {
    /// A map that this computes.
    pub fn layer(kind: impl Into<Kind>) -> Self {
        Self::Layer(Box::new(kind.into()))
    }
}

/// A node at work in the reference interpreter.
pub struct At<'a> {
    /// The inputs' values, `[channels, height, width]` or a vector.
    pub inputs: Vec<&'a [f32]>,
    /// Their shapes.
    pub shapes: Vec<Shape>,
    /// The value's own shape.
    pub output: Shape,
    /// Tensors by `{node}.weight` and `{node}.bias`.
    pub parameters: &'a BTreeMap<String, Vec<f32>>,
    /// The node's name.
    pub node: &'a str,
    /// The time index.
    pub t: usize,
    /// The class.
    pub label: usize,
}

impl At<'_> {
    /// The node's `weight` or `bias`.
    #[must_use]
    pub fn parameter(&self, kind: &str) -> &[f32] {
        &self.parameters[&format!("{}.{kind}", self.node)]
    }

    /// Channels and positions of an input.
    #[must_use]
    pub fn channels(&self, input: usize) -> [usize; 2] {
        self.shapes[input].map().map_or([1, 1], |[channels, height, width]| [channels, height * width])
    }
}

/// A layer of a folded network.
pub trait LayerOp {
    /// The maps that its kernel reads, in order.
    fn maps(&self) -> Vec<&str>;

    /// The second operand of a sum.
    fn second(&self) -> Option<&str> {
        None
    }

    /// The graph's node that it is named after, where that is not the value.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Multiply–accumulates of one evaluation, for a result of this shape.
    fn macs(&self, shape: [usize; 3]) -> usize {
        let _ = shape;
        0
    }

    /// The value, computed naively, before its activation.
    fn evaluate(&self, layer: &Layer, at: &Evaluation<'_>) -> Vec<f32>;

    /// What is applied last.
    fn activation(&self) -> Option<&FusedActivation> {
        None
    }

    /// Takes a gain and a bias a channel into itself, if it can.
    fn scale_and_shift(&mut self, gains: &Rows, shifts: &Rows) -> bool {
        let _ = (gains, shifts);
        false
    }

    /// Takes the addition of a map into itself, if it can.
    fn add(&mut self, map: &str) -> bool {
        let _ = map;
        false
    }

    /// Takes an activation into itself, if it can.
    fn activate(&mut self, activation: FusedActivation) -> bool {
        let _ = activation;
        false
    }

    /// The maps that it reads, with their channels, where they are more than its kernel can read.
    fn unreadable(&self) -> Option<Vec<(String, usize)>> {
        None
    }

    /// Has it read the map in which these lie side by side.
    fn read_joined(&mut self, map: &str) {
        let _ = map;
    }

    /// Whether its kernel can hand its result out as f32, in strips: a network's last layer.
    fn can_be_head(&self) -> bool {
        false
    }

    /// Whether it can make fine codes, in int16.
    fn can_be_fine(&self) -> bool {
        false
    }

    /// The kernel in floating point, whose weights and map are `stored` as f16 or f32; a `head` hands f32 out.
    ///
    /// # Errors
    /// Names the layer that has none.
    fn float(&self, layer: &Layer, stored: Element, head: bool) -> Result<Kernel>;

    /// The kernel on integers, and how it stores the value.
    ///
    /// # Errors
    /// Names the layer that has no range, or that integers cannot hold.
    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)>;
}

/// A layer at work in the naive interpreter of folded networks.
pub struct Evaluation<'a> {
    /// Values by name, `[channels, height, width]`.
    pub values: &'a BTreeMap<String, Vec<f32>>,
    /// Row of the step.
    pub step: usize,
    /// The class.
    pub class: usize,
}

/// Which buffer of its operands a kernel's result may take, if nothing reads them afterwards: an element of the result may
/// only overwrite elements that are read for it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Donor {
    /// None.
    None,
    /// The first map's.
    First,
    /// What is added.
    Second,
    /// What is added, or else the first map's.
    Either,
}

/// A kernel with its parameters.
pub trait KernelOp {
    /// What it is, for documentation, such as `convolution 3×3, 14×14×32`.
    fn describe(&self) -> String;

    /// Whose buffer its result may take.
    fn donor(&self) -> Donor {
        Donor::None
    }

    /// The same with its two operands exchanged, for kernels that treat them apart.
    fn exchanged(&self) -> Option<Kernel> {
        None
    }

    /// Type and number of the elements that it works in, for a result of this shape.
    fn scratch(&self, shape: [usize; 3], target: Target) -> Option<(Element, usize)> {
        let _ = (shape, target);
        None
    }

    /// Predicted instructions on a chip, of kernels without a choice of algorithms, for so many multiply–accumulates and
    /// elements of the result.
    fn instructions(&self, cost: &Cost, target: Target, [macs, elements]: [usize; 2]) -> u64 {
        let _ = target;
        cost.other(macs, elements)
    }

    /// The integer part, of convolutions that have a choice of algorithms.
    fn sums(&self) -> Option<&Sums> {
        None
    }

    /// Elements of the rows of time and class.
    fn row_elements(&self) -> usize {
        0
    }

    /// Its constants into `constants`, and what is left of it for code and runtime.
    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed>;
}

/// The only input.
///
/// # Errors
/// Names the node that has another number of inputs.
pub(crate) fn one<'a>(node: &str, inputs: &'a [Shape], wanted: &str) -> Result<&'a Shape> {
    match inputs {
        [input] => Ok(input),
        _ => Err(wrong(node, inputs, wanted)),
    }
}

/// The shapes of maps of equal height and width, side by side; none where they are not.
pub(crate) fn side_by_side(inputs: &[Shape]) -> Option<Vec<[usize; 3]>> {
    let maps: Option<Vec<[usize; 3]>> = inputs.iter().map(|input| input.map()).collect();
    maps.filter(|maps| !maps.is_empty() && maps.iter().all(|map| map[1..] == maps[0][1..]))
}

/// A node that does not fit its inputs.
pub(crate) fn wrong(node: &str, inputs: &[Shape], wanted: &str) -> Error {
    Error::node(node, format!("it takes {wanted}, and is given {inputs:?}"))
}

/// `value` if it is finite and above 0, as f32 as well: as what devices compute with.
///
/// # Errors
/// Names the node and the number.
pub(crate) fn positive(node: &str, what: &str, value: f64) -> Result<f64> {
    let narrow = value as f32;
    if narrow.is_finite() && narrow > 0.0 {
        Ok(value)
    } else {
        Err(Error::node(node, format!("{what} of {value:?}; give a number above 0 that f32 holds")))
    }
}
