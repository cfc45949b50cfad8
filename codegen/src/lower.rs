//! *Lower*: layers become kernel calls on buffers; what can be computed in place is.

use crate::error::Result;
use crate::fold::{Folded, Kind, Layer};
use crate::graph::X;
use crate::kernel::{Element, Kernel};
use crate::plan::{Lifetime, Plan, plan};
use crate::quantize::Kernels;
use crate::target::Target;

/// A network as a list of kernel calls on one arena.
#[derive(Clone, Debug)]
pub struct Program {
    /// In the order in which they run.
    pub calls: Vec<Call>,
    /// What the arena holds.
    pub buffers: Vec<Buffer>,
    /// Where in the arena.
    pub plan: Plan,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct Call {
    /// For people, and for the names of generated items: the graph's node.
    pub name: String,
    /// The value that is computed.
    pub value: String,
    /// `[channels, height, width]` of that value.
    pub shape: [usize; 3],
    /// How that value is stored.
    pub element: Element,
    /// Multiply–accumulates.
    pub macs: usize,
    /// What computes it.
    pub kernel: Kernel,
    /// Where the maps come from; the first may be where the result goes.
    pub inputs: Vec<Place>,
    /// Where the result goes.
    pub output: Place,
    /// The second operand of a sum.
    pub residual: Option<Residual>,
    /// Buffer that the kernel works in.
    pub scratch: Option<usize>,
}

/// Where a map lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the sampler's hands, f32.
    Outside,
    /// A buffer's index.
    Buffer(usize),
}

/// Where the second operand of a sum lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// In the output's buffer, which the result overwrites.
    InOutput,
    /// A buffer's index.
    Buffer(usize),
}

/// A part of the arena, for as long as it is needed.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Names of the values it holds, one after another.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Number of elements.
    pub len: usize,
    /// First and last call that need it.
    pub calls: [usize; 2],
}

impl Buffer {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes()
    }
}

/// Gives every value a buffer and the buffers their places.
///
/// # Errors
/// When the planner refuses the buffers.
pub fn lower(folded: &Folded, (kernels, elements): Kernels, target: Target) -> Result<Program> {
    let quantizes = matches!(kernels.first(), Some(Kernel::Quantize { .. }));
    let first_layer = usize::from(quantizes);
    let last_use = |value: &str| {
        let reader = folded.layers.iter().rposition(|layer| layer.inputs().contains(&value));
        reader.map(|at| at + first_layer)
    };
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut holders: std::collections::BTreeMap<String, Place> = [(X.to_string(), Place::Outside)].into();
    let mut calls = Vec::new();
    let allot = |buffers: &mut Vec<Buffer>, name: &str, element, len, first, last| {
        buffers.push(Buffer { name: name.to_string(), element, len, calls: [first, last] });
        buffers.len() - 1
    };
    if quantizes {
        let len = folded.input.iter().product();
        let buffer = allot(&mut buffers, X, elements[X], len, 0, last_use(X).unwrap_or(0));
        holders.insert(X.to_string(), Place::Buffer(buffer));
        calls.push(Call {
            name: "quantize".into(),
            value: X.into(),
            shape: folded.input,
            element: elements[X],
            macs: 0,
            kernel: kernels[0].clone(),
            inputs: vec![Place::Outside],
            output: Place::Buffer(buffer),
            residual: None,
            scratch: None,
        });
    }
    for (layer, kernel) in folded.layers.iter().zip(&kernels[first_layer..]) {
        let at = calls.len();
        let element = elements[&layer.name];
        let len = layer.shape.iter().product();
        let (name, inputs, second) = operands(layer);
        // A value that dies here, and that no other operand is, may give its buffer to the result.
        let donor = match (&layer.kind, second) {
            (Kind::Activation { .. } | Kind::GroupNorm(_) | Kind::Attention { .. }, _) => {
                Some(inputs[0]).filter(|first| !inputs[1..].contains(first))
            }
            (_, Some(second)) if !inputs.contains(&second) => Some(second),
            _ => None,
        };
        let reuse = donor.and_then(|donor| match holders.get(donor) {
            Some(&Place::Buffer(buffer)) if last_use(donor) == Some(at) && layer.name != folded.output => {
                let fits = buffers[buffer].len == len && buffers[buffer].element.bytes() == element.bytes();
                fits.then_some(buffer)
            }
            _ => None,
        });
        let last = last_use(&layer.name).unwrap_or(at);
        let output = if layer.name == folded.output {
            Place::Outside
        } else if let Some(buffer) = reuse {
            buffers[buffer].calls[1] = last;
            buffers[buffer].name += &format!(" → {}", layer.name);
            Place::Buffer(buffer)
        } else {
            Place::Buffer(allot(&mut buffers, &layer.name, element, len, at, last))
        };
        let residual = second.map(|second| match holders[second] {
            Place::Buffer(buffer) if reuse != Some(buffer) => Residual::Buffer(buffer),
            _ => Residual::InOutput,
        });
        let scratch = scratch(kernel, layer.shape, target)
            .map(|(element, len)| allot(&mut buffers, &format!("{name} scratch"), element, len, at, at));
        calls.push(Call {
            name: name.to_string(),
            value: layer.name.clone(),
            shape: layer.shape,
            element,
            macs: layer.macs(),
            kernel: kernel.clone(),
            inputs: inputs.iter().map(|&input| holders[input]).collect(),
            output,
            residual,
            scratch,
        });
        holders.insert(layer.name.clone(), output);
    }
    let lifetimes: Vec<Lifetime> = buffers.iter().map(Buffer::lifetime).collect();
    let plan = plan(&lifetimes)?;
    Ok(Program { calls, buffers, plan })
}

