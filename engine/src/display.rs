//! Pictures on displays, through `embedded-graphics`: feature `embedded-graphics`.
//!
//! A picture is drawn from the sampler's map, a pixel at a time: there is no frame buffer.

use core::marker::PhantomData;

use embedded_graphics_core::Drawable;
use embedded_graphics_core::draw_target::DrawTarget;
use embedded_graphics_core::geometry::{Point, Size};
use embedded_graphics_core::pixelcolor::{BinaryColor, PixelColor, Rgb888};
use embedded_graphics_core::primitives::Rectangle;

use crate::picture::{Picture, Pixel};

/// A picture on a display with colours or greys.
///
/// ```
/// # use embedded_graphics_core::{Drawable, draw_target::DrawTarget, geometry::Point, pixelcolor::Rgb565};
/// use grano::{display::Image, picture::Picture};
///
/// fn show<D: DrawTarget<Color = Rgb565>>(picture: Picture<'_>, display: &mut D) -> Result<(), D::Error> {
///     Image::new(picture, Point::new(8, 8)).scaled(8).draw(display)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Image<'a, C> {
    placed: Placed<'a>,
    color: PhantomData<C>,
}

impl<'a, C> Image<'a, C> {
    /// With its upper left corner there, a pixel of the display for a pixel.
    #[must_use]
    pub const fn new(picture: Picture<'a>, at: Point) -> Self {
        Self { placed: Placed { picture, at, scale: 1 }, color: PhantomData }
    }

    /// With squares of so many pixels of the display for a pixel; 0 draws nothing.
    #[must_use]
    pub const fn scaled(mut self, scale: u8) -> Self {
        self.placed.scale = scale;
        self
    }
}

impl<C: PixelColor + From<Rgb888>> Drawable for Image<'_, C> {
    type Color = C;
    type Output = ();

    fn draw<D: DrawTarget<Color = C>>(&self, target: &mut D) -> Result<(), D::Error> {
        self.placed.draw(target, |pixel, _| {
            let [r, g, b] = pixel.rgb;
            Rgb888::new(r, g, b).into()
        })
    }
}

/// A picture on a display of two colours, such as an OLED's or e-paper: greys are patterns of pixels that are on and off
/// (ordered dithering with a matrix of 8×8; Bayer 1973). `On` is bright.
#[derive(Clone, Copy, Debug)]
pub struct Dithered<'a> {
    placed: Placed<'a>,
}

impl<'a> Dithered<'a> {
    /// With its upper left corner there, a pixel of the display for a pixel.
    #[must_use]
    pub const fn new(picture: Picture<'a>, at: Point) -> Self {
        Self { placed: Placed { picture, at, scale: 1 } }
    }

    /// With squares of so many pixels of the display for a pixel, which show more greys; 0 draws nothing.
    #[must_use]
    pub const fn scaled(mut self, scale: u8) -> Self {
        self.placed.scale = scale;
        self
    }
}

impl Drawable for Dithered<'_> {
    type Color = BinaryColor;
    type Output = ();

    fn draw<D: DrawTarget<Color = BinaryColor>>(&self, target: &mut D) -> Result<(), D::Error> {
        self.placed.draw(target, |pixel, place| BinaryColor::from(u32::from(pixel.grey()) > threshold(place)))
    }
}

/// The grey from which on a pixel of the display is on: (4·place + 2) of 256, of Bayer's matrix, whose places are the bits
/// of x xor y and of y, from the lowest to the highest, in turn.
fn threshold([x, y]: [u32; 2]) -> u32 {
    let place = (0..3).fold(0, |place, bit| {
        let [odd, row] = [(x ^ y) >> bit & 1, y >> bit & 1];
        place | (odd << 1 | row) << (4 - 2 * bit)
    });
    4 * place + 2
}

/// A picture, where it goes, and how large its pixels are.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    picture: Picture<'a>,
    at: Point,
    scale: u8,
}

