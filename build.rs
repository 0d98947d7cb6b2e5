//! Link arguments, and the two files in C: no code is made, nothing is fetched.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut sources = cc::Build::new();
    for file in ["src/store/sockets.c", "src/store/names.c"] {
        println!("cargo::rerun-if-changed={file}");
        sources.file(file);
    }
    // Optimised in each profile: _FORTIFY_SOURCE (.cargo/config.toml) wants it.
    sources.warnings(true).opt_level(2).compile("authpolicy_sockets");
    link_unwinder();
    for argument in [
        // tool/build.rs has the same.
        "-Wl,--wrap=connect,--wrap=recv,--wrap=getaddrinfo",
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

/// Links libgcc's unwinder into the plugin: as a shared library it would be the one that Exim has
/// not loaded yet, and cost each new process more than ours does.
fn link_unwinder() {
    let compiler = cc::Build::new().get_compiler();
    let found = compiler.to_command().arg("-print-file-name=libgcc_eh.a").output();
    let found = found.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let path = std::path::PathBuf::from(found.unwrap_or_default().trim());
    // Without it, the shared one does.
    if let Some(directory) = path.parent().filter(|_| path.is_absolute()) {
        println!("cargo::rustc-link-search=native={}", directory.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
