//! `cargo xtask` from the firmware's folders: the repository's own, which is of another workspace.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../Cargo.toml");
    let mut xtask = Command::new("cargo");
    xtask.args(["run", "--quiet", "--manifest-path"]).arg(manifest).args(["--package", "xtask", "--"]);
    match xtask.args(env::args_os().skip(1)).status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