impl Placed<'_> {
    /// Draws it as one area; `color` of a pixel and its place on the display, from the picture's corner on.
    fn draw<D: DrawTarget>(&self, target: &mut D, color: impl Fn(Pixel, [u32; 2]) -> D::Color) -> Result<(), D::Error> {
        let (shape, scale) = (self.picture.shape(), u32::from(self.scale));
        let size = Size::new(shape.width as u32 * scale, shape.height as u32 * scale);
        let color = &color;
        let colors = self.picture.rows().enumerate().flat_map(|(y, row)| {
            (0..scale).flat_map(move |below| {
                let y = y as u32 * scale + below;
                row.pixels().enumerate().flat_map(move |(x, pixel)| {
                    (0..scale).map(move |beside| color(pixel, [x as u32 * scale + beside, y]))
                })
            })
        });
        target.fill_contiguous(&Rectangle::new(self.at, size), colors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::from_u8;
    use crate::shape::Shape;
    use core::convert::Infallible;
    use embedded_graphics_core::geometry::OriginDimensions;
    use embedded_graphics_core::pixelcolor::{Rgb565, RgbColor};
    use std::vec::Vec;

    /// A display of 12 × 10 that keeps what it shows.
    struct Screen<C>(Vec<C>);

    const SCREEN: Size = Size::new(12, 10);

    impl<C> OriginDimensions for Screen<C> {
        fn size(&self) -> Size {
            SCREEN
        }
    }

    impl<C: PixelColor> DrawTarget for Screen<C> {
        type Color = C;
        type Error = Infallible;

        fn draw_iter<I: IntoIterator<Item = embedded_graphics_core::Pixel<C>>>(
            &mut self,
            pixels: I,
        ) -> Result<(), Infallible> {
            for embedded_graphics_core::Pixel(at, color) in pixels {
                let inside = (0..SCREEN.width as i32).contains(&at.x) && (0..SCREEN.height as i32).contains(&at.y);
                if inside {
                    self.0[at.y as usize * SCREEN.width as usize + at.x as usize] = color;
                }
            }
            Ok(())
        }
    }

    fn shown<C: PixelColor>(background: C, image: &impl Drawable<Color = C>) -> Vec<C> {
        let mut screen = Screen(std::vec![background; (SCREEN.width * SCREEN.height) as usize]);
        image.draw(&mut screen).unwrap_or_else(|never| match never {});
        screen.0
    }

    #[test]
    fn every_pixel_is_the_pictures() {
        let values: Vec<f32> = (0..36).map(|i| from_u8(7 * i)).collect();
        for channels in [1, 3] {
            let shape = Shape { height: 3, width: 4, channels };
            let picture = Picture::new(shape, &values);
            for (scale, at) in [(1, [0, 0]), (2, [3, 1]), (4, [-5, 2]), (0, [0, 0])] {
                let screen = shown(Rgb565::MAGENTA, &Image::new(picture, Point::new(at[0], at[1])).scaled(scale));
                for (i, color) in screen.into_iter().enumerate() {
                    let (x, y) = (i as i32 % 12 - at[0], i as i32 / 12 - at[1]);
                    let scale = i32::from(scale);
                    let inside = (0..4 * scale).contains(&x) && (0..3 * scale).contains(&y);
                    let expected = if inside {
                        let [r, g, b] = picture.pixel((x / scale) as usize, (y / scale) as usize).rgb;
                        Rgb565::from(Rgb888::new(r, g, b))
                    } else {
                        Rgb565::MAGENTA
                    };
                    assert_eq!(color, expected, "{x} {y} at scale {scale}, {channels} channels");
                }
            }
        }
    }

    #[test]
    fn the_matrix_is_bayers() {
        let row = |y| [0, 1, 2, 3, 4, 5, 6, 7].map(|x| (threshold([x, y]) - 2) / 4);
        assert_eq!(row(0), [0, 32, 8, 40, 2, 34, 10, 42]);
        assert_eq!(row(1), [48, 16, 56, 24, 50, 18, 58, 26]);
        assert_eq!(row(7), [63, 31, 55, 23, 61, 29, 53, 21]);
        let mut all: Vec<u32> = (0..8).flat_map(row).collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
    }

    /// As many pixels are on as the grey says.
    #[test]
    fn greys_are_shares_of_pixels() {
        for grey in 0..=255u8 {
            let value = [from_u8(grey)];
            let picture = Picture::new(Shape { height: 1, width: 1, channels: 1 }, &value);
            let screen = shown(BinaryColor::Off, &Dithered::new(picture, Point::zero()).scaled(8));
            let on = screen.iter().filter(|color| color.is_on()).count();
            assert_eq!(on, (usize::from(grey) + 1) / 4, "{grey}");
        }
    }
}
