//! What generated code names. Users name none of it, and a change of it is a new [`VERSION`].

pub use crate::__static_painter as static_painter;
pub use crate::blob::{Arena, Blob, Buffer, are_apart, elements, split};
pub use crate::isa::*;
pub use crate::kernel::*;
pub use crate::memory::Memory;
pub use crate::model::{Corrupted, Label, Model, check_constants};
pub use crate::network::{Input, Io, Layers, Network, Port, PortKind, Sink};
pub use crate::painter::Painter;
pub use crate::requantize::Requantize;
pub use crate::schedule::{StepRow, StepTable};
pub use crate::shape::Shape;
pub use crate::tap::{Stored, Tap};
#[cfg(feature = "static-cell")]
pub use static_cell::ConstStaticCell;

/// Of what is named here. Generated code asserts that it is the one that it was generated for.
pub const VERSION: u32 = 4;
