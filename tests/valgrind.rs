//! The plugin under valgrind, in a real Exim that expands its functions: no error, and no leak that
//! grows.
//!
//! SMTP dialogues cannot be tested this way: under valgrind's memcheck, Debian's Exim complains of two
//! authenticators of one name where there is only one, with the plugin or without.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Stdio;

use common::Base;
use common::Site;
use common::exim;
use common::site::CN;
use common::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// Calls of every function, each with its answer.
fn calls(site: &Site) -> Vec<(String, &'static str)> {
    let so = site.path("authpolicy.so").display().to_string();
    let plain = |text: &str| format!("${{dlfunc{{{so}}}{text}}}");
    let at = |function: &str, arguments: &str, remote: &str| {
        site.dlfunc(function, &format!("{arguments}{{{remote}}}"))
    };
    let failed = "Failed: authpolicy has no password for it";
    vec![
        (at("check", "{u@example.com}{secret}", GB), "yes"),
        (at("check", "{u@example.com}{wrong}", CN), "no"),
        (at("check", "{nobody@example.com}{secret}", GB), "no"),
        (at("allow", "", GB), "yes"),
        (at("country", "", GB), "GB"),
        (at("secret", "{u@example.com}", GB), failed),
        (at("authorize", "{u@example.com}", GB), "yes"),
        (at("finish", "{u@example.com}", GB), "u@example.com"),
        (at("scram", "{iter}{u@example.com}", GB), "100000"),
        (site.dlfunc("preload", "{5}"), "5"),
        (plain("{last}{status}"), "503"),
        (plain("{version}"), concat!("authpolicy ", env!("CARGO_PKG_VERSION"))),
    ]
}

/// Valgrind's findings after this many rounds of these calls.
fn findings(site: &Site, calls: &[(String, &str)], rounds: usize) -> Vec<String> {
    // Valgrind does not run set-user-id programs.
    let binary = site.path("exim4");
    fs::copy("/usr/sbin/exim4", &binary).expect("install exim4-daemon-heavy");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let text = "exim_user = Debian-exim\nexim_group = Debian-exim\nkeep_environment =\n";
    let directory = site.directory().display();
    let places =
        format!("spool_directory = {directory}/spool\nlog_file_path = {directory}/log/%s\n");
    site.write("be.conf", &format!("{text}{places}"));
    let (uid, gid) = exim::users::exim();
    let log = site.path("log/valgrind");
    let mut child = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "valgrind", "--quiet"])
        .args(["--vgdb=no", "--num-callers=40", "--leak-check=full"])
        .args(["--show-leak-kinds=definite,indirect"])
        .arg(format!("--log-file={}", log.display()))
        .arg(binary)
        .arg("-C")
        .arg(site.path("be.conf"))
        .arg("-be")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv runs valgrind: install it");
    let lines: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.repeat(rounds).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = answers.lines().map(|line| line.trim_start_matches("> "));
    // The last prompt has no answer.
    let answers: Vec<_> = answers.filter(|answer| !answer.is_empty()).collect();
    let want: Vec<_> = calls.iter().map(|(_, want)| *want).collect();
    for round in answers.chunks_exact(want.len()) {
        assert_eq!(round, want, "{}", site.read("log/main"));
    }
    assert_eq!(answers.len() / want.len(), rounds);
    let text = fs::read_to_string(&log).unwrap();
    // `==123== ` begins each line, and nothing else stands between two findings.
    let lines: Vec<_> =
        text.lines().map(|line| line.splitn(3, ' ').last().unwrap_or_default()).collect();
    let all = lines.join("\n");
    all.split("\n\n").map(str::to_owned).filter(|finding| !finding.trim().is_empty()).collect()
}

/// The findings in the plugin and its crates, even if its functions have no names.
fn findings_in_plugin(findings: Vec<String>) -> Vec<String> {
    let is_in_plugin =
        |finding: &String| finding.contains(".rs:") || finding.contains("/authpolicy.so)");
    findings.into_iter().filter(is_in_plugin).collect()
}

fn sum(findings: &[String]) -> u64 {
    findings.iter().filter_map(|finding| lost(finding)).sum()
}

/// A plugin with a leak in each call, and a read of freed memory.
const BROKEN: &str = "#include <stdlib.h>
int broken(unsigned char **yield, int argc, unsigned char **argv) {
    volatile char *gone = malloc(10);
    *(char *volatile *)malloc(sizeof(char *)) = malloc(100);
    gone[argc] = 0;
    free((void *)gone);
    *yield = (unsigned char *)(gone[argc] == 1 ? \"right\" : \"broken\");
    return 0;
}
";

/// Without this test, valgrind might find nothing because it does not look.
#[test]
fn an_error_and_a_leak_that_grows_are_found() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.write("broken.c", BROKEN);
    fs::create_dir(site.path("broken")).unwrap();
    let plugin = site.path("broken/authpolicy.so");
    let mut cc = Command::new("cc");
    // Its functions have no names, as in an installed plugin.
    cc.args(["-shared", "-fPIC", "-O0", "-s", "-o"]).arg(&plugin).arg(site.path("broken.c"));
    assert!(cc.status().unwrap().success());
    let calls = [(format!("${{dlfunc{{{}}}{{broken}}}}", plugin.display()), "broken")];
    let few = findings_in_plugin(findings(&site, &calls, 2));
    let errors: Vec<_> = few.iter().filter(|finding| lost(finding).is_none()).collect();
    assert!(errors.iter().any(|error| error.starts_with("read of size 1")), "{few:#?}");
    let many = findings_in_plugin(findings(&site, &calls, 12));
    assert_eq!((sum(&few), sum(&many)), (4, 24), "{many:#?}");
}

/// The number of lost blocks in a finding; `None` for an error.
fn lost(finding: &str) -> Option<u64> {
    let words: Vec<_> = finding.lines().next()?.split(' ').collect();
    let at = words.iter().position(|word| *word == "blocks")?;
    finding
        .contains(" lost in loss record ")
        .then(|| words[at - 1].replace(',', "").parse().unwrap())
}

#[test]
fn no_error_and_no_leak_that_grows() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    let calls = calls(&site);
    let few = findings_in_plugin(findings(&site, &calls, 2));
    let errors: Vec<_> = few.iter().filter(|finding| lost(finding).is_none()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let many = findings_in_plugin(findings(&site, &calls, 12));
    assert_eq!(sum(&many), sum(&few), "{many:#?}");
}
