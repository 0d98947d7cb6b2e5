//! Any bytes as a file of the journal: what is whole is read as it was written, whatever stands
//! around it, and nothing else is a row.

use std::time::Duration;
use std::time::UNIX_EPOCH;

use authpolicy::row::journal::Lines;
use authpolicy::row::journal::Record;
use authpolicy::store::Value;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;

/// Bytes, and rows that some of them stand between.
#[derive(Arbitrary, Debug)]
pub struct File<'a> {
    around: &'a [u8],
    rows: Vec<Row<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Row<'a> {
    milliseconds: u32,
    time: i64,
    username: &'a str,
    auth_ok: Option<bool>,
    /// What comes behind it, and how much of it is lost.
    behind: &'a [u8],
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

/// Writes the rows as attempts do, loses the ends of some, and reads what is there.
pub fn hold(file: &File<'_>) {
    let mut text = file.around.to_vec();
    let mut whole = Vec::new();
    for row in &file.rows {
        let record = row.record();
        let line = record.line().into_bytes();
        let lost = usize::from(row.lost).min(line.len());
        text.push(b'\n');
        text.extend_from_slice(&line[..line.len() - lost]);
        if lost == 0 {
            whole.push(record);
        }
        text.push(b'\n');
        text.extend_from_slice(row.behind);
    }
    let lines: Vec<_> = Lines::new(&*text).collect::<Result<_, _>>().expect("bytes");
    let read: Vec<_> = lines.iter().filter_map(|line| line.record.as_ref()).collect();
    let ids: Vec<_> = read.iter().map(|record| &*record.id).collect();
    let want: Vec<_> = whole.iter().map(|record| &*record.id).collect();
    assert_eq!(ids, want, "{}", String::from_utf8_lossy(&text));
    for (read, written) in read.iter().copied().zip(&whole) {
        assert_eq!(read.time(), written.time());
        let of = |record: &Record| {
            let name = record.row.iter().find(|(name, _)| *name == "username");
            name.map(|(_, value)| value.to_text())
        };
        assert_eq!(of(read), of(written));
        assert!(!read.line().contains('\n'));
    }
    assert!(lines.iter().all(|line| !line.text.is_empty() && !line.text.contains(&b'\n')));
    // Who is done with them all finds none again.
    for line in &lines {
        text[usize::try_from(line.at).expect("as long as the text")] = b'#';
    }
    assert!(Lines::new(&*text).next().is_none(), "{}", String::from_utf8_lossy(&text));
}
