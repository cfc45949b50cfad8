//! Pictures of any size to one size.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Pixel};

use super::options::Resize;

/// A picture of bytes.
pub type Bytes<P> = ImageBuffer<P, Vec<u8>>;

/// Brings a picture to `[height, width]`; one that has this size stays as it is.
pub fn resize<P>(picture: Bytes<P>, [height, width]: [usize; 2], how: Resize, background: P) -> Bytes<P>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let (to_w, to_h) = (width as u32, height as u32);
    let (w, h) = picture.dimensions();
    if (w, h) == (to_w, to_h) {
        return picture;
    }
    let to = |picture: &Bytes<P>, w: u32, h: u32| imageops::resize(picture, w.max(1), h.max(1), FilterType::CatmullRom);
    // The part of a side that keeps the shape of the target, and the other way round.
    let part = |side: u32, by: u32, over: u32| {
        ((u64::from(side) * u64::from(by) + u64::from(over) / 2) / u64::from(over)).max(1) as u32
    };
    match how {
        Resize::Stretch => to(&picture, to_w, to_h),
        Resize::Crop => {
            let (cut_w, cut_h) = (part(h, to_w, to_h).min(w), part(w, to_h, to_w).min(h));
            let cut = imageops::crop_imm(&picture, (w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h).to_image();
            to(&cut, to_w, to_h)
        }
        Resize::Pad => {
            let (fit_w, fit_h) = (part(w, to_h, h).min(to_w), part(h, to_w, w).min(to_h));
            let mut padded = Bytes::from_pixel(to_w, to_h, background);
            let small = to(&picture, fit_w, fit_h);
            imageops::replace(&mut padded, &small, i64::from((to_w - fit_w) / 2), i64::from((to_h - fit_h) / 2));
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    /// White, with black rows at the top and at the bottom, which a crop of a high picture loses.
    fn high() -> Bytes<Luma<u8>> {
        Bytes::from_fn(8, 16, |_, y| Luma([if (4..12).contains(&y) { 255 } else { 0 }]))
    }

    #[test]
    fn crops_cut_pads_add_and_stretches_squeeze() {
        let grey = Luma([128]);
        let cropped = resize(high(), [8, 8], Resize::Crop, grey);
        assert!(cropped.pixels().all(|pixel| pixel.0 == [255]));
        let padded = resize(high(), [8, 8], Resize::Pad, grey);
        assert!((0..8).all(|y| padded.get_pixel(0, y).0 == [128] && padded.get_pixel(7, y).0 == [128]));
        assert!(padded.get_pixel(3, 0).0[0] < 40 && padded.get_pixel(3, 4).0[0] > 215);
        let squeezed = resize(high(), [8, 8], Resize::Stretch, grey);
        assert!(squeezed.get_pixel(0, 0).0[0] < 40 && squeezed.get_pixel(0, 4).0[0] > 215);
    }

    #[test]
    fn every_size_comes_to_every_size() {
        for (w, h) in [(1, 1), (1, 300), (300, 1), (7, 5), (64, 64)] {
            for to in [[4, 4], [4, 9], [32, 5], [64, 64]] {
                for how in [Resize::Crop, Resize::Pad, Resize::Stretch] {
                    let picture = Bytes::from_pixel(w, h, Luma([200]));
                    let resized = resize(picture, to, how, Luma([200]));
                    assert_eq!(resized.dimensions(), (to[1] as u32, to[0] as u32));
                    assert!(resized.pixels().all(|pixel| pixel.0[0] == 200), "{w}×{h} to {to:?}");
                }
            }
        }
    }
}
