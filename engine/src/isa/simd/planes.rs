//! A convolution's input, enlarged and padded. Where lanes are channels, four groups of a pixel's channels lie side by side,
//! mostly as in the map itself; where lanes are pixels, a tap of neighbouring pixels is one piece of memory.

use core::ops::Range;

use bytemuck::Pod;

use super::DEPTH;
use crate::geometry::Geometry;
use crate::maps::Maps;

/// Groups that lie side by side where tiles are read pixel by pixel: a register's worth of bytes.
pub(super) const SIDE: usize = 4;

/// Where elements lie: `[row][cluster of groups][column % stride][column / stride][group of the cluster][channel of the
/// group]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// Channels that lie side by side: [`DEPTH`] where every map's are whole groups, else 1.
    pub group: usize,
    groups: usize,
    /// Groups of a cluster, the last of which may have fewer: [`SIDE`] or 1.
    side: usize,
    rows: usize,
    /// Groups of a row.
    row_len: usize,
    line: usize,
    stride: [usize; 2],
    kernel: [usize; 2],
}

impl Planes {
    /// For tiles of `pixels` neighbouring outputs, the last of which may reach past the map. Clusters have `side` groups, but
    /// for groups of single channels.
    pub fn new(geometry: &Geometry, channels: [usize; 2], pixels: usize, side: usize) -> Self {
        let whole = channels[0].is_multiple_of(DEPTH) && channels[1].is_multiple_of(DEPTH);
        if whole { Self::of_groups(geometry, DEPTH, side, pixels) } else { Self::of_channels(geometry, pixels) }
    }

    /// With channels one by one.
    pub fn of_channels(geometry: &Geometry, pixels: usize) -> Self {
        Self::of_groups(geometry, 1, 1, pixels)
    }

    fn of_groups(geometry: &Geometry, group: usize, side: usize, pixels: usize) -> Self {
        let Geometry { output, kernel, stride, .. } = *geometry;
        let groups = geometry.input.channels / group;
        let line = output.width.next_multiple_of(pixels) + (kernel[1] - 1) / stride[1];
        Self {
            group,
            groups,
            side,
            rows: (output.height - 1) * stride[0] + kernel[0],
            row_len: groups.next_multiple_of(side) * stride[1] * line,
            line,
            stride,
            kernel,
        }
    }

    /// Elements of all planes.
    pub fn len(&self) -> usize {
        self.rows * self.row_len * self.group
    }

