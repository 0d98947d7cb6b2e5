//! `include/authpolicy.h` is what cbindgen makes of src/ffi.rs. `make header` sets
//! AUTHPOLICY_UPDATE_HEADER and writes it anew.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_src(root.join("src/ffi.rs"))
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/authpolicy.h");
    if std::env::var_os("AUTHPOLICY_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    for name in ["check", "country", "last", "version"] {
        assert!(made.contains(&format!("int {name}(unsigned char **answer")), "{made}");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(checked_in, made, "run `make header`");
}
