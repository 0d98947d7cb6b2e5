//! A plugin that panics on demand, and a site that uses it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::Client;
use super::Site;

/// Builds the plugin with deliberate panics, once, in about forty seconds, without optimization. It
/// has its own target directory, so that no other test uses it as its plugin.
pub fn plugin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deliberate-panic");
        let built = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "--locked", "--offline", "--package", "authpolicy", "--lib"])
            .args(["--crate-type", "cdylib"])
            .args(["--features", "deliberate-panic", "--config", "profile.dev.debug=0"])
            .args(["--config", "profile.dev.package.\"*\".opt-level=0", "--target-dir"])
            .arg(&target)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/libauthpolicy.so")
    })
}

/// Makes the site's Exim load that plugin, and pass the client's EHLO name to `check`.
pub fn install(site: &Site) {
    fs::copy(plugin(), site.path("authpolicy.so")).unwrap();
    let config = site.read("exim.conf");
    site.write("exim.conf", &config.replace("{tls=$tls_in_cipher}", "{helo=$sender_helo_name}"));
}

/// The EHLO name that causes a panic at these places of `src/contain.rs`.
pub fn at(places: &[&str]) -> String {
    format!("deliberate-panic-at.{}", places.join("."))
}

/// Sends EHLO with this name.
pub fn ehlo(client: &mut Client, name: &str) {
    let capabilities = client.command(&format!("EHLO {name}"));
    assert!(capabilities.starts_with("250"), "{capabilities}");
}
