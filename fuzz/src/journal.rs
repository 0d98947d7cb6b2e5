//! Any bytes as a file of the journal: complete lines are read as they were written, whatever is
//! around them. Nothing else is read as a row.

use std::time::Duration;
use std::time::UNIX_EPOCH;

use authpolicy::row::journal::Lines;
use authpolicy::row::journal::Record;
use authpolicy::store::Value;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;

/// Any bytes, then rows, each followed by any bytes.
#[derive(Arbitrary, Debug)]
pub struct File<'a> {
    before: &'a [u8],
    rows: Vec<Row<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Row<'a> {
    milliseconds: u32,
    time: i64,
    username: &'a str,
    auth_ok: Option<bool>,
    /// The bytes after the row.
    after: &'a [u8],
    /// The number of bytes that are cut off from the end of the row.
    lost: u8,
}

impl Row<'_> {
    fn record(&self) -> Record {
        let time = UNIX_EPOCH + Duration::from_millis(u64::from(self.milliseconds));
        let row = vec![
            ("time", Value::Int(self.time)),
            ("username", Value::text(self.username)),
            ("auth_ok", Value::flag(self.auth_ok)),
        ];
        Record::new(time, row).expect("random numbers")
    }
}

/// Writes the rows as attempts do, cuts the ends of some off, and reads the file.
pub fn check(file: &File<'_>) {
    let mut text = file.before.to_vec();
    let mut complete = Vec::new();
    for row in &file.rows {
        let record = row.record();
        let line = record.line().into_bytes();
        let lost = usize::from(row.lost).min(line.len());
        text.push(b'\n');
        text.extend_from_slice(&line[..line.len() - lost]);
        if lost == 0 {
            complete.push(record);
        }
        text.push(b'\n');
        text.extend_from_slice(row.after);
    }
    let lines: Vec<_> = Lines::new(&*text).collect::<Result<_, _>>().expect("bytes");
    let read: Vec<_> = lines.iter().filter_map(|line| line.record.as_ref()).collect();
    let ids: Vec<_> = read.iter().map(|record| &*record.id).collect();
    let want: Vec<_> = complete.iter().map(|record| &*record.id).collect();
    assert_eq!(ids, want, "{}", String::from_utf8_lossy(&text));
    for (read, written) in read.iter().copied().zip(&complete) {
        assert_eq!(read.time(), written.time());
        let username = |record: &Record| {
            let name = record.row.iter().find(|(name, _)| *name == "username");
            name.map(|(_, value)| value.to_text())
        };
        assert_eq!(username(read), username(written));
        assert!(!read.line().contains('\n'));
    }
    assert!(lines.iter().all(|line| !line.text.is_empty() && !line.text.contains(&b'\n')));
    // After all lines are marked as done, none is found.
    for line in &lines {
        text[usize::try_from(line.at).expect("as long as the text")] = b'#';
    }
    assert!(Lines::new(&*text).next().is_none(), "{}", String::from_utf8_lossy(&text));
}