    /// Groups of a patch.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.groups
    }

    /// Where the taps of the first of some neighbouring outputs start, in groups; the next one's are `side` further.
    #[inline(always)]
    pub fn start(&self, (y, x): (usize, usize)) -> usize {
        y * self.stride[0] * self.row_len + x * self.side
    }

    /// Where each of a patch's groups lies, counted from [`Self::start`], in the order `[k_h][k_w][groups]`.
    pub fn offsets(&self, offsets: &mut [u32]) {
        let Self { groups, side, line, stride, kernel: [k_h, k_w], .. } = *self;
        let mut taps = offsets.chunks_exact_mut(groups);
        for ky in 0..k_h {
            for kx in 0..k_w {
                let mut place = ky * self.row_len + (kx % stride[1] * line + kx / stride[1]) * side;
                for offsets in taps.next().unwrap_or_default().chunks_mut(side) {
                    offsets.iter_mut().zip(place..).for_each(|(offset, place)| *offset = place as u32);
                    place += stride[1] * line * side;
                }
            }
        }
    }

    /// Rows that all outputs of row `y` and those above meet.
    #[inline(always)]
    pub fn rows_until(&self, y: usize) -> usize {
        y * self.stride[0] + self.kernel[0]
    }

    /// Copies the maps' part of some rows, values by way of `elements`; taps outside meet the zero points.
    #[inline(always)]
    pub fn fill<X: Copy, E: Pod>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, X>,
        padding: [E; 2],
        elements: impl Fn(&[X], &mut [E]) + Copy,
        rows: Range<usize>,
        planes: &mut [E],
    ) {
        let row_len = self.row_len * self.group;
        for row in rows {
            let source = geometry.tap(0, 0, row, geometry.input.height);
            let (done, planes) = planes.split_at_mut(row * row_len);
            let Some(planes) = planes.get_mut(..row_len) else { return };
            if row > 0 && source == geometry.tap(0, 0, row - 1, geometry.input.height) {
                // Enlarged, or more padding.
                planes.copy_from_slice(&done[done.len() - row_len..]);
                continue;
            }
            let mut first = 0;
            for index in [0, 1] {
                let channels = input.channels[index];
                let len = geometry.input.width * channels;
                let values = source.and_then(|row| input.maps[index].get(row * len..(row + 1) * len));
                let row = Row { values: values.unwrap_or_default(), channels, first, padding: padding[index] };
                match (self.group, self.side) {
                    (DEPTH, SIDE) => self.row::<DEPTH, SIDE, X, E>(geometry, row, elements, planes),
                    (DEPTH, _) => self.row::<DEPTH, 1, X, E>(geometry, row, elements, planes),
                    _ => self.row::<1, 1, X, E>(geometry, row, elements, planes),
                }
                first += channels / self.group;
            }
        }
    }

    /// One map's part of a row, in groups of `G` channels and clusters of `S` groups.
    #[inline(always)]
    fn row<const G: usize, const S: usize, X: Copy, E: Pod>(
        &self,
        geometry: &Geometry,
        row: Row<'_, X, E>,
        elements: impl Fn(&[X], &mut [E]) + Copy,
        planes: &mut [E],
    ) {
        let clusters = planes.as_chunks_mut::<G>().0.as_chunks_mut::<S>().0;
        let (groups, len) = (row.channels / G, self.stride[1] * self.line);
        let mut group = 0;
        while group < groups {
            let (cluster, place) = ((row.first + group) / S, (row.first + group) % S);
            let Some(clusters) = clusters.get_mut(cluster * len..) else { return };
            group += if S == 1 && self.stride[1] * geometry.upsample[1] == 1 && group + SIDE <= groups {
                self.lines(geometry, row, group, elements, clusters.as_flattened_mut());
                SIDE
            } else if place == 0 && group + S <= groups {
                self.cluster::<G, S, S, X, E>(geometry, row, [group, place], elements, clusters);
                S
            } else {
                self.cluster::<G, S, 1, X, E>(geometry, row, [group, place], elements, clusters);
                1
            };
        }
    }

    /// Four of a map's groups, from `group` on, to as many lines: a transposition in registers.
    #[inline(always)]
    fn lines<const G: usize, X: Copy, E: Pod>(
        &self,
        geometry: &Geometry,
        row: Row<'_, X, E>,
        group: usize,
        elements: impl Fn(&[X], &mut [E]) + Copy,
        words: &mut [[E; G]],
    ) {
        let mut lines = words.chunks_exact_mut(self.line);
        let [Some(a), Some(b), Some(c), Some(d)] = core::array::from_fn(|_| lines.next()) else { return };
        for line in [&mut *a, &mut *b, &mut *c, &mut *d] {
            line.fill([row.padding; G]);
        }
        let [a, b, c, d] = [a, b, c, d].map(|line| line.get_mut(geometry.padding[1]..).unwrap_or_default());
        let pixels = row.values.chunks_exact(row.channels).filter_map(|pixel| pixel.get(group * G..(group + SIDE) * G));
        for ((((a, b), c), d), pixel) in a.iter_mut().zip(b).zip(c).zip(d).zip(pixels) {
            for (word, group) in [a, b, c, d].into_iter().zip(pixel.as_chunks::<G>().0) {
                elements(group, word);
            }
        }
    }

    /// `N` of a map's groups, from `group` on, to their place in a cluster.
    #[inline(always)]
    fn cluster<const G: usize, const S: usize, const N: usize, X: Copy, E: Pod>(
        &self,
        geometry: &Geometry,
        row: Row<'_, X, E>,
        [group, place]: [usize; 2],
        elements: impl Fn(&[X], &mut [E]) + Copy,
        clusters: &mut [[[E; G]; S]],
    ) {
        let [padding, stride, upsample] = [geometry.padding[1], self.stride[1], geometry.upsample[1]];
        let pad = |clusters: &mut [[[E; G]; S]]| {
            for groups in clusters {
                groups[place..place + N].fill([row.padding; G]);
            }
        };
        for (phase, line) in clusters.chunks_exact_mut(self.line).take(stride).enumerate() {
            let skipped = padding.saturating_sub(phase).div_ceil(stride).min(line.len());
            let (before, line) = line.split_at_mut(skipped);
            pad(before);
            let mut filled = 0;
            if N == S && row.channels == S * G && stride * upsample == 1 {
                filled = (row.values.len() / row.channels).min(line.len());
                elements(row.values, line[..filled].as_flattened_mut().as_flattened_mut());
            } else {
                let mut enlarged = skipped * stride + phase - padding;
                for groups in &mut *line {
                    let column = if upsample == 1 { enlarged } else { enlarged / upsample };
                    let at = column * row.channels + group * G;
                    let Some(from) = row.values.get(at..at + N * G) else { break };
                    elements(from, groups[place..place + N].as_flattened_mut());
                    filled += 1;
                    enlarged += stride;
                }
            }
            pad(&mut line[filled..]);
        }
    }
}

/// One map's part of a row.
#[derive(Clone, Copy)]
struct Row<'a, X, E> {
    /// `[width][channels]`, or none where the row is padding.
    values: &'a [X],
    channels: usize,
    /// Groups of the map before it.
    first: usize,
    padding: E,
}
