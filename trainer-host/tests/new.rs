//! `new`: from a folder to a model, in a minute.

mod common;

use std::fs;

use common::{command, fail};
use grano_codegen::load::load;

/// A folder of 60 pictures of two classes.
fn folder(root: &std::path::Path) {
    for i in 0..60u32 {
        let class = root.join("data").join(["dark", "bright"][(i % 2) as usize]);
        fs::create_dir_all(&class).unwrap();
        let pixel = |at: u32| ((i % 2) * 150 + (i * 31 + at * at * 17) % 90) as u8;
        let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([pixel(8 * y + x)]));
        picture.save(class.join(format!("{i}.png"))).unwrap();
    }
}

#[test]
fn one_command_makes_a_model_and_goes_on_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    let new = |more: &[&str]| {
        let arguments =
            ["new", "--data", "data", "--hours=0.001", "--run=run", "-o", "mine.safetensors", "--board=pico"];
        let output = command(&[&arguments, more].concat()).current_dir(root.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text
    };
    // The recipe for so little time is long for a test: it is made, cut short, and gone on with.
    fs::create_dir(root.path().join("run")).unwrap();
    let stages = [
        r#"["train", "data", "--prediction=velocity", "--channels=4,6", "--blocks=1,1,1", "--embedding=8", "--batch=8", "--steps=20", "--run=@/train"]"#,
        r#"["export", "--run=@/train", "--output=@/model.safetensors", "--sampler=dpm-8", "--trajectories=4"]"#,
        r#"["steps", "--model=@/model.safetensors", "--steps=2", "--pictures=4"]"#,
    ];
    let write = |count: usize| {
        let stage = |(i, command): (usize, &&str)| format!("[[stage]]\nname = \"s{i}\"\ncommand = {command}\n");
        let text: String = stages[..count].iter().enumerate().map(stage).collect();
        fs::write(root.path().join("run/recipe.toml"), text).unwrap();
    };
    write(2);
    let text = new(&[]);
    assert!(text.contains("classes: 2") && text.contains("stage 2 of 2"), "{text}");
    assert_eq!(load(&root.path().join("mine.safetensors")).unwrap().header.data.labels, ["bright", "dark"]);
    write(3);
    let text = new(&[]);
    assert!(text.contains("s1: has ended") && text.contains("stage 3 of 3"), "{text}");
    assert_eq!(load(&root.path().join("mine.safetensors")).unwrap().header.defaults.sampler, "dpm-2-searched");
    assert!(root.path().join("run/look.png").exists());

    fs::write(root.path().join("run/recipe.toml"), "[[stage]]\nname = 1\n").unwrap();
    let data = root.path().join("data");
    let places = ["--run", root.path().join("run").to_str().unwrap(), "-o", "x.safetensors"].map(String::from);
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let error = fail(&[&["new", "--data", data.to_str().unwrap()], &places[..]].concat());
    assert!(error.contains("recipe.toml") && error.contains("repair or delete it"), "{error}");
}