/// Type and number of the elements of scratch that a kernel takes.
fn scratch(kernel: &Kernel, [channels, height, width]: [usize; 3], target: Target) -> Option<(Element, usize)> {
    match kernel {
        Kernel::Conv2dInt8 { sums, .. } | Kernel::Conv2dInt8Head { sums, .. } => {
            Some((Element::I32, target.scratch_words(&sums.geometry.engine())))
        }
        Kernel::Conv2dFloat { geometry, .. } => Some((Element::F32, target.float_scratch(&geometry.engine()))),
        Kernel::GroupNormInt8 { .. } => Some((Element::I32, 2 * channels)),
        Kernel::GroupNormFloat { .. } => Some((Element::F32, 2 * channels)),
        Kernel::AttentionInt8 { .. } => Some((Element::I32, 2 * height * width)),
        Kernel::AttentionFloat { heads, .. } => Some((Element::F32, height * width * (1 + channels / heads))),
        _ => None,
    }
}

impl Buffer {
    /// What the planner sees of it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let [first, last] = self.calls;
        Lifetime { name: self.name.clone(), bytes: self.bytes(), first, last, align: self.element.bytes().max(4) }
    }
}

/// A layer's name for people, its maps, and the second operand of its sum.
fn operands(layer: &Layer) -> (&str, Vec<&str>, Option<&str>) {
    match &layer.kind {
        Kind::Conv2d(conv) => {
            (&conv.node, conv.inputs.iter().map(|(input, _)| input.as_str()).collect(), conv.residual.as_deref())
        }
        Kind::Add { inputs: [a, b] } => (&layer.name, vec![a], Some(b)),
        Kind::GroupNorm(norm) => (&norm.node, vec![&norm.input], None),
        _ => (&layer.name, layer.inputs(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float;
    use crate::fold::{fold, tests::network};

    #[test]
    fn a_residual_block_overwrites_its_residual() {
        let folded = fold(&network(), &[0, 1]).unwrap();
        let program = lower(&folded, float::kernels(&folded, Element::F32).unwrap(), Target::default()).unwrap();
        let block = &program.calls[1];
        assert_eq!(block.name, "conv");
        // It reads h and adds h: the buffer of h cannot take the result.
        assert!(matches!(block.residual, Some(Residual::Buffer(_))));
        assert_eq!(program.calls[0].inputs, [Place::Outside]);
        assert_eq!(program.calls.last().unwrap().output, Place::Outside);
    }
}
