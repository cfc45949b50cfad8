//! The operations, one file each. A kernel is a struct of parameters; `checked()` proves them and gives a [`Proved`] kernel,
//! whose `run` takes the maps.
//!
//! Generated code has one static a layer and one function that lends the layer its buffers:
//!
//! ```
//! use grano::blob::{Arena, Blob, Buffer, elements, split};
//! use grano::isa::Portable;
//! use grano::kernel::{Bias, Condition, Conv2dInt8, Epilogue, Geometry, Proved, Residual, Sums};
//! use grano::requantize::Requantize;
//! use grano::shape::Shape;
//!
//! static MODEL: Blob<32> = Blob([1; 32]); // Blob(*include_bytes!("model.bin"))
//! static MULTIPLIERS: [i32; 2] = [1 << 30; 2];
//!
//! static DOWN: Proved<Conv2dInt8, Portable> = Conv2dInt8 {
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
//! // Buffers are as long as the layer asks for.
//! const _: () = {
//!     assert!(INPUT.len >= DOWN.input_lens()[0] && OUTPUT.len >= DOWN.output_len());
//!     assert!(SCRATCH.len >= 4 * DOWN.scratch_len());
//! };
//!
//! fn down(arena: &mut [u8], condition: Condition) {
//!     if let Some([input, scratch, output]) = split(arena, [INPUT, SCRATCH, OUTPUT]) {
//!         let maps = [&*elements::<i8>(input), &[]];
//!         DOWN.run::<Portable, _>(condition, maps, Residual::None, elements(scratch), elements(output));
//!     }
//! }
//!
//! let mut arena = Arena::<64>::new();
//! down(arena.bytes_mut(), Condition { step: 0, class: 0 });
//! assert_eq!(split(arena.bytes_mut(), [OUTPUT]).unwrap(), [[-5i8 as u8, 0].repeat(4)]);
//! ```
//!
//! A program that reads a network when it runs builds the same structs on borrowed constants, and proves them by `proved()`,
//! which gives an error where `checked()` makes parameters of wrong lengths compile errors:
//!
//! ```compile_fail,E0080
//! use grano::kernel::{DepthToSpace, Proved};
//! use grano::shape::Shape;
//!
//! // Six channels are no 2 × 2 block.
//! static UP: Proved<DepthToSpace> =
//!     DepthToSpace { input: Shape { height: 4, width: 4, channels: 6 }, block: 2 }.checked();
//! ```

mod activation;
mod add;
mod attention;
mod average_pool;
mod buffers;
mod concat;
mod conv2d_float;
mod conv2d_int8;
mod depth_to_space;
mod depthwise;
mod group_norm;
#[cfg(test)]
mod oracle;
mod product;
mod proved;
mod quantize;
mod scale_shift;
mod softmax;
mod store;
mod stream;
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
pub use average_pool::{AveragePoolFloat, AveragePoolInt8};
pub use concat::{ConcatFloat, ConcatInt8};
pub use conv2d_float::Conv2dFloat;
pub use conv2d_int8::{Conv2dFine, Conv2dInt8, Conv2dInt8Head, Sums};
pub use depth_to_space::DepthToSpace;
pub use depthwise::{DepthwiseFloat, DepthwiseInt8};
pub use group_norm::{GroupNormFloat, GroupNormInt8};
pub use half::f16;
pub use product::{ProductFloat, ProductInt8};
pub use proved::Proved;
pub use quantize::{Load, Quantize};
pub use scale_shift::{ScaleShiftFloat, ScaleShiftInt8};
pub use softmax::{SoftmaxFloat, SoftmaxInt8};
pub use store::Store;
pub use stream::Put;
pub use strips::{Rows, Strip, Strips};
pub use winograd_int8::{WinogradFine, WinogradInRamFine, WinogradInRamInt8, WinogradInt8, WinogradSums};
