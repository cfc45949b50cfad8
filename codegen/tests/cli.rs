//! The command line gives what build scripts get, and fails clearly.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grano_codegen::{Build, Precision};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.safetensors")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_grano-codegen")).args(arguments).output().unwrap()
}

#[test]
fn emit_writes_the_bytes_of_a_build_script() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (model(), folder.path().join("out"));
    for precision in Precision::ALL {
        let arguments = [
            "emit",
            model.to_str().unwrap(),
            "--precision",
            precision.name(),
            "--samplers",
            "ddim-10",
            "-o",
            out.to_str().unwrap(),
        ];
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = Build::new(&model).precision(precision).samplers(["ddim-10"]).generate("fashion").unwrap();
        assert_eq!(std::fs::read_to_string(out.join("model.rs")).unwrap(), built.source);
        assert_eq!(std::fs::read(out.join("model.bin")).unwrap(), built.constants);
        assert_eq!(std::fs::read_to_string(out.join("plan.txt")).unwrap(), built.plan);
    }
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let output = run(&["inspect", model().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("sneaker") && text.contains("network `denoiser`") && text.contains("stem"), "{text}");
}

#[test]
fn failures_are_one_line_and_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (model(), folder.path().join("out"));
    let (model, out_name) = (model.to_str().unwrap(), out.to_str().unwrap());
    for (arguments, word) in [
        (vec!["emit", "nowhere.safetensors", "-o", out_name], "nowhere.safetensors"),
        (vec!["emit", model, "-o", out_name, "--samplers", "euler-20"], "euler-20"),
        (vec!["emit", model, "-o", out_name, "--precision", "int4"], "int4"),
        (vec!["emit", model, "-o", out_name, "--flash-budget", "1000"], "budget of 1000"),
    ] {
        let output = run(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(word), "{message}");
    }
    assert!(!out.exists());
}
