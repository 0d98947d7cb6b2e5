//! Reads a file of rows line by line, so that a long file takes no more memory than a short one.

use std::io;
use std::io::BufRead;
use std::io::Read;

use super::Record;

/// The most bytes read as one line. A row takes a few kB, so a longer line is not a row.
const MAX_LENGTH: u64 = 1 << 17;

/// A line that is neither empty nor a comment, which begins with `#`.
pub struct Line {
    /// The offset of its first byte.
    pub at: u64,
    /// The bytes of the line.
    pub text: Vec<u8>,
    /// The row; `None` if the line is incomplete, damaged or not a row at all.
    pub record: Option<Record>,
    /// True for a piece of garbage that follows the row before it, without a newline.
    pub is_on_same_line: bool,
}

/// An iterator over the lines of a file.
pub struct Lines<R> {
    reader: R,
    at: u64,
    /// The rest of the line, to be returned next.
    rest: Option<Line>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from here on. Offsets count from here.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { reader, at: 0, rest: None }
    }

    /// True if the next item is the rest of the same line.
    #[must_use]
    pub fn has_rest_of_line(&self) -> bool {
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
            let read = (&mut self.reader).take(MAX_LENGTH).read_until(b'\n', &mut text);
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
            // After a loss of power, zeros may follow the last complete line.
            let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
            let rest = text.split_off(end);
            let rest_at = at.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
            if text.is_empty() {
                return Some(Ok(Line {
                    at: rest_at,
                    text: rest,
                    record: None,
                    is_on_same_line: false,
                }));
            }
            if !rest.is_empty() {
                self.rest =
                    Some(Line { at: rest_at, text: rest, record: None, is_on_same_line: true });
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
