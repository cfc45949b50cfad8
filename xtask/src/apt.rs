//! Debian packages.

use anyhow::{Context, Result, bail};

use crate::shell::Shell;

/// Installs Debian packages without their recommendations: with these, some of the sets here cannot be resolved.
pub fn apt(purpose: &str, packages: &[&str]) -> Result<()> {
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let by_hand = format!("apt-get update && apt-get {}", install.join(" "));
    if !Shell::new("apt-get").args(["--version"]).works() {
        bail!(
            "{purpose}, is missing, and this system has no apt to install it with. On Debian it would be\n    {by_hand}"
        );
    }
    println!("setup: installs {purpose}, with apt: {}", packages.join(" "));
    let is_root = Shell::new("id").args(["-u"]).text().is_ok_and(|id| id == "0");
    let apt = |arguments: &[&str]| match is_root {
        true => Shell::new("apt-get").args(arguments.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive"),
        // `-n`: fails where a password would be asked for.
        false => {
            Shell::new("sudo").args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments.iter().copied())
        }
    };
    apt(&["update"]).run().and_then(|()| apt(&install).run()).with_context(|| {
        format!("cannot install {purpose}. Run this by hand, then try again:\n    sudo sh -c '{by_hand}'")
    })
}
