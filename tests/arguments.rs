//! Calls the functions through Exim's `-be`, with every number of arguments and with odd arguments.
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
fn a_call_with_any_number_of_arguments_gets_an_answer() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    site.account("u@example.com", "secret");
    let so = site.path("authpolicy.so").display().to_string();
    let config = format!("{{config={}}}", site.path("authpolicy.toml").display());
    let expand = |text: &str| common::exim::expand(&site.path("exim.conf"), text);
    let valid = format!("{{u@example.com}}{{secret}}{{{GB}}}{config}");
    assert_eq!(expand(&format!("${{dlfunc{{{so}}}{{check}}{valid}}}")), "yes");
    assert_eq!(
        expand(&format!(
            "${{dlfunc{{{so}}}{{check}}{valid}{{tls=}}{{helo=x}}{{mechanism=PLAIN}}}}"
        )),
        "yes",
        "seven arguments"
    );
    for count in 0..=8 {
        let arguments = "{u@example.com}".repeat(count);
        let call =
            |function: &str| expand(&format!("${{dlfunc{{{so}}}{{{function}}}{arguments}}}"));
        assert_eq!(call("check"), "Failed: authpolicy cannot tell, see its line above", "{count}");
        assert_eq!(call("country"), "", "{count}");
        assert_eq!(call("last"), "", "{count}");
        assert_eq!(call("version"), concat!("authpolicy ", env!("CARGO_PKG_VERSION")), "{count}");
    }
    let country_of = |remote: &str| expand(&site.dlfunc("country", &format!("{{{remote}}}")));
    for (remote, country) in [(GB, "GB"), (CN, "CN"), ("203.0.113.9", ""), ("", ""), ("x", "")] {
        assert_eq!(country_of(remote), country, "{remote}");
    }
    let answer = expand(&site.dlfunc("check", "{u@example.com}{secret}{no address}"));
    assert_eq!(answer, "Failed: authpolicy cannot tell, see its line above");
    let row = site.rows().pop().unwrap();
    assert_eq!((&*row.remote_ip, row.auth_ok, row.policy_reject), ("no address", None, None));
    // Exim expands this to a megabyte, which is too long for its command line and standard input.
    let hundred = "x".repeat(100);
    let long = format!("${{sg{{${{sg{{{hundred}}}{{x}}{{{hundred}}}}}}}{{x}}{{{hundred}}}}}");
    assert_eq!(expand(&format!("${{strlen:{long}}}")), "1000000");
    let answer = expand(&site.dlfunc("check", &format!("{{{long}}}{{{long}}}{{{GB}}}")));
    assert_eq!(answer, "no");
}
