//! Link arguments. The tool, like the plugin, calls these functions through the C files of the
//! library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The build.rs of the plugin has the same arguments.
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=connect,--wrap=recv,--wrap=getaddrinfo");
}
