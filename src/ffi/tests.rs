//! The boundary, called as Exim calls it: every argument count, and bytes of every kind.

use std::ffi::CString;
use std::ptr;

use super::*;

type Export = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

const ALL: [Export; 10] =
    [check, allow, authorize, finish, secret, scram, country, last, preload, version];

/// Calls an export as Exim does, with `argc` as Exim gives it.
fn call(export: Export, arguments: &[&[u8]], argc: c_int) -> (c_int, String) {
    let owned: Vec<CString> = arguments.iter().map(|a| CString::new(*a).unwrap()).collect();
    let mut argv: Vec<*mut c_uchar> = owned.iter().map(|a| a.as_ptr().cast_mut().cast()).collect();
    argv.push(ptr::null_mut());
    let mut answer: *mut c_uchar = ptr::null_mut();
    // SAFETY: `answer` is a local, `argv` holds the strings of `owned` and a NULL after them.
    let code = unsafe { export(&raw mut answer, argc, argv.as_mut_ptr()) };
    assert!(!answer.is_null(), "an answer on every return");
    // SAFETY: what an answer points to is NUL-terminated and lives as long as the process.
    let text = unsafe { CStr::from_ptr(answer.cast::<c_char>()) };
    (code, text.to_string_lossy().into_owned())
}

fn plain(export: Export, arguments: &[&[u8]]) -> (c_int, String) {
    call(export, arguments, c_int::try_from(arguments.len()).unwrap())
}

const CONFIG: &[u8] = b"config=/nonexistent/authpolicy.toml";

#[test]
fn version_tells_who_we_are() {
    let text = format!("authpolicy {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(plain(version, &[]), (0, text.clone()));
    assert_eq!(plain(version, &[&b"x"[..]; 7]), (0, text));
}

#[test]
fn check_fails_where_it_cannot_tell_and_never_otherwise() {
    let cannot_tell = (2, String::from("authpolicy cannot tell, see its line above"));
    for count in 0..=7 {
        let arguments: Vec<&[u8]> = vec![CONFIG; count];
        assert_eq!(plain(check, &arguments), cannot_tell, "{count}");
    }
    let arguments: [&[u8]; 4] = [b"u", b"p", b"192.0.2.1", CONFIG];
    assert_eq!(plain(check, &arguments), cannot_tell);
    // Exim counts 16 or 17 where eight are given: nothing of that may be read.
    for argc in [8, 16, 17, c_int::MAX] {
        assert_eq!(call(check, &arguments, argc), cannot_tell, "{argc}");
    }
    assert_eq!(call(check, &arguments, -1), cannot_tell);
}

#[test]
fn preload_answers_its_value_whatever_it_finds() {
    for value in ["20", "", "a b", "{}"] {
        assert_eq!(plain(preload, &[value.as_bytes(), CONFIG]), (0, value.to_owned()));
    }
    assert_eq!(plain(preload, &[]), (0, String::new()));
    assert_eq!(plain(preload, &[b"20", b"colour=red"]), (0, String::from("20")));
}

#[test]
fn the_others_never_fail() {
    for export in [country, last] {
        for count in 0..=7 {
            let arguments: Vec<&[u8]> = vec![b"\xff\xfe=\x01"; count];
            assert_eq!(plain(export, &arguments), (0, String::new()), "{count}");
        }
        assert_eq!(call(export, &[], 17), (0, String::new()));
    }
}

#[test]
fn a_megabyte_and_a_null_do_no_harm() {
    let megabyte = vec![b'\xf0'; 1 << 20];
    for export in ALL {
        let (code, _) = plain(export, &[&megabyte, &megabyte, &megabyte, CONFIG]);
        assert!(code == 0 || code == 2);
        let mut answer: *mut c_uchar = ptr::null_mut();
        // SAFETY: a vector of no strings; `call_contained` looks for NULL itself.
        let code = unsafe { export(&raw mut answer, 3, ptr::null_mut()) };
        assert!(code == 0 || code == 2);
        // SAFETY: as above, and nothing is written to a NULL answer.
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
        // SAFETY: our caller's promise is the one that `call_contained` asks for.
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
    assert_eq!(plain(export, &[]), (2, String::from("internal error")));
    assert_eq!(plain(version, &[]).0, 0, "the next call is served");
    std::panic::set_hook(hook);
}
