//! Link arguments: the tool, like the plugin, calls these functions through the library's C files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The root's build.rs has the same.
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=connect,--wrap=recv,--wrap=getaddrinfo");
}
