//! The operations, one file each. A kernel is a struct of static parameters; `run` takes the maps.
//!
//! Generated code has one static a layer and one function that lends the layer its buffers:
//!
//! ```
//! use grano::blob::{Arena, Blob, Buffer, elements};
//! use grano::isa::Portable;
//! use grano::kernel::{Bias, Condition, Conv2dInt8, Epilogue, Geometry, Residual, Sums};
//! use grano::requantize::Requantize;
//! use grano::shape::Shape;
//!
//! static MODEL: Blob<32> = Blob([1; 32]); // Blob(*include_bytes!("model.bin"))
//! static MULTIPLIERS: [i32; 2] = [1 << 30; 2];
//!
//! static DOWN: Conv2dInt8 = Conv2dInt8 {
//!     sums: Sums {
//!         geometry: Geometry {
//!             input: Shape { height: 4, width: 4, channels: 1 },
//!             output: Shape { height: 2, width: 2, channels: 2 },
//!             kernel: [2, 2],
//!             stride: [2, 2],
//!             padding: [0, 0],
//!             upsample: [1, 1],
//!         },
//!         channels: [1, 0],
//!         zero_points: [0, 0],
//!         weights: MODEL.view(0, 16), // two channels, filled up to four
//!         bias: Bias { steps: &[0, 10], classes: &[] },
//!     },
//!     epilogue: Epilogue {
//!         residual_multipliers: &[],
//!         requantize: Requantize { shift: 1, multipliers: &MULTIPLIERS, zero_point: -5 },
//!         table: None,
//!     },
//! }
//! .checked::<Portable>();
//!
//! const INPUT: Buffer = Buffer { offset: 0, len: 16 };
//! const SCRATCH: Buffer = Buffer { offset: 16, len: 40 };
//! const OUTPUT: Buffer = Buffer { offset: 56, len: 8 };
//!
//! fn down(arena: &mut Arena<64>, condition: Condition) {
//!     if let Some([input, scratch, output]) = arena.split([INPUT, SCRATCH, OUTPUT]) {
//!         let maps = [&*elements::<i8>(input), &[]];
//!         DOWN.run::<Portable, _>(condition, maps, Residual::None, elements(scratch), elements(output));
//!     }
//! }
//!
//! let mut arena = Arena::new();
//! down(&mut arena, Condition { step: 0, class: 0 });
//! assert_eq!(arena.split([OUTPUT]).unwrap(), [[-5i8 as u8, 0].repeat(4)]);
//! ```
//!
//! `checked()` makes parameters of wrong lengths compile errors:
//!
//! ```compile_fail,E0080
//! use grano::kernel::DepthToSpace;
//! use grano::shape::Shape;
//!
//! // Six channels are no 2 × 2 block.
//! static UP: DepthToSpace =
//!     DepthToSpace { input: Shape { height: 4, width: 4, channels: 6 }, block: 2 }.checked();
//! ```

mod activation;
mod add;
mod attention;
mod conv2d_float;
mod conv2d_int8;
mod depth_to_space;
mod depthwise;
mod group_norm;
#[cfg(test)]
mod oracle;
mod quantize;
mod strips;
mod winograd_int8;

pub use crate::conditioning::{Bias, Condition};
pub use crate::epilogue::{AddInt8, Epilogue, FineEpilogue};
pub use crate::geometry::Geometry;
pub use crate::isa::winograd;
pub use crate::real::{Activation, Real};
pub use crate::residual::Residual;
pub use activation::{ActivationFloat, ActivationInt8};
pub use add::AddFloat;
pub use attention::{AttentionFloat, AttentionInt8, EXP_LEN, ExpTable};
pub use conv2d_float::Conv2dFloat;
pub use conv2d_int8::{Conv2dFine, Conv2dInt8, Conv2dInt8Head, Sums};
pub use depth_to_space::DepthToSpace;
pub use depthwise::{DepthwiseFloat, DepthwiseInt8};
pub use group_norm::{GroupNormFloat, GroupNormInt8};
pub use half::f16;
pub use quantize::Quantize;
pub use strips::{Rows, Strip, Strips};
pub use winograd_int8::{WinogradFine, WinogradInRamFine, WinogradInRamInt8, WinogradInt8, WinogradSums};
