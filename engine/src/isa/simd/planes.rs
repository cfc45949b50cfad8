//! A convolution's input, enlarged, padded, and with neighbouring columns side by side, so that a tap of neighbouring
//! pixels is one piece of memory.

use core::ops::Range;

use super::DEPTH;
use super::elements::Elements;
use crate::geometry::Geometry;
use crate::maps::Maps;

/// Where elements lie: `[row][group of channels][column % stride][column / stride][channel of the group]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// Channels that lie side by side: [`DEPTH`] where every map's are whole groups, else 1.
    pub group: usize,
    groups: usize,
    pub rows: usize,
    line: usize,
    stride: [usize; 2],
    kernel: [usize; 2],
}

impl Planes {
    /// For tiles of `pixels` neighbouring outputs, the last of which may reach past the map.
    pub fn new(geometry: &Geometry, channels: [usize; 2], pixels: usize) -> Self {
        let whole = channels[0].is_multiple_of(DEPTH) && channels[1].is_multiple_of(DEPTH);
        Self::of_groups(geometry, if whole { DEPTH } else { 1 }, pixels)
    }

    /// The same with channels one by one.
    pub const fn of_channels(geometry: &Geometry, pixels: usize) -> Self {
        Self::of_groups(geometry, 1, pixels)
    }

    const fn of_groups(geometry: &Geometry, group: usize, pixels: usize) -> Self {
        let Geometry { output, kernel, stride, .. } = *geometry;
        Self {
            group,
            groups: geometry.input.channels / group,
            rows: (output.height - 1) * stride[0] + kernel[0],
            line: output.width.next_multiple_of(pixels) + (kernel[1] - 1) / stride[1],
            stride,
            kernel,
        }
    }

    /// Elements of all planes.
    pub const fn len(&self) -> usize {
        self.rows * self.groups * self.stride[1] * self.line * self.group
    }

    /// Groups of a patch.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.groups
    }

    /// Where the taps of the first of some neighbouring outputs start, in groups.
    #[inline(always)]
    pub fn start(&self, (y, x): (usize, usize)) -> usize {
        y * self.stride[0] * self.groups * self.stride[1] * self.line + x
    }

    /// Where each of a patch's groups lies, counted from [`Self::start`], in the order `[k_h][k_w][groups]`.
    pub fn offsets(&self, offsets: &mut [u32]) {
        let [_, k_w] = self.kernel;
        for (tap, offset) in offsets.iter_mut().enumerate() {
            let (pixel, group) = (tap / self.groups, tap % self.groups);
            let (ky, kx) = (pixel / k_w, pixel % k_w);
            let line = (ky * self.groups + group) * self.stride[1] + kx % self.stride[1];
            *offset = (line * self.line + kx / self.stride[1]) as u32;
        }
    }

    /// Copies the maps' part of some rows, values as `E` says; taps outside meet the zero points.
    #[inline(always)]
    pub fn fill<E: Elements>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, E::Value>,
        padding: [E::Element; 2],
        rows: Range<usize>,
        planes: &mut [E::Element],
    ) {
        let row_len = self.groups * self.stride[1] * self.line * self.group;
        for row in rows {
            let source = geometry.tap(0, 0, row, geometry.input.height);
            let (done, planes) = planes.split_at_mut(row * row_len);
            let Some(planes) = planes.get_mut(..row_len) else { return };
            if row > 0 && source == geometry.tap(0, 0, row - 1, geometry.input.height) {
                // Enlarged, or more padding.
                planes.copy_from_slice(&done[done.len() - row_len..]);
                continue;
            }
            let mut rest = planes;
            for ((map, channels), padding) in input.maps.iter().zip(input.channels).zip(padding) {
                let Some((planes, later)) = rest.split_at_mut_checked(row_len / geometry.input.channels * channels)
                else {
                    return;
                };
                rest = later;
                planes.fill(padding);
                let source_len = geometry.input.width * channels;
                let Some(row) = source.and_then(|row| map.get(row * source_len..(row + 1) * source_len)) else {
                    continue;
                };
                match self.group {
                    DEPTH => self.row::<DEPTH, E>(geometry, row, channels, planes),
                    _ => self.row::<1, E>(geometry, row, channels, planes),
                }
            }
        }
    }

    /// One map's lines of groups of `G` channels, of a row whose pixels are `channels` wide.
    #[inline(always)]
    fn row<const G: usize, E: Elements>(
        &self,
        geometry: &Geometry,
        row: &[E::Value],
        channels: usize,
        planes: &mut [E::Element],
    ) {
        let (words, _) = planes.as_chunks_mut::<G>();
        let [padding, stride, upsample] = [geometry.padding[1], self.stride[1], geometry.upsample[1]];
        let mut lines = words.chunks_exact_mut(self.line);
        let mut first = 0;
        if stride * upsample == 1 {
            // Four groups at a time: a transposition in registers.
            while first + 4 * G <= channels {
                let [Some(a), Some(b), Some(c), Some(d)] = core::array::from_fn(|_| lines.next()) else { return };
                let [a, b, c, d] = [a, b, c, d].map(|line| line.get_mut(padding..).unwrap_or_default());
                let pixels =
                    row.chunks_exact(channels).filter_map(|pixel| pixel[first..].as_chunks::<G>().0.first_chunk::<4>());
                for ((((a, b), c), d), pixel) in a.iter_mut().zip(b).zip(c).zip(d).zip(pixels) {
                    [*a, *b, *c, *d] = pixel.each_ref().map(E::group);
                }
                first += 4 * G;
            }
        }
        for first in (first..channels).step_by(G) {
            for phase in 0..stride {
                let Some(line) = lines.next() else { return };
                let skipped = padding.saturating_sub(phase).div_ceil(stride);
                let start = skipped * stride + phase - padding;
                let (mut column, mut part) = (start / upsample, start % upsample);
                for word in line.iter_mut().skip(skipped) {
                    let group = row.get(column * channels + first..).and_then(<[E::Value]>::first_chunk::<G>);
                    let Some(group) = group else { break };
                    *word = E::group(group);
                    part += stride;
                    while part >= upsample {
                        part -= upsample;
                        column += 1;
                    }
                }
            }
        }
    }
}
