//! Generated modules as programs use them: the painter, the enum of classes, and requests over a serial line.

use std::fmt::Write;

use grano::blob::checksum;
use grano::generated::{Blob, Corrupted, check_constants};
use grano::picture::Picture;
use grano::serial::{Reply, Requests};
use grano::{Label as _, Model, Painter, Progress, Table};
use grano_tests::models::{fashion_int8, layers_int8, toy_int8};

use fashion_int8::{Label, Painter as Fashion};

/// Of the sneaker of seed 0, on every chip.
const SNEAKER: u32 = 0x2aac_822c;

#[test]
fn a_painter_draws_the_chips_picture() {
    let painter = fashion_int8::painter().expect("it has not been taken");
    assert!(fashion_int8::painter().is_none(), "there is one");
    assert_eq!(painter.check(), Ok(()));
    painter.start(Label::Sneaker, 0);
    let steps = std::iter::repeat_with(|| painter.step()).take_while(|progress| *progress != Progress::Done).count();
    assert_eq!(painter.picture().crc32(), SNEAKER);
    assert_eq!(steps + 1, Table::<fashion_int8::FashionInt8>::default().rows.len() + 1);
    // A row of text a row, two characters a pixel.
    let text: Vec<String> = painter.picture().rows().map(|row| row.to_string()).collect();
    assert_eq!((text.len(), text[0].len()), (28, 56));
    assert!(text.concat().contains("@@"), "the sneaker is bright");
}

#[test]
fn other_constants_are_found() {
    static CONSTANTS: Blob<5> = Blob([1, 2, 3, 4, 5]);
    let built = checksum(&CONSTANTS.0);
    assert_eq!(check_constants(&CONSTANTS, built), Ok(()));
    assert_eq!(check_constants(&CONSTANTS, checksum(&[1, 2, 3, 4, 4])), Err(Corrupted));
}

#[test]
fn classes_have_names() {
    let names: Vec<&str> = Label::ALL.iter().map(|label| label.name()).collect();
    assert_eq!(names, <fashion_int8::FashionInt8 as Model>::LABELS);
    assert_eq!((Label::named("ankle-boot"), Label::named("cat")), (Some(Label::AnkleBoot), None));
    assert!(Label::ALL.iter().enumerate().all(|(index, label)| label.index() == index));
    assert!(layers_int8::Label::ALL.is_empty(), "a model without classes");
}

/// What a device answers to these bytes.
fn answers<M: Model>(bytes: &str) -> String {
    let (mut painter, mut requests, mut answers) = (Box::new(Painter::<M>::new()), Requests::<M>::new(), String::new());
    for byte in bytes.bytes() {
        let Some(request) = requests.receive(byte) else { continue };
        match request.and_then(|request| request.start(&mut painter)) {
            Ok(()) => {
                painter.run();
                write!(answers, "{}", Reply(painter.picture())).unwrap();
            }
            Err(error) => writeln!(answers, "E {error}").unwrap(),
        }
    }
    answers
}

#[test]
fn requests_are_answered_with_pictures() {
    let sneaker = format!("G 0 {}\r\n", Label::Sneaker.index());
    let lines = answers::<fashion_int8::FashionInt8>(&sneaker);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[29]), (30, "P 28 28 1", "crc32 = 2aac822c"));
    let mut painter = Fashion::new();
    painter.start(Label::Sneaker, 0);
    painter.run();
    let rows = painter.picture().rows().map(|row| row.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(rows.collect::<Vec<_>>(), lines[1..29]);
}

#[test]
fn wrong_requests_are_answered_with_an_error() {
    let long = format!("G {}\n", "0".repeat(80));
    let wrong = [
        ("H\n", "unknown request; send `G SEED [CLASS [GUIDANCE]]`"),
        ("\u{fffd}\u{0}G 1\n", "unknown request"),
        ("G\n", "send `G SEED"),
        ("G 1 0 1 1\n", "send `G SEED"),
        ("G -1\n", "the seed is a whole number"),
        ("G 18446744073709551616\n", "the seed is a whole number"),
        ("G 0 3\n", "the class is a number from 0 to 2"),
        ("G 0 one\n", "the class is a number from 0 to 2"),
        ("G 0 1 x\n", "the guidance is a number"),
        ("G 0 1 nan\n", "guidance NaN: give a finite number"),
        ("G 0 1 inf\n", "guidance inf: give a finite number"),
        (&long, "the request is longer than 64 bytes"),
    ];
    for (request, expected) in wrong {
        let answer = answers::<toy_int8::ToyInt8>(request);
        assert!(answer.starts_with(&format!("E {expected}")) && answer.lines().count() == 1, "{request}: {answer}");
        // The line after it is understood.
        assert!(answers::<toy_int8::ToyInt8>(&format!("{request}G 1 2\n")).contains("P 6 10 1"), "{request}");
    }
    assert_eq!(answers::<toy_int8::ToyInt8>("\n\r\n G 1"), "", "a line that breaks off");
    assert!(answers::<layers_int8::LayersInt8>("G 0 0\n").starts_with("E the model has no classes"));
    assert!(answers::<layers_int8::LayersInt8>("G 0\n").starts_with("P "));
}

#[test]
fn other_samplers_and_guidance_are_a_request_away() {
    let mut painter = Fashion::new();
    let noisy = Table::all().nth(1).expect("a second sampler");
    painter.start_with(noisy, Label::Bag, 2.0, 5).unwrap();
    painter.run();
    let other = painter.picture().crc32();
    painter.start(Label::Bag, 5);
    painter.run();
    assert_ne!(painter.picture().crc32(), other);
    assert!(painter.start_with(noisy, Label::Bag, f32::NAN, 5).is_err());
    let (shape, values) = (painter.picture().shape(), painter.sampler().x().to_vec());
    assert_eq!(painter.picture(), Picture::new(shape, &values));
}
