//! The linked plugin and tool: the exported symbols, the hardening, and `make install`.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The functions that Exim may call.
const EXPORTS: [&str; 10] = [
    "allow",
    "authorize",
    "check",
    "country",
    "finish",
    "last",
    "preload",
    "scram",
    "secret",
    "version",
];

#[test]
fn the_plugin_exports_the_documented_functions_and_nothing_else() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(common::exim::plugin())
        .output()
        .expect("nm: install binutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names, EXPORTS);
}

/// Runs the check that `make build` makes before an installation. Returns whether both files pass,
/// and the complaints.
fn check_binaries(plugin: &Path, tool: &Path) -> (bool, String) {
    run_check_binaries(&mut Command::new("scripts/check-binaries"), plugin, tool)
}

fn run_check_binaries(command: &mut Command, plugin: &Path, tool: &Path) -> (bool, String) {
    let output =
        command.args([plugin, tool]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn plugin_and_tool_are_hardened() {
    let (plugin, tool) = (common::exim::plugin(), Path::new(common::tool()));
    assert_eq!(check_binaries(&plugin, tool), (true, String::new()));
}

/// Builds a library from this C source, with additional arguments for the compiler.
fn library(directory: &Path, source: &str, arguments: &[&str]) -> PathBuf {
    let (file, library) = (directory.join("library.c"), directory.join("library.so"));
    fs::write(&file, source).unwrap();
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-fstack-protector-strong", "-Wl,-z,now,-z,relro", "-o"])
        .args([&library, &file])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn missing_hardening_and_additional_exports_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let tool = Path::new(common::tool());
    let mut source = String::from(
        "char *fill(char *); static char frame(void) { char room[64]; return *fill(room); }\n",
    );
    source.push_str(
        "__attribute__((visibility(\"hidden\"))) char *fill(char *room) { return room; }\n",
    );
    for name in EXPORTS {
        source.push_str(&format!("int {name}(void) {{ return frame(); }}\n"));
    }
    let check = |source: &str, arguments: &[&str]| {
        check_binaries(&library(directory.path(), source, arguments), tool)
    };
    assert_eq!(check(&source, &[]), (true, String::new()), "the hardened library passes");
    for (arguments, complaint) in [
        (&["-Wl,-z,lazy"][..], "no BIND_NOW"),
        (&["-Wl,-z,norelro"], "no RELRO"),
        (&["-Wl,-z,execstack"], "runs what is on the stack"),
        (&["-Wl,-rpath,/tmp"], "RUNPATH"),
        (&["-Wl,-N", "-nostdlib"], "written and run"),
        (&["-Wl,--no-as-needed", "-l:libresolv.so.2"], "needs lib"),
        (&["-fno-stack-protector"], "does not guard the stack"),
    ] {
        // Passed as the tool, because the exports of the tool are not checked.
        let bad = library(directory.path(), &source, arguments);
        let (passes, complaints) = check_binaries(&common::exim::plugin(), &bad);
        assert!(!passes && complaints.contains(complaint), "{arguments:?}: {complaints}");
    }
    for (extra, complaint) in [
        (
            "int more(void) { return 0; }\n",
            "exports allow authorize check country finish last more ",
        ),
        ("const char *word = \"deliberate-panic\";\n", "exports"),
        (
            "__attribute__((visibility(\"hidden\"))) const char *word = \"deliberate-panic\";\n",
            "panics on demand",
        ),
    ] {
        let (passes, complaints) = check(&format!("{source}{extra}"), &[]);
        assert!(!passes && complaints.contains(complaint), "{extra}: {complaints}");
    }
}

#[test]
fn a_file_that_cannot_be_examined_does_not_pass() {
    let directory = tempfile::tempdir().unwrap();
    let (plugin, tool) = (common::exim::plugin(), Path::new(common::tool()));
    let path = std::env::var("PATH").unwrap();
    // Call number FAILING ends with the status that grep has after an error.
    let script = "#!/bin/sh\nat=$(($(cat \"$COUNT\") + 1))\necho $at >\"$COUNT\"\n\
                  [ $at != $FAILING ] || exit 2\nPATH=$GREP_PATH exec grep \"$@\"\n";
    let grep = directory.path().join("grep");
    fs::write(&grep, script).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&grep).status().unwrap().success());
    let count = directory.path().join("count");
    let check = |failing: u32| {
        fs::write(&count, "0").unwrap();
        let mut command = Command::new("scripts/check-binaries");
        command.env("PATH", format!("{}:{path}", directory.path().display()));
        command.env("GREP_PATH", &path).env("COUNT", &count).env("FAILING", failing.to_string());
        run_check_binaries(&mut command, &plugin, tool)
    };
    assert_eq!(check(0), (true, String::new()));
    let calls: u32 = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert!(calls > 10, "{calls}");
    for failing in 1..=calls {
        let (passes, complaints) = check(failing);
        assert!(
            !passes && complaints.contains("ended with status 2"),
            "call {failing}: {complaints}"
        );
    }
}

/// A `cargo` that copies the binaries of this test run into its target directory instead of
/// building them.
const CARGO: &str = "#!/bin/sh\nset -e\n[ \"$1\" != metadata ] || exec \"$REAL_CARGO\" \"$@\"\n\
     release=$(CARGO=$REAL_CARGO scripts/target-directory)/release\nmkdir -p \"$release\"\n\
     cp \"$REAL_TOOL\" \"$release/authpolicy\"\ncp \"$REAL_PLUGIN\" \"$release/libauthpolicy.so\"\n";

#[test]
fn make_installs_from_any_target_directory() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let cargo = path("cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let home = path("cargo-home");
    fs::create_dir(&home).unwrap();
    let cargo_config = format!("[build]\ntarget-dir = \"{}\"\n", path("in-config").display());
    fs::write(home.join("config.toml"), cargo_config).unwrap();
    let assignment = |name: &str, value: PathBuf| format!("{name}={}", value.display());
    for (set_by, place) in [("environment", "a"), ("argument", "b"), ("configuration", "in-config")]
    {
        let mut make = Command::new("make");
        make.arg("install").current_dir(env!("CARGO_MANIFEST_DIR"));
        make.args([
            assignment("CARGO", cargo.clone()),
            assignment("BUILT", path(&format!("{set_by}-built"))),
        ]);
        make.arg(assignment("DESTDIR", path(set_by)));
        make.env("REAL_CARGO", env!("CARGO")).env("REAL_PLUGIN", common::exim::plugin());
        make.env("REAL_TOOL", common::tool());
        // Set by the cargo that runs this test.
        for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "MAKEFLAGS", "MFLAGS"] {
            make.env_remove(name);
        }
        match set_by {
            "environment" => make.env("CARGO_TARGET_DIR", path(place)),
            "argument" => make.arg(assignment("CARGO_TARGET_DIR", path(place))),
            _ => make.env("CARGO_HOME", &home),
        };
        let output = make.output().expect("make");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{set_by}: {stderr}");
        assert!(path(place).join("release/authpolicy").exists(), "{set_by}");
        assert!(path(set_by).join("usr/lib/exim/authpolicy.so").exists(), "{set_by}");
        assert!(path(set_by).join("usr/bin/authpolicy").exists(), "{set_by}");
    }
}

#[test]
fn no_script_assumes_the_target_directory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("Makefile"), root.join("demo/run")];
    files.extend(fs::read_dir(root.join("scripts")).unwrap().map(|entry| entry.unwrap().path()));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for place in ["target/release", "target/debug", "target/tmp"] {
            let is_clean = |line: &str| !line.contains(place);
            assert!(text.lines().all(is_clean), "{}: {place}", file.display());
        }
    }
}
