//! The answers of real versions of Exim, and similar texts.

use super::*;

fn read(answer: &str) -> HostVersion {
    HostVersion::read(Some(answer.as_bytes()))
}

#[test]
fn releases_up_to_4_99_have_the_old_types() {
    for answer in [
        "4.90", "4.90.1", "4.92.3", "4.93", "4.94.2", "4.96", "4.97.1", "4.98", "4.98.2", "4.99",
        "4.99.0", "4.99.1", "4.99.12",
    ] {
        assert_eq!(read(answer), HostVersion::UpTo4_99, "{answer}");
    }
}

#[test]
fn releases_of_4_100_have_the_new_types() {
    for answer in ["4.100", "4.100.0", "4.100.1", "4.100.10"] {
        assert_eq!(read(answer), HostVersion::From4_100, "{answer}");
    }
}

#[test]
fn any_other_answer_is_unknown() {
    for answer in [
        // Later and earlier releases.
        "4.101",
        "4.101.1",
        "4.110",
        "4.999",
        "4.1000",
        "5.0",
        "5.96",
        "5.100",
        "40.96",
        "4.89",
        "4.9",
        "4.10",
        "4.0",
        "3.36",
        "0.96",
        "4",
        // Snapshots, candidates, builds with their own names, Exim's own test suite.
        "4.99-123-abc",
        "4.100-1-g13835a3c1",
        "4.100-RC1",
        "4.100_RC1",
        "4.100RC1",
        "4.96-cpanel",
        "4.98.2-1",
        "4.98.2+dfsg",
        "x.yz",
        // Not the number of a release, or not a number at all.
        "",
        ".",
        "..",
        "4.",
        "4..",
        "4..1",
        "4.96.",
        "4.100.",
        "4.96.1.1",
        ".96",
        "4.096",
        "04.96",
        "4.0100",
        "4.96.01",
        " 4.96",
        "4.96 ",
        "4.96\n",
        "4. 96",
        "+4.96",
        "4.+96",
        "4.-96",
        "4.96.+1",
        "4.9 6",
        "4,96",
        "4.0x60",
        "4.4294967396",
        "4.99999999999999999999",
        "4.96.99999999999",
        "4.٩٦",
        "４.96",
    ] {
        assert_eq!(read(answer), HostVersion::Unknown(Some(answer.to_owned())), "{answer:?}");
    }
    assert_eq!(HostVersion::read(None), HostVersion::Unknown(None));
}

#[test]
fn an_answer_of_any_bytes_is_unknown_and_short() {
    let HostVersion::Unknown(Some(shown)) = HostVersion::read(Some(&[0xff; 1000])) else {
        panic!("known");
    };
    assert_eq!(shown.chars().count(), MAX_SHOWN);
    let HostVersion::Unknown(Some(shown)) = HostVersion::read(Some(b"4.\xc3")) else {
        panic!("known");
    };
    assert_eq!(shown, "4.\u{fffd}");
}
