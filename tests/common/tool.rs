//! The `authpolicy` tool, as a user would run it.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The tool's path, built if necessary.
///
/// Cargo builds a program for the tests of its own package alone. The selection below is the one of
/// these tests (all default members, with tests), so that nothing is built twice and the plugin beside
/// the tests stays as it is.
pub fn tool() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = std::env::current_exe().unwrap();
        let profile = profile.parent().and_then(Path::parent).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        // Cargo sets these for the tests. The build script of ring watches them, so that ring and all that
        // needs it would be built again.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_")) {
                build.env_remove(name);
            }
        }
        build.args(["test", "--quiet", "--locked", "--offline", "--no-run", "--test", "usage"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let output = build.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        profile.join("authpolicy").to_str().unwrap().to_owned()
    })
}
