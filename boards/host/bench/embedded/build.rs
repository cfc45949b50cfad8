//! Generates `fashion` in int8 for the desktop that the program is compiled for.

use grano_codegen::{Build, Target};

fn main() {
    Build::new("../../../../models/fashion.safetensors").target(Target::desktop()).emit("fashion");
}
