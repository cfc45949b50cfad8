//! `grano view`: asks a board over a serial line for a picture, by the protocol of [`grano::serial`].

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use grano::Shape;
use image::ImageFormat;

use crate::args::ViewArgs;
use crate::files::{self, Files};
use crate::picture::Picture;
use crate::{models, preview, sheet};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// Most bytes of a line and of a picture: a device that sends noise does not fill the memory.
const MOST_BYTES: usize = 1 << 24;

/// Asks, waits, checks the picture's CRC-32, writes the picture, and shows it.
///
/// # Errors
/// When the port cannot be opened, nothing comes in time, the board refuses, or what came is damaged.
pub fn run(args: &ViewArgs) -> Result<String> {
    let ViewArgs { port, baud, output, .. } = args;
    files::check(output)?;
    let request = request(args)?;
    let serial = serialport::new(port, *baud).timeout(TICK).open();
    let serial = serial.with_context(|| format!("--port {port}: cannot open it; is the board plugged in?"))?;
    let start = Instant::now();
    let (shape, bytes) = ask(serial, &request, Duration::from_secs(args.wait))?;
    let seconds = start.elapsed().as_secs_f64();
    let crc32 = crc32fast::hash(&bytes);
    let mut files = Files::default();
    let image = sheet::image(shape, &bytes)?;
    files.add(output, |file| Ok(image.write_to(file, ImageFormat::Png)?))?;
    files.keep()?;
    let preview = preview::preview(shape, &[Picture { label: None, bytes }])?;
    Ok(format!("{preview}{port}: a picture in {seconds:.1} s, CRC-32 {crc32:08x}.\nWrote {}\n", output.display()))
}

/// The line to send.
fn request(args: &ViewArgs) -> Result<String> {
    let ViewArgs { model, label, seed, guidance, .. } = args;
    let model = models::open("--model", model)?;
    let class = label.as_ref().map(|name| models::class("--label", name, &model.header.data.labels)).transpose()?;
    Ok(match (class, guidance) {
        (None, None) => format!("G {seed}\n"),
        (None, Some(_)) => bail!("--guidance: it takes a class; give --label too"),
        (Some(class), None) => format!("G {seed} {class}\n"),
        (Some(class), Some(guidance)) => format!("G {seed} {class} {guidance}\n"),
    })
}

/// Sends a request and reads the answer.
fn ask(mut serial: impl Read + Write, request: &str, wait: Duration) -> Result<(Shape, Vec<u8>)> {
    // An empty line ends what another program may have begun.
    serial.write_all(format!("\n{request}").as_bytes()).context("cannot write to the board")?;
    serial.flush().context("cannot write to the board")?;
    let mut lines = Lines { serial, wait, rest: Vec::new() };
    let shape = loop {
        let line = lines.next()?;
        if let Some(error) = line.strip_prefix("E ") {
            bail!("the board answers: {error}");
        }
        if let Some(shape) = line.strip_prefix("P ") {
            break self::shape(shape).with_context(|| format!("the board sends `{line}`, no picture's size"))?;
        }
    };
    let mut bytes = Vec::new();
    for row in 0..shape.height {
        let line = lines.next()?;
        let row_bytes = hex(&line).filter(|bytes| bytes.len() == shape.width * shape.channels);
        bytes.extend(row_bytes.with_context(|| format!("row {row} of the picture came damaged; ask again"))?);
    }
    let line = lines.next()?;
    let crc32 = format!("crc32 = {:08x}", crc32fast::hash(&bytes));
    ensure!(line == crc32, "the picture came damaged: the board says `{line}`, what came has {crc32}; ask again");
    Ok((shape, bytes))
}

/// `HEIGHT WIDTH CHANNELS`.
fn shape(text: &str) -> Option<Shape> {
    let numbers: Vec<usize> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [height, width, channels] = numbers.try_into().ok()?;
    let len = height.checked_mul(width)?.checked_mul(channels)?;
    (1..=MOST_BYTES).contains(&len).then_some(Shape { height, width, channels })
}

