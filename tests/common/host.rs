//! A process that loads and calls the plugin as Exim does, without Exim.
#![allow(unsafe_code, reason = "calls the plugin's C functions")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::ffi::c_void;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::Site;
use super::exim;

/// The environment variable that tells a host process the directory of its site.
const DIRECTORY: &str = "AUTHPOLICY_HOST_DIRECTORY";

type Call = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

/// Runs an ignored test of this program as a host process, as Exim's user; returns its output.
pub fn run(site: &Site, test: &str) -> String {
    let program = site.path("host");
    // Exim's user may have no access to cargo's target directory. A child process makes the copy.
    // If this process wrote it, a child of another test could inherit the open file, and executing
    // the copy would fail (ETXTBSY).
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
    let printed = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{printed}");
    text
}

/// The directory of the host process's site.
pub fn directory() -> String {
    std::env::var(DIRECTORY).expect("this test runs only when another test starts it")
}

/// The loaded plugin.
pub struct Plugin(*mut c_void);

impl Plugin {
    /// Loads the plugin as Exim does (expand.c, `EITEM_DLFUNC`).
    pub fn load(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        // SAFETY: the path is NUL-terminated, and the library is this project's own plugin.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{path:?} cannot be loaded");
        Self(handle)
    }

    /// Calls a function; returns its return code and its text.
    pub fn call(&self, function: &str, arguments: &[&str]) -> (c_int, String) {
        let name = CString::new(function).unwrap();
        // SAFETY: the library of the handle is never closed, and the name is NUL-terminated.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "the plugin has no function {function}");
        // SAFETY: every export has this type (include/authpolicy.h).
        let call = unsafe { std::mem::transmute::<*mut c_void, Call>(found) };
        let texts: Vec<_> = arguments.iter().map(|text| CString::new(*text).unwrap()).collect();
        let mut argv: Vec<_> =
            texts.iter().map(|text| text.as_ptr().cast_mut().cast::<c_uchar>()).collect();
        let mut answer = std::ptr::null_mut();
        let argc = c_int::try_from(argv.len()).unwrap();
        // SAFETY: `argv` holds `argc` NUL-terminated strings, `answer` may be written to.
        let code = unsafe { call(&raw mut answer, argc, argv.as_mut_ptr()) };
        assert!(!answer.is_null(), "{function} did not set the answer");
        // SAFETY: an answer points to NUL-terminated text that lives as long as the process, or,
        // for `preload`, to the argument, which `texts` still owns.
        let text = unsafe { CStr::from_ptr(answer.cast()) };
        (code, text.to_string_lossy().into_owned())
    }
}

/// Runs `work` in a forked child, which ends as Exim's processes end; returns the text of `work`.
pub fn forked(work: impl FnOnce() -> String) -> String {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the only other thread waits for this test, and holds no lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let text = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let text = text.unwrap_or_else(|_| String::from("panicked"));
        // SAFETY: the text has as many bytes as its length says.
        unsafe { libc::write(ends[1], text.as_ptr().cast(), text.len()) };
        // SAFETY: ends the process without running destructors, as Exim does.
        unsafe { libc::_exit(0) };
    }
    let (mut buffer, mut status) = ([0_u8; 4096], 0);
    // SAFETY: waits for the child forked above; `status` may be written.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    // SAFETY: the buffer has room for that many bytes. The child has ended, so all is written.
    let length = unsafe { libc::read(ends[0], buffer.as_mut_ptr().cast(), buffer.len()) };
    for end in ends {
        // SAFETY: the descriptor belongs to this function and is not used again.
        unsafe { libc::close(end) };
    }
    assert_eq!(status, 0, "the child ended with an error");
    String::from_utf8_lossy(&buffer[..usize::try_from(length).unwrap()]).into_owned()
}
