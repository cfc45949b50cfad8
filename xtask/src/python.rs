//! Environments of Python that hold exactly what a file of requirements says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{apt::apt, shell::Shell};

/// The interpreter of the environment in a folder; makes that where it is not there, or not as `requirements` wants it.
/// `what` tells the user what will be installed.
pub fn environment(folder: &Path, requirements: &Path, what: &str) -> Result<PathBuf> {
    let (python, installed) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = fs::read_to_string(requirements)?;
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    // Debian's Python comes without what makes environments.
    if !Shell::new("python3").args(["-c", "import ensurepip, venv"]).works() {
        apt("Python with its environments", &["python3", "python3-venv"])?;
    }
    println!("setup: installs {what} in {}", folder.display());
    let path = |path: &Path| path.display().to_string();
    Shell::new("python3").args(["-m", "venv", "--clear", &path(folder)]).run()?;
    Shell::new(path(&python)).args(["-m", "pip", "install", "--requirement", &path(requirements)]).run()?;
    fs::write(installed, wanted)?;
    Ok(python)
}
