//! cbindgen generates `include/authpolicy.h` from src/ffi.rs. `make header` sets
//! AUTHPOLICY_UPDATE_HEADER to update the file.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut generated = Vec::new();
    cbindgen::Builder::new()
        .with_src(root.join("src/ffi.rs"))
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let path = root.join("include/authpolicy.h");
    if std::env::var_os("AUTHPOLICY_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    for name in ["check", "country", "last", "version"] {
        assert!(generated.contains(&format!("int {name}(unsigned char **answer")), "{generated}");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(checked_in, generated, "run `make header`");
}
