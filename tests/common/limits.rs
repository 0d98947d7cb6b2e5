//! Sites with limits, and attempts at their accounts.

use super::Base;
use super::Client;
use super::Exim;
use super::Site;

pub const YES: Option<bool> = Some(true);
pub const NO: Option<bool> = Some(false);
/// Of an attempt that a limit refused.
pub const LIMITED: (Option<bool>, Option<bool>) = (None, YES);

/// One limit of ten minutes.
pub fn limit(name: &str, per: &str, count: &str, max: u32) -> String {
    format!(
        "[[policy.limit]]\nname = \"{name}\"\nper = \"{per}\"\ncount = \"{count}\"\nmax = {max}\n\
         within = \"10m\"\n"
    )
}

pub fn site(base: Base, policy: &str, limits: &[String]) -> Site {
    let head = format!("[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n{policy}\n");
    let site = Site::new(base, &(head + &limits.concat()));
    site.account("u@example.com", "secret");
    site.account("v@example.com", "secret");
    site
}

pub fn attempt(exim: &Exim, remote: &str, authcid: &str, password: &str) -> String {
    Client::connect_from(exim.port, remote).plain(authcid.as_bytes(), password.as_bytes())
}

/// The flags of the last row.
pub fn flags(site: &Site) -> (Option<bool>, Option<bool>) {
    let rows = site.rows();
    let row = rows.last().unwrap();
    (row.auth_ok, row.policy_reject)
}

/// The line of the last attempt says this.
pub fn expect_line(site: &Site, want: &str) {
    let lines = site.lines();
    let line = lines.last().unwrap();
    assert!(line.starts_with(&format!("attempt {want} ")), "{line}");
}
