//! Compiles the two C files and sets link arguments. It generates no code and fetches nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut sources = cc::Build::new();
    for file in ["src/store/sockets.c", "src/store/names.c"] {
        println!("cargo::rerun-if-changed={file}");
        sources.file(file);
    }
    // Optimised in each profile, because _FORTIFY_SOURCE (.cargo/config.toml) needs it.
    sources.warnings(true).opt_level(2).compile("authpolicy_sockets");
    link_unwinder();
    for argument in [
        // tool/build.rs has the same line.
        "-Wl,--wrap=connect,--wrap=recv,--wrap=getaddrinfo",
        "-Wl,-soname,authpolicy.so",
        // The plugin stays loaded, because Exim may use texts that it has returned.
        "-Wl,-z,nodelete",
        // Resolves all symbols at load, and makes the table of their addresses read-only.
        "-Wl,-z,now,-z,relro",
        // Halves the relocations that each new process reads. It needs glibc 2.36, as in Debian 12.
        "-Wl,-z,pack-relative-relocs",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
}

/// Links libgcc's unwinder into the plugin. Exim has not loaded the shared library, and loading it
/// would cost each new process more than loading the plugin.
fn link_unwinder() {
    let compiler = cc::Build::new().get_compiler();
    let found = compiler.to_command().arg("-print-file-name=libgcc_eh.a").output();
    let found = found.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let path = std::path::PathBuf::from(found.unwrap_or_default().trim());
    // If it is not found, the shared library is used.
    if let Some(directory) = path.parent().filter(|_| path.is_absolute()) {
        println!("cargo::rustc-link-search=native={}", directory.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
