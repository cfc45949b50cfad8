//! One layer a row of the kernels' table, for benchmarks: from int8 to int8, joined to one network by glue.
//!
//! Nodes are named after what they are, `conv3x3_16_16_28`: kernel, channels in and out, side of the input; those that
//! only bring maps into shape begin with `glue`.

use grano_codegen::Result;
use grano_codegen::graph::{Add, Builder, Conv2d, Graph, Parameter, X};

use crate::calibrate::{self, random};

/// Side of the picture.
pub const SIDE: usize = 28;

/// The layers in question: the table's, then odd shapes.
pub const ROWS: [&str; 24] = [
    "conv3x3_16_16_28",
    "conv3x3_32_32_14",
    "conv3x3_64_64_7",
    "conv3x3_32_16_28",
    "conv3x3s2_16_32_28",
    "conv1x1_64_64_14",
    "depthwise3x3_32_14",
    "linear_128_256",
    "add_16_28",
    "conv3x3_1_16_28",
    "conv3x3_16_1_28",
    "conv3x3_13_19_15x11",
    "conv3x3_7_5_9x13",
    "conv3x3_18_18_13",
    "conv1x1_10_22_13",
    "conv5x5_8_8_14",
    "conv5x5_12_20_13",
    "conv3x3s2_6_10_13",
    "conv3x3s2_13_19_15x11",
    "conv3x3s2_10_12_27",
    "conv1x5_16_16_64",
    "conv1x5_16_16_128",
    "conv1x3_12_18_101",
    "conv1x3s2_16_32_64",
];

/// A convolution that keeps the size.
fn same(out_channels: usize, kernel: usize) -> Conv2d {
    Conv2d {
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [kernel / 2; 2].into(),
        upsample: [1; 2],
        groups: 1,
    }
}

/// A convolution without padding of the enlarged map.
fn glue(out_channels: usize, kernel: [usize; 2], upsample: [usize; 2]) -> Conv2d {
    Conv2d { out_channels, kernel, stride: [1; 2], padding: [0; 2].into(), upsample, groups: 1 }
}

/// A convolution of one row, as wide as the kernel says.
fn line(out_channels: usize, width: usize, stride: usize) -> Conv2d {
    Conv2d {
        out_channels,
        kernel: [1, width],
        stride: [1, stride],
        padding: [0, width / 2].into(),
        upsample: [1; 2],
        groups: 1,
    }
}

