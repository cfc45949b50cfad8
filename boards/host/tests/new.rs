//! `grano new` and `grano view` as their users meet them.

mod common;

use std::fs;

use common::{files, folder, refused_in, text};

/// The boards' names, as the message for an unknown one lists them.
fn boards() -> Vec<String> {
    let folder = folder();
    let output = common::grano(folder.path(), "new badge --board toaster");
    let error = String::from_utf8(output.stderr).unwrap();
    let (_, names) = error.trim().split_once("unknown; give one of ").expect("a list");
    names.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_board_has_a_project() {
    let folder = folder();
    // A folder a board, and those that all share.
    let mut known = boards();
    known.sort();
    let real = concat!(env!("CARGO_MANIFEST_DIR"), "/../real");
    let folders = files(real.as_ref()).into_iter().filter(|name| !["program", "emulate"].contains(&name.as_str()));
    assert_eq!(known, folders.collect::<Vec<_>>());
    for board in known {
        for program in ["draw", "serve"] {
            // A program's name has no dots.
            let name = format!("{}-{program}", board.replace('.', "-"));
            let said = text(folder.path(), &format!("new {name} --board {board} --label bag --program {program}"));
            assert!(said.contains("bytes of flash") && said.contains("million instructions"), "{said}");
            let project = folder.path().join(name);
            let read = |file: &str| fs::read_to_string(project.join(file)).unwrap_or_default();
            for (file, holds) in [
                ("Cargo.toml", "[workspace]"),
                (".cargo/config.toml", "runner = "),
                ("build.rs", ".emit(\"model\")"),
                ("src/main.rs", if program == "draw" { "model::Label::Bag" } else { "Requests" }),
                ("src/board.rs", "impl Board"),
            ] {
                assert!(read(file).contains(holds), "{board}: {file}");
                assert!(!read(file).contains("{model}") && !read(file).contains("{board}"), "{board}: {file}");
            }
            assert!(toml::from_str::<toml::Table>(&read("Cargo.toml")).is_ok(), "{board}");
            assert!(toml::from_str::<toml::Table>(&read(".cargo/config.toml")).is_ok(), "{board}");
            assert_eq!(
                fs::read(project.join("model.safetensors")).unwrap(),
                fs::read(common::model("fashion.safetensors")).unwrap()
            );
        }
        // A board is small; a user reads it.
        let files = files(format!("{real}/{board}").as_ref()).into_iter().filter(|file| file != "Cargo.lock");
        let lines = |file: String| fs::read_to_string(format!("{real}/{board}/{file}")).unwrap().lines().count();
        let lines: usize = files.map(lines).sum();
        assert!(lines <= 100, "{board}: {lines} lines");
    }
}

#[test]
fn wrong_words_leave_nothing_behind() {
    let folder = folder();
    fs::create_dir(folder.path().join("there")).unwrap();
    fs::write(folder.path().join("broken.safetensors"), "no model").unwrap();
    for (words, said) in [
        ("there --board pico2", "there exists; give a folder that does not"),
        ("badge --board toaster", "--board toaster: unknown; give one of"),
        ("2badges --board pico2", "the folder's name becomes the program's"),
        ("no/such/badge --board pico2", "cannot write no/such/badge"),
        ("badge --board pico2 --model none", "--model none: unknown, and no such file"),
        ("badge --board pico2 --model broken.safetensors", "--model broken.safetensors"),
        ("badge --board pico2 --label cat", "--label cat: unknown; give one of t-shirt"),
        ("badge --board pico2 --precision int9", "--precision int9: unknown; give one of int8"),
        ("badge --board pico2 --sampler ddim-0", "ddim-0"),
        ("badge --board pico2 --program paint", "--program paint: unknown; give one of draw, serve"),
        ("badge --board microbit-v2 --precision f32", "it does not fit the "),
    ] {
        refused_in(folder.path(), &format!("new {words}"), &[said]);
    }
}

#[test]
fn ports_that_are_not_there_are_named() {
    let folder = folder();
    for (words, said) in [
        ("--port nowhere", "--port nowhere: cannot open it"),
        ("--port nowhere --label cat", "--label cat: unknown; give one of t-shirt"),
        ("--port nowhere --guidance 2", "--guidance: it takes a class; give --label too"),
        ("--port nowhere -o picture.jpg", "the name has to end in .png"),
        ("--port nowhere -o no/such/picture.png", "cannot write no/such/picture.png"),
    ] {
        refused_in(folder.path(), &format!("view {words}"), &[said]);
    }
}
