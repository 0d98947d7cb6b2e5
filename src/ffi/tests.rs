//! Calls as Exim makes them, with every number of arguments and with all kinds of bytes.

use std::ffi::CString;
use std::ptr;

use super::*;

type Export = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

const ALL: [Export; 10] =
    [check, allow, authorize, finish, secret, scram, country, last, preload, version];

/// Calls an export as Exim does, with this `argc`.
fn call_with_count(export: Export, arguments: &[&[u8]], argc: c_int) -> (c_int, String) {
    let owned: Vec<CString> = arguments.iter().map(|a| CString::new(*a).unwrap()).collect();
    let mut argv: Vec<*mut c_uchar> = owned.iter().map(|a| a.as_ptr().cast_mut().cast()).collect();
    argv.push(ptr::null_mut());
    let mut answer: *mut c_uchar = ptr::null_mut();
    // SAFETY: `answer` is a local variable. `argv` holds the strings of `owned`, and a NULL after
    // them.
    let code = unsafe { export(&raw mut answer, argc, argv.as_mut_ptr()) };
    assert!(!answer.is_null(), "every return sets an answer");
    // SAFETY: an answer is NUL-terminated and valid until the process ends.
    let text = unsafe { CStr::from_ptr(answer.cast::<c_char>()) };
    (code, text.to_string_lossy().into_owned())
}

fn call(export: Export, arguments: &[&[u8]]) -> (c_int, String) {
    call_with_count(export, arguments, c_int::try_from(arguments.len()).unwrap())
}

const CONFIG: &[u8] = b"config=/nonexistent/authpolicy.toml";

#[test]
fn version_returns_name_and_version() {
    let text = format!("authpolicy {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(call(version, &[]), (0, text.clone()));
    assert_eq!(call(version, &[&b"x"[..]; 7]), (0, text));
}

#[test]
fn check_fails_if_it_cannot_tell() {
    let cannot_tell = (2, String::from("authpolicy cannot tell, see its line above"));
    for count in 0..=7 {
        let arguments: Vec<&[u8]> = vec![CONFIG; count];
        assert_eq!(call(check, &arguments), cannot_tell, "{count}");
    }
    let arguments: [&[u8]; 4] = [b"u", b"p", b"192.0.2.1", CONFIG];
    assert_eq!(call(check, &arguments), cannot_tell);
    // With eight arguments, Exim's `argc` is 16 or 17. The vector must not be read then.
    for argc in [8, 16, 17, c_int::MAX] {
        assert_eq!(call_with_count(check, &arguments, argc), cannot_tell, "{argc}");
    }
    assert_eq!(call_with_count(check, &arguments, -1), cannot_tell);
}

#[test]
fn preload_always_returns_its_value() {
    for value in ["20", "", "a b", "{}"] {
        assert_eq!(call(preload, &[value.as_bytes(), CONFIG]), (0, value.to_owned()));
    }
    assert_eq!(call(preload, &[]), (0, String::new()));
    assert_eq!(call(preload, &[b"20", b"colour=red"]), (0, String::from("20")));
}

#[test]
fn country_and_last_never_fail() {
    for export in [country, last] {
        for count in 0..=7 {
            let arguments: Vec<&[u8]> = vec![b"\xff\xfe=\x01"; count];
            assert_eq!(call(export, &arguments), (0, String::new()), "{count}");
        }
        assert_eq!(call_with_count(export, &[], 17), (0, String::new()));
    }
}

#[test]
fn a_megabyte_and_a_null_do_no_harm() {
    let megabyte = vec![b'\xf0'; 1 << 20];
    for export in ALL {
        let (code, _) = call(export, &[&megabyte, &megabyte, &megabyte, CONFIG]);
        assert!(code == 0 || code == 2);
        let mut answer: *mut c_uchar = ptr::null_mut();
        // SAFETY: `call_contained` accepts a vector that is NULL.
        let code = unsafe { export(&raw mut answer, 3, ptr::null_mut()) };
        assert!(code == 0 || code == 2);
        // SAFETY: `call_contained` accepts a vector and an answer that are NULL.
        let code = unsafe { export(ptr::null_mut(), 0, ptr::null_mut()) };
        assert!(code == 0 || code == 2);
    }
}

#[test]
fn a_panic_stays_inside() {
    fn panics(_: &mut Session, _: Option<&[&[u8]]>) -> ReturnValue {
        panic!("deliberate");
    }
    unsafe extern "C" fn export(
        answer: *mut *mut c_uchar,
        argc: c_int,
        argv: *mut *mut c_uchar,
    ) -> c_int {
        // SAFETY: our caller promises what `call_contained` requires.
        unsafe {
            call_contained(
                answer,
                argc,
                argv,
                &ExportedFunction { name: "panics", call: panics, ..CHECK },
            )
        }
    }
    let hook = std::panic::take_hook();
    assert_eq!(call(export, &[]), (2, String::from("internal error")));
    assert_eq!(call(version, &[]).0, 0, "the next call works");
    std::panic::set_hook(hook);
}
