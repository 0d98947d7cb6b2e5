//! A process that has loaded the plugin as Exim does, and calls it without an Exim around it.
#![allow(unsafe_code, reason = "the boundary to C, from its other side")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::ffi::c_void;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::Site;
use super::exim;

/// Where a host finds its site.
const DIRECTORY: &str = "AUTHPOLICY_HOST_DIRECTORY";

type Call = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

/// Runs a test of this program that is a host, as Exim's user; answers what it printed.
pub fn run(site: &Site, test: &str) -> String {
    let program = site.path("host");
    // Exim's user may not get to where cargo built it. A child makes the copy: what this process had
    // open for writing, another test's child might have too, and then nobody could run it.
    let mut copy = Command::new("install");
    copy.args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&program);
    assert!(copy.status().unwrap().success());
    let (uid, gid) = exim::users::exim();
    let output = Command::new(&program)
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, site.directory())
        .current_dir(site.directory())
        .uid(uid.parse().unwrap())
        .gid(gid.parse().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{told}");
    text
}

/// The directory of the site that a host runs on.
pub fn directory() -> String {
    std::env::var(DIRECTORY).expect("another test starts this one")
}

/// The plugin, loaded.
pub struct Plugin(*mut c_void);

impl Plugin {
    /// Loads it as Exim does (expand.c, `EITEM_DLFUNC`).
    pub fn load(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        // SAFETY: the path is NUL-terminated; what the plugin does when loaded is ours.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{path:?} cannot be loaded");
        Self(handle)
    }

    /// Calls a function; answers what it returned, and the text.
    pub fn call(&self, function: &str, arguments: &[&str]) -> (c_int, String) {
        let name = CString::new(function).unwrap();
        // SAFETY: the handle is of a library that is never closed, the name is NUL-terminated.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "{function} is not there");
        // SAFETY: every export has this type (include/authpolicy.h).
        let call = unsafe { std::mem::transmute::<*mut c_void, Call>(found) };
        let texts: Vec<_> = arguments.iter().map(|text| CString::new(*text).unwrap()).collect();
        let mut argv: Vec<_> =
            texts.iter().map(|text| text.as_ptr().cast_mut().cast::<c_uchar>()).collect();
        let mut answer = std::ptr::null_mut();
        let argc = c_int::try_from(argv.len()).unwrap();
        // SAFETY: `argv` holds `argc` NUL-terminated strings, `answer` may be written to.
        let code = unsafe { call(&raw mut answer, argc, argv.as_mut_ptr()) };
        assert!(!answer.is_null(), "{function} gives no answer");
        // SAFETY: what an answer points to is NUL-terminated and lives as long as the process.
        let text = unsafe { CStr::from_ptr(answer.cast()) };
        (code, text.to_string_lossy().into_owned())
    }
}

/// Has a child of this process do something; answers its text, the child having ended as Exim's
/// end.
pub fn forked(work: impl FnOnce() -> String) -> String {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: no other thread of this process holds anything: the one that waits for this test.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let text = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let text = text.unwrap_or_else(|_| String::from("panicked"));
        // SAFETY: as many bytes as there are.
        unsafe { libc::write(ends[1], text.as_ptr().cast(), text.len()) };
        // SAFETY: ends the process and nothing else, as Exim does.
        unsafe { libc::_exit(0) };
    }
    let (mut buffer, mut status) = ([0_u8; 4096], 0);
    // SAFETY: our own child, which has ended afterwards.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    // SAFETY: room for as many bytes; the child has written what it had to.
    let length = unsafe { libc::read(ends[0], buffer.as_mut_ptr().cast(), buffer.len()) };
    for end in ends {
        // SAFETY: our own descriptor, used no more.
        unsafe { libc::close(end) };
    }
    assert_eq!(status, 0, "the child was ended");
    String::from_utf8_lossy(&buffer[..usize::try_from(length).unwrap()]).into_owned()
}
