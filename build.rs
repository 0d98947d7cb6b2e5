//! Link arguments, and the one function in C: no code is made, nothing is fetched.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/store/connect.c");
    cc::Build::new().file("src/store/connect.c").warnings(true).compile("authpolicy_connect");
    for target in ["cdylib-link-arg", "link-arg-bins"] {
        println!("cargo::rustc-{target}=-Wl,--wrap=connect");
    }
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
