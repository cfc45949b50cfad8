//! Pictures on request over a serial line: a protocol of lines of text, for firmware and for programs that ask it.
//!
//! | a request | asks for |
//! |---|---|
//! | `G SEED` | a picture of no class |
//! | `G SEED CLASS` | a picture of the class of that number, with the model's own guidance |
//! | `G SEED CLASS GUIDANCE` | with that weight of classifier-free guidance |
//!
//! The answer is `P HEIGHT WIDTH CHANNELS`, a line of hexadecimal bytes for each row of the picture, and
//! `crc32 = ` with the CRC-32 of all bytes; or `E ` and what is wrong. Lines that begin otherwise are remarks.

use core::fmt;
use core::marker::PhantomData;

use crate::model::{Label, Model, Table};
use crate::painter::Painter;
use crate::picture::Picture;
use crate::request::SampleError;

/// Most bytes of a request, without its line's end.
const MOST_BYTES: usize = 64;

/// Puts requests together, byte by byte.
///
/// ```
/// use grano::serial::{Reply, Requests};
/// use grano::{Model, Painter, Progress};
///
/// fn serve<M: Model>(painter: &mut Painter<M>, mut read: impl FnMut() -> Option<u8>, write: &mut dyn core::fmt::Write) {
///     let mut requests = Requests::<M>::new();
///     while let Some(byte) = read() {
///         let Some(request) = requests.receive(byte) else { continue };
///         let begun = request.and_then(|request| request.start(painter));
///         let _ = match begun {
///             Ok(()) => {
///                 while painter.step() != Progress::Done {}
///                 write!(write, "{}", Reply(painter.picture()))
///             }
///             Err(error) => writeln!(write, "E {error}"),
///         };
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Requests<M> {
    line: [u8; MOST_BYTES],
    /// Bytes of the line so far; more than there is room for where it is too long.
    len: usize,
    model: PhantomData<fn() -> M>,
}

/// A picture that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted<L> {
    /// The class; none for whatever the noise holds.
    pub label: Option<L>,
    /// Where the noise begins.
    pub seed: u64,
    /// The weight of classifier-free guidance.
    pub guidance: f32,
}

/// Why a request is not answered with a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SerialError {
    /// The line is none of the requests.
    Unknown,
    /// It is longer than any request.
    TooLong,
    /// It ends too early, or goes on for too long.
    Words,
    /// The seed is no whole number below 2⁶⁴.
    Seed,
    /// There is no class of that number.
    Class {
        /// How many there are.
        classes: usize,
    },
    /// The guidance is no number.
    Guidance,
    /// The sampler refuses it.
    Refused(SampleError),
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown request; send `G SEED [CLASS [GUIDANCE]]`"),
            Self::TooLong => write!(f, "the request is longer than {MOST_BYTES} bytes"),
            Self::Words => f.write_str("send `G SEED [CLASS [GUIDANCE]]`"),
            Self::Seed => f.write_str("the seed is a whole number from 0 to 18446744073709551615"),
            Self::Class { classes: 0 } => f.write_str("the model has no classes; send `G SEED`"),
            Self::Class { classes } => write!(f, "the class is a number from 0 to {}", classes - 1),
            Self::Guidance => f.write_str("the guidance is a number, such as 1.5"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SerialError {}

impl<M: Model> Requests<M> {
    /// Without a byte so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: [0; MOST_BYTES], len: 0, model: PhantomData }
    }

    /// Takes a byte; gives a request when its line is complete. Empty lines are none.
    pub fn receive(&mut self, byte: u8) -> Option<Result<Wanted<M::Label>, SerialError>> {
        if byte != b'\n' && byte != b'\r' {
            if let Some(place) = self.line.get_mut(self.len) {
                *place = byte;
            }
            self.len = self.len.saturating_add(1);
            return None;
        }
        let len = core::mem::take(&mut self.len);
        match self.line.get(..len) {
            Some([]) => None,
            Some(line) => Some(wanted::<M>(line)),
            None => Some(Err(SerialError::TooLong)),
        }
    }
}

impl<M: Model> Default for Requests<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// The request of a line.
fn wanted<M: Model>(line: &[u8]) -> Result<Wanted<M::Label>, SerialError> {
    let mut words = str::from_utf8(line).unwrap_or_default().split_ascii_whitespace();
    if words.next() != Some("G") {
        return Err(SerialError::Unknown);
    }
    let seed = words.next().ok_or(SerialError::Words)?.parse().map_err(|_| SerialError::Seed)?;
    let label = words.next().map(|word| {
        let all = <M::Label as Label>::ALL;
        let label = word.parse().ok().and_then(|index: usize| all.get(index).copied());
        label.ok_or(SerialError::Class { classes: all.len() })
    });
    let guidance = words.next().map(|word| word.parse().map_err(|_| SerialError::Guidance));
    if words.next().is_some() {
        return Err(SerialError::Words);
    }
    Ok(Wanted { label: label.transpose()?, seed, guidance: guidance.transpose()?.unwrap_or(M::GUIDANCE) })
}

impl<L: Label> Wanted<L> {
    /// Begins the picture.
    ///
    /// # Errors
    /// When the guidance is not finite, or the model was generated without.
    pub fn start<M: Model<Label = L>>(self, painter: &mut Painter<M>) -> Result<(), SerialError> {
        let Self { label, seed, guidance } = self;
        let begun = painter.start_with(Table::default(), label, guidance, seed);
        begun.map_err(SerialError::Refused)
    }
}

/// The answer with a picture.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a>(pub Picture<'a>);

impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(picture) = self;
        let shape = picture.shape();
        writeln!(f, "P {} {} {}", shape.height, shape.width, shape.channels)?;
        for row in picture.rows() {
            row.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            writeln!(f)?;
        }
        writeln!(f, "crc32 = {:08x}", picture.crc32())
    }
}