fn strided(out_channels: usize) -> Conv2d {
    Conv2d { stride: [2; 2], ..same(out_channels, 3) }
}

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let mut b = Builder::new([1, SIDE, SIDE], 0);
    b.node("glue_x", glue(1, [1; 2], [1; 2]), &[X]);
    b.node("conv3x3_1_16_28", same(16, 3), &["glue_x"]);
    b.node("conv3x3_16_16_28", same(16, 3), &["conv3x3_1_16_28"]);
    b.node("add_16_28", Add {}, &["conv3x3_1_16_28", "conv3x3_16_16_28"]);
    // Reads what is added once more, so that the sum stays a layer of its own.
    b.node("conv3x3_16_1_28", same(1, 3), &["conv3x3_16_16_28"]);
    b.node("conv3x3s2_16_32_28", strided(32), &["add_16_28"]);
    b.node("conv3x3_32_32_14", same(32, 3), &["conv3x3s2_16_32_28"]);
    let depthwise = Conv2d {
        out_channels: 32,
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 2].into(),
        upsample: [1; 2],
        groups: 32,
    };
    b.node("depthwise3x3_32_14", depthwise, &["conv3x3_32_32_14"]);
    b.node("glue_32_28", glue(32, [1; 2], [2; 2]), &["depthwise3x3_32_14"]);
    b.node("conv3x3_32_16_28", same(16, 3), &["glue_32_28"]);
    b.node("glue_64_14", glue(64, [1; 2], [1; 2]), &["depthwise3x3_32_14"]);
    b.node("conv1x1_64_64_14", same(64, 1), &["glue_64_14"]);
    b.node("glue_64_7", strided(64), &["conv1x1_64_64_14"]);
    b.node("conv3x3_64_64_7", same(64, 3), &["glue_64_7"]);
    b.node("glue_8_7", glue(8, [1; 2], [1; 2]), &["conv3x3_64_64_7"]);
    b.node("glue_128_1", glue(128, [7; 2], [1; 2]), &["glue_8_7"]);
    b.node("linear_128_256", same(256, 1), &["glue_128_1"]);

    b.node("glue_13_15x11", glue(13, [14, 18], [1; 2]), &["glue_x"]);
    b.node("conv3x3_13_19_15x11", same(19, 3), &["glue_13_15x11"]);
    b.node("glue_8_14", glue(8, [1; 2], [1; 2]), &["depthwise3x3_32_14"]);
    b.node("conv5x5_8_8_14", same(8, 5), &["glue_8_14"]);
    b.node("glue_6_13", glue(6, [2; 2], [1; 2]), &["conv5x5_8_8_14"]);
    b.node("conv3x3s2_6_10_13", strided(10), &["glue_6_13"]);
    b.node("glue_16_64", glue(16, [28, 21], [1, 3]), &["glue_x"]);
    b.node("conv1x5_16_16_64", line(16, 5, 1), &["glue_16_64"]);
    b.node("glue_7_9x13", glue(7, [20, 16], [1; 2]), &["glue_x"]);
    b.node("conv3x3_7_5_9x13", same(5, 3), &["glue_7_9x13"]);
    b.node("glue_18_13", glue(18, [1; 2], [1; 2]), &["glue_6_13"]);
    b.node("conv3x3_18_18_13", same(18, 3), &["glue_18_13"]);
    b.node("glue_10_13", glue(10, [1; 2], [1; 2]), &["conv3x3_18_18_13"]);
    b.node("conv1x1_10_22_13", same(22, 1), &["glue_10_13"]);
    b.node("glue_12_13", glue(12, [1; 2], [1; 2]), &["conv1x1_10_22_13"]);
    b.node("conv5x5_12_20_13", same(20, 5), &["glue_12_13"]);
    b.node("glue_1_7", strided(1), &["conv5x5_12_20_13"]);
    b.node("conv3x3s2_13_19_15x11", strided(19), &["glue_13_15x11"]);
    b.node("glue_10_27", glue(10, [2; 2], [1; 2]), &["glue_x"]);
    b.node("conv3x3s2_10_12_27", strided(12), &["glue_10_27"]);
    b.node("glue_16_128", glue(16, [1; 2], [1, 2]), &["glue_16_64"]);
    b.node("conv1x5_16_16_128", line(16, 5, 1), &["glue_16_128"]);
    b.node("glue_12_101", glue(12, [1, 28], [1; 2]), &["conv1x5_16_16_128"]);
    b.node("conv1x3_12_18_101", line(18, 3, 1), &["glue_12_101"]);
    b.node("conv1x3s2_16_32_64", line(32, 3, 2), &["glue_16_64"]);

    // Every end as one channel at full size, added up.
    let ends = [
        ("conv3x3_16_1_28", [1; 2], [1; 2]),
        ("conv3x3_32_16_28", [1; 2], [1; 2]),
        ("linear_128_256", [1; 2], [28; 2]),
        ("conv3x3_13_19_15x11", [3, 6], [2, 3]),
        ("conv3x3s2_6_10_13", [1; 2], [4; 2]),
        ("conv1x5_16_16_64", [1, 37], [28, 1]),
        ("conv3x3_7_5_9x13", [9, 12], [4, 3]),
        ("glue_1_7", [1; 2], [4; 2]),
        ("conv3x3s2_13_19_15x11", [5, 3], [4, 5]),
        ("conv3x3s2_10_12_27", [1; 2], [2; 2]),
        ("conv1x3_12_18_101", [1, 74], [28, 1]),
        ("conv1x3s2_16_32_64", [1, 5], [28, 1]),
    ];
    let mut sum = String::new();
    for (i, (end, kernel, upsample)) in ends.into_iter().enumerate() {
        let map = b.node(format!("glue_end{i}"), glue(1, kernel, upsample), &[end]);
        sum = if i == 0 { map } else { b.node(format!("glue_sum{i}"), Add {}, &[&sum, &map]) };
    }
    b.node("glue_out", glue(1, [1; 2], [1; 2]), &[&sum]);
    b.finish("glue_out")
}

/// A picture of noise.
#[must_use]
pub fn picture(seed: u32) -> Vec<f32> {
    let mut random = random(seed);
    (0..SIDE * SIDE).map(|_| 3.0 * random()).collect()
}

/// The network as a model file's bytes; its weights keep every map's variance near 1.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let mut random = random(11);
    let weights = |parameter: &Parameter| {
        let fan_in = parameter.shape[1..].iter().product::<usize>() as f32;
        let spread = if parameter.shape.len() == 1 { 0.2 } else { (12.0 / fan_in).sqrt() };
        (0..parameter.shape.iter().product()).map(|_| spread * random()).collect()
    };
    let header = calibrate::header(100, "ddim-1");
    let pictures = (0..6).map(|seed| (picture(seed), 0)).collect();
    calibrate::model(calibrate::network(graph()?, weights)?, header, &[(50, pictures)], &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano_codegen::fold::fold;

    #[test]
    fn every_row_is_a_layer() {
        let network = calibrate::network(graph().unwrap(), |p| vec![1.0; p.shape.iter().product()]).unwrap();
        let folded = fold(&network, &[50]).unwrap();
        let table: Vec<usize> = ROWS
            .iter()
            .map(|row| folded.layers.iter().find(|layer| layer.name == *row).expect("a layer of its own").macs())
            .collect();
        let [c16, c32, c64, c32_16, s2, c1, dw, linear, add, first, last, ..] = table[..] else { panic!() };
        assert_eq!([c16, c32, c64, c32_16, s2, c1], [1_806_336, 1_806_336, 1_806_336, 3_612_672, 903_168, 802_816]);
        assert_eq!([dw, linear, add, first, last], [56_448, 32_768, 0, 112_896, 112_896]);
    }
}
