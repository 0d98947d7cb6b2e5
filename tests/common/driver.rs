//! The same cases for every authenticator driver, each in a real Exim with its example
//! configuration.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use md5::Md5;

use super::Base;
use super::Client;
use super::Exim;
use super::Site;
use super::example::EMBEDDED;
use super::example::complete;
use super::example::example;
use super::example::with;
use super::site::CN;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::CANNOT_TELL;
use super::smtp::REFUSED;

/// An Exim with the configuration of an example. Clients connect with the PROXY protocol.
pub struct Rig {
    pub site: Site,
    exim: Option<Exim>,
    /// The port with TLS from the start.
    pub port: u16,
}

/// The databases and the plugin's configuration of an example.
pub fn site(base: Base, name: &str) -> Site {
    let site = Site::new(base, "");
    let state = format!("\n[state]\ndirectory = \"{}\"\n", site.path("state").display());
    let toml = with(
        &example(&format!("{name}/authpolicy.toml")),
        &[
            (EMBEDDED, &site.url()),
            ("/var/lib/GeoIP/dbip-country-lite.mmdb", site.path("country.mmdb").to_str().unwrap()),
            ("[policy]", "[policy]\nfailure_time = \"0s\""),
        ],
    );
    site.write_config(&(toml + &state));
    site
}

impl Rig {
    /// Starts an Exim with the example's configuration, and with these values for its macros.
    pub fn start(site: Site, name: &str, macros: &[(&str, &str)]) -> Self {
        let (_, port) = complete(&site, &format!("{name}/exim.conf"), macros);
        // The PROXY protocol gives clients addresses with a country.
        let text = with(&site.read("exim.conf"), &[("exim_user ", "hosts_proxy = *\nexim_user ")]);
        site.write("exim.conf", &text);
        let exim = Some(Self::daemon(&site, port, &[]));
        Self { site, exim, port }
    }

    fn daemon(site: &Site, port: u16, environment: &[(&str, &str)]) -> Exim {
        let (config, pid) = (site.path("exim.conf"), site.path("exim.pid"));
        Exim::start_with_environment(&config, port, &["-oP", pid.to_str().unwrap()], environment)
    }

    /// Restarts Exim after replacing texts of its configuration.
    pub fn restart_with(&mut self, changes: &[(&str, &str)]) {
        self.restart_with_environment(changes, &[]);
    }

    /// Restarts Exim after replacing texts of its configuration, with environment variables.
    pub fn restart_with_environment(
        &mut self,
        changes: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) {
        self.site.write("exim.conf", &with(&self.site.read("exim.conf"), changes));
        // The old Exim must end first, because both listen on the same port.
        self.exim = None;
        self.exim = Some(Self::daemon(&self.site, self.port, environment));
    }

    /// Configures a database that does not exist, for accounts and for rows.
    pub fn lose_database(&self) {
        let good = self.site.read("authpolicy.toml");
        let away = match &self.site.base {
            Base::Sqlite => with(&good, &[("authpolicy.db", "no-such.db")]),
            Base::MariaDb(..) => with(&good, &[("/sock\"", "/no-such-sock\"")]),
        };
        self.site.write_config(&away);
    }
}

/// Adds a disabled account. Its password is checked elsewhere.
pub fn disable(site: &Site) {
    site.account("off@example.com", "another");
    site.tool(&["user", "disable", "off@example.com"], "");
}

/// Makes an attempt with a client address, a name and a password; returns the last reply.
pub type LoginFn<'a> = &'a dyn Fn(&str, &str, &str) -> String;

/// Makes attempts with PLAIN.
pub fn plain(port: u16) -> impl Fn(&str, &str, &str) -> String {
    move |remote, authcid, password| {
        let mut client = Client::over_tls(port, remote, &[]);
        client.plain(authcid.as_bytes(), password.as_bytes())
    }
}

/// Makes attempts with LOGIN.
pub fn login(port: u16) -> impl Fn(&str, &str, &str) -> String {
    move |remote, authcid, password| {
        let mut client = Client::over_tls(port, remote, &[]);
        client.login(authcid.as_bytes(), password.as_bytes())
    }
}

/// The response to a challenge of CRAM-MD5 (RFC 2195).
pub fn cram_md5_response(challenge: &str, authcid: &str, password: &str) -> String {
    let mut mac = Hmac::<Md5>::new_from_slice(password.as_bytes()).unwrap();
    mac.update(&BASE64_STANDARD.decode(challenge).unwrap());
    let digest = base16ct::lower::encode_string(&mac.finalize().into_bytes());
    BASE64_STANDARD.encode(format!("{authcid} {digest}"))
}

