//! The functions as Exim's `-be` calls them: every count of arguments, and arguments of every kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use common::Base;
use common::Site;
use common::site::CN;
use common::site::GB;

const GB_ONLY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

#[test]
fn every_count_of_arguments_has_its_answer() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    site.account("u@example.com", "secret");
    let so = site.path("authpolicy.so").display().to_string();
    let config = format!("{{config={}}}", site.path("authpolicy.toml").display());
    let expand = |text: &str| common::exim::expand(&site.path("exim.conf"), text);
    let right = format!("{{u@example.com}}{{secret}}{{{GB}}}{config}");
    assert_eq!(expand(&format!("${{dlfunc{{{so}}}{{check}}{right}}}")), "yes");
    assert_eq!(
        expand(&format!(
            "${{dlfunc{{{so}}}{{check}}{right}{{tls=}}{{helo=x}}{{mechanism=PLAIN}}}}"
        )),
        "yes",
        "seven arguments"
    );
    for count in 0..=8 {
        let same = "{u@example.com}".repeat(count);
        let call = |function: &str| expand(&format!("${{dlfunc{{{so}}}{{{function}}}{same}}}"));
        assert_eq!(call("check"), "Failed: authpolicy cannot tell, see its line above", "{count}");
        assert_eq!(call("country"), "", "{count}");
        assert_eq!(call("last"), "", "{count}");
        assert_eq!(call("version"), concat!("authpolicy ", env!("CARGO_PKG_VERSION")), "{count}");
    }
    let here = |remote: &str| expand(&site.dlfunc("country", &format!("{{{remote}}}")));
    for (remote, country) in [(GB, "GB"), (CN, "CN"), ("203.0.113.9", ""), ("", ""), ("x", "")] {
        assert_eq!(here(remote), country, "{remote}");
    }
    let remote = expand(&site.dlfunc("check", "{u@example.com}{secret}{no address}"));
    assert_eq!(remote, "Failed: authpolicy cannot tell, see its line above");
    let row = site.rows().pop().unwrap();
    assert_eq!((&*row.remote_ip, row.auth_ok, row.policy_reject), ("no address", None, None));
    // A megabyte, made by Exim: its command lines and standard input have no room for it.
    let hundred = "x".repeat(100);
    let long = format!("${{sg{{${{sg{{{hundred}}}{{x}}{{{hundred}}}}}}}{{x}}{{{hundred}}}}}");
    assert_eq!(expand(&format!("${{strlen:{long}}}")), "1000000");
    let nonsense = expand(&site.dlfunc("check", &format!("{{{long}}}{{{long}}}{{{GB}}}")));
    assert_eq!(nonsense, "no");
}
