//! Link arguments: the tool calls these functions through the library's C files, like the plugin.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The root's build.rs has the same line.
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=connect,--wrap=recv,--wrap=getaddrinfo");
}