/// An attempt, and the expected reply, line and row.
pub struct Case<'a> {
    pub name: &'a str,
    pub remote: &'a str,
    pub authcid: &'a str,
    pub password: &'a str,
    pub reply: &'a str,
    /// The log line from `status` to the country.
    pub line: &'a str,
    /// `auth_ok` and `policy_reject` of the row.
    pub row: (Option<bool>, Option<bool>),
}

pub const YES: Option<bool> = Some(true);
pub const NO: Option<bool> = Some(false);

/// Makes the attempt, and compares its reply, line and row with the case.
pub fn check_case(site: &Site, login: LoginFn<'_>, case: &Case<'_>) {
    let name = case.name;
    // Rows and logs have a question mark for a control character.
    let username = case.authcid.replace('\n', "?");
    let set_id = format!("{REFUSED} (set_id={username})");
    let refusals = || site.main_log().matches(&set_id).count();
    let before = (site.rows().len(), site.lines().len(), refusals());
    let reply = login(case.remote, case.authcid, case.password);
    assert_eq!(reply, case.reply, "{name}: {}", site.main_log());
    let (rows, lines) = (site.rows(), site.lines());
    assert_eq!(lines.len(), before.1 + 1, "{name}: one line: {lines:?}");
    let line = lines.last().unwrap();
    assert!(line.starts_with(&format!("attempt {} ", case.line)), "{name}: {line}");
    assert_eq!(rows.len(), before.0 + 1, "{name}: one row");
    let row = rows.last().unwrap();
    assert_eq!((row.auth_ok, row.policy_reject), case.row, "{name}");
    assert_eq!((&*row.username, &*row.remote_ip), (&*username, case.remote), "{name}");
    assert_eq!(row.protocol, "SMTP", "{name}");
    let refused = usize::from(case.reply == REFUSED);
    assert_eq!(refusals(), before.2 + refused, "{name}: {}", site.main_log());
}

/// Runs the cases that every driver with passwords has. `disabled_ok` is the expected `auth_ok` of
/// a disabled account with its right password: false if the driver asks the plugin for the
/// password, which it does not get; true if another program checks the password.
pub fn check_all_cases(site: &Site, login: LoginFn<'_>, disabled_ok: bool) {
    let disabled = format!(
        "status=403 reason=disabled rule=account.disabled auth_ok={} policy_reject=1 country=GB",
        u8::from(disabled_ok)
    );
    #[rustfmt::skip]
    let cases = [
        Case { name: "accepted", remote: GB, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "leaked password", remote: CN, authcid: "u@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1 country=CN", row: (YES, YES) },
        Case { name: "wrong password", remote: GB, authcid: "u@example.com", password: "wrong", reply: REFUSED,
            line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB", row: (NO, NO) },
        Case { name: "wrong password from CN", remote: CN, authcid: "u@example.com", password: "wrong", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=0 policy_reject=1 country=CN", row: (NO, YES) },
        Case { name: "no account", remote: GB, authcid: "nobody@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB", row: (NO, NO) },
        Case { name: "no account from CN", remote: CN, authcid: "nobody@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=0 policy_reject=1 country=CN", row: (NO, YES) },
        Case { name: "disabled", remote: GB, authcid: "off@example.com", password: "secret", reply: REFUSED,
            line: &disabled, row: (Some(disabled_ok), YES) },
        Case { name: "accepted again", remote: GB, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
    ];
    for case in &cases {
        check_case(site, login, case);
    }
    assert_eq!(site.panic_log(), "");
}

/// Checks attempts without a database: a right password gets 435, a wrong one `reply_to_wrong`.
/// Both have a log line that says "cannot tell", and no row.
pub fn check_without_database(rig: &Rig, login: LoginFn<'_>, reply_to_wrong: &str) {
    let site = &rig.site;
    assert_eq!(login(GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    let before = (site.rows().len(), site.lines().len());
    rig.lose_database();
    assert_eq!(login(GB, "u@example.com", "secret"), CANNOT_TELL, "{}", site.main_log());
    assert_eq!(login(GB, "u@example.com", "wrong"), reply_to_wrong, "{}", site.main_log());
    let lines = site.lines();
    let attempts = lines[before.1..].iter().filter(|line| line.starts_with("attempt "));
    let attempts: Vec<_> = attempts.collect();
    assert_eq!(attempts.len(), 2, "{lines:?}");
    for line in attempts {
        assert!(line.starts_with("attempt status=503 reason=internal rule=- auth_ok=- "), "{line}");
    }
    assert_eq!(site.rows().len(), before.0);
    assert_eq!(site.panic_log(), "");
}
