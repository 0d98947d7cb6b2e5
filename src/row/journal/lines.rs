//! The lines of a file of rows, one by one: a long file takes no more memory than a short one.

use std::io;
use std::io::BufRead;
use std::io::Read;

use super::Record;

/// Bytes that no line of ours has, which is of a few kB.
const LONGEST: u64 = 1 << 17;

/// A line that is no remark: those begin with `#`.
pub struct Line {
    /// Where it begins, in bytes.
    pub at: u64,
    /// What stands there.
    pub text: Vec<u8>,
    /// The row; `None` where it is not whole, or none.
    pub record: Option<Record>,
    /// Whether it stands behind the one before, on the same line.
    pub is_on_same_line: bool,
}

/// Reads them.
pub struct Lines<R> {
    reader: R,
    at: u64,
    rest: Option<Line>,
}

impl<R: BufRead> Lines<R> {
    /// Reads on from here, which counts as the beginning.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { reader, at: 0, rest: None }
    }

    /// Whether what comes next is still of the same line.
    #[must_use]
    pub fn is_within_line(&self) -> bool {
        self.rest.is_some()
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(rest) = self.rest.take() {
            return Some(Ok(rest));
        }
        loop {
            let at = self.at;
            let mut text = Vec::new();
            let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut text);
            self.at = match read {
                Ok(0) => return None,
                Ok(read) => at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX)),
                Err(e) => return Some(Err(e)),
            };
            if text.last() == Some(&b'\n') {
                text.pop();
            }
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            // A loss of power may leave zeros where the next line was to be.
            let zeros = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
            let rest = text.split_off(zeros);
            let behind = at.saturating_add(u64::try_from(zeros).unwrap_or(u64::MAX));
            if text.is_empty() {
                return Some(Ok(Line {
                    at: behind,
                    text: rest,
                    record: None,
                    is_on_same_line: false,
                }));
            }
            if !rest.is_empty() {
                self.rest =
                    Some(Line { at: behind, text: rest, record: None, is_on_same_line: true });
            }
            return Some(Ok(Line {
                at,
                record: Record::read(&text),
                text,
                is_on_same_line: false,
            }));
        }
    }
}