/// The bytes of pairs of hexadecimal digits.
fn hex(line: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = line.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Lines from the board.
struct Lines<S> {
    serial: S,
    /// The longest silence.
    wait: Duration,
    /// Read, and not given yet.
    rest: Vec<u8>,
}

impl<S: Read> Lines<S> {
    fn next(&mut self) -> Result<String> {
        let mut heard = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_ascii().to_owned());
            }
            ensure!(self.rest.len() <= MOST_BYTES, "the board sends no end of a line; is its speed --baud?");
            match self.serial.read(&mut buffer) {
                Ok(0) => bail!("the board's line was closed"),
                Ok(count) => {
                    self.rest.extend(&buffer[..count]);
                    heard = Instant::now();
                }
                Err(error) if [ErrorKind::TimedOut, ErrorKind::WouldBlock].contains(&error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read from the board"),
            }
            ensure!(
                heard.elapsed() < self.wait,
                "nothing came from the board for {} s; does it run the program of `grano new --program serve`? --wait gives it longer",
                self.wait.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano::picture::{Picture as Map, from_u8};
    use grano::serial::Reply;
    use std::io::Cursor;

    /// A board that has sent this, keeps what it is sent, and then is silent.
    struct Board {
        sends: Cursor<Vec<u8>>,
        got: Vec<u8>,
    }

    impl Board {
        fn sending(text: &str) -> Self {
            Self { sends: Cursor::new(text.as_bytes().to_vec()), got: Vec::new() }
        }
    }

    impl Read for &mut Board {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            // Pieces that break lines anywhere.
            let len = buffer.len().min(7);
            match self.sends.read(&mut buffer[..len]) {
                Ok(0) => Err(ErrorKind::TimedOut.into()),
                read => read,
            }
        }
    }

    impl Write for &mut Board {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.got.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn asked(text: &str) -> Result<(Shape, Vec<u8>), String> {
        ask(&mut Board::sending(text), "G 0\n", Duration::from_millis(20)).map_err(|error| error.to_string())
    }

    #[test]
    fn pictures_come_whole() {
        let shape = Shape { height: 5, width: 4, channels: 3 };
        let bytes: Vec<u8> = (0..60).map(|i| 4 * i).collect();
        let values: Vec<f32> = bytes.iter().map(|byte| from_u8(*byte)).collect();
        let reply = Reply(Map::new(shape, &values)).to_string();
        for text in
            [reply.clone(), format!("booted\r\n# remark\n{}", reply.replace('\n', "\r\n")), format!("\u{0}\n{reply}")]
        {
            assert_eq!(asked(&text), Ok((shape, bytes.clone())), "{text}");
        }
        let mut board = Board::sending(&reply);
        ask(&mut board, "G 7 1\n", Duration::from_secs(1)).unwrap();
        assert_eq!(board.got, b"\nG 7 1\n");
        // Whatever is cut off, changed or put in is found.
        for cut in 0..reply.len() {
            assert!(asked(&reply[..cut]).is_err(), "{cut}");
            let mut changed = reply.clone().into_bytes();
            changed[cut] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(asked(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_once() {
        let said = [
            ("", "nothing came from the board for 0 s"),
            ("hello\n", "nothing came from the board"),
            ("E the seed is a whole number\n", "the board answers: the seed is a whole number"),
            ("P 2 2\n", "the board sends `P 2 2`, no picture's size"),
            ("P 99999999999 9999999999999 3\n", "no picture's size"),
            ("P 0 2 1\n", "no picture's size"),
            ("P 1 2 1\n0g00\n", "row 0 of the picture came damaged"),
            ("P 1 2 1\n000\n", "row 0 of the picture came damaged"),
            ("P 1 2 1\n0000\ncrc32 = 00000000\n", "the picture came damaged: the board says `crc32 = 00000000`"),
        ];
        for (text, expected) in said {
            let error = asked(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
