//! Lets the program find the libtorch it was linked with, wherever that stands.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}/lib", libtorch.display());
        // A CUDA build of libtorch_cpu names symbols that a CPU-only machine need not have.
        println!("cargo:rustc-link-arg=-Wl,--allow-shlib-undefined");
        // Nothing calls the CUDA part by name: it registers itself when loaded, and a linker that keeps only what is
        // needed would leave it out.
        let cuda = Path::new(&libtorch).join("lib/libtorch_cuda.so");
        if cuda.exists() {
            println!("cargo:rustc-link-arg=-Wl,--no-as-needed,{},--as-needed", cuda.display());
        }
    }
}
