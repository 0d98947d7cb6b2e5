//! Link arguments of the plugin, nothing else: no code is made, nothing is fetched.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        "-Wl,-soname,authpolicy.so",
        // Exim never unloads it; what it handed out must stay.
        "-Wl,-z,nodelete",
        // All symbols at load, and the table of their addresses read-only from then on.
        "-Wl,-z,now,-z,relro",
        // Half the relocations to read in each new process; needs glibc 2.36, Debian 12's.
        "-Wl,-z,pack-relative-relocs",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
}
