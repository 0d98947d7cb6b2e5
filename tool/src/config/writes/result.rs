//! The results of several servers. Each text is printed once, with the servers to which it applies.

use authpolicy::error::Error;
use authpolicy::error::StoreFault;

/// The results of the servers so far.
#[derive(Default)]
pub(super) struct Results {
    servers: usize,
    warnings: Vec<GroupedText>,
    failures: Vec<GroupedText>,
    /// A failure that an earlier check has reported.
    known: Option<Error>,
}

/// The first failure of a server.
pub(super) struct Failure {
    pub(super) error: Error,
    /// True if an earlier check has reported it.
    pub(super) is_known: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_known: false }
    }
}

/// A text with its servers.
struct GroupedText {
    text: String,
    servers: Vec<String>,
    fault: StoreFault,
}

impl Results {
    pub(super) fn is_empty(&self) -> bool {
        self.servers == 0
    }

    /// Adds the warnings or the failure of the next server.
    pub(super) fn add(&mut self, server: String, tried: Result<Vec<String>, Failure>) {
        self.servers = self.servers.saturating_add(1);
        match tried {
            Ok(warnings) => {
                for text in warnings {
                    group(&mut self.warnings, text, server.clone(), StoreFault::Other);
                }
            }
            Err(Failure { error, is_known: true }) => self.known = Some(error),
            Err(Failure { error: Error::Store { place, what, fault }, .. }) => {
                group(&mut self.failures, what, place, fault);
            }
            Err(Failure { error, .. }) => {
                group(&mut self.failures, error.to_string(), server, StoreFault::Other);
            }
        }
    }

    /// Returns the text of `check.writes`, or the first error.
    pub(super) fn into_finding(self) -> Result<String, Error> {
        if let Some(first) = self.failures.first() {
            let (place, fault) = (first.servers.join(", "), first.fault);
            let more = self.failures.iter().skip(1).map(GroupedText::with_servers);
            let all: Vec<_> = std::iter::once(first.text.clone()).chain(more).collect();
            return Err(Error::Store { place, what: all.join("; "), fault });
        }
        if let Some(e) = self.known {
            return Err(e);
        }
        let warnings: Vec<_> = self
            .warnings
            .iter()
            .map(|grouped| {
                if grouped.servers.len() == self.servers {
                    grouped.text.clone()
                } else {
                    grouped.with_servers()
                }
            })
            .collect();
        if warnings.is_empty() {
            return Ok(String::from("ok tried, and rolled back"));
        }
        Ok(format!("warning {}", warnings.join("; ")))
    }
}

impl GroupedText {
    fn with_servers(&self) -> String {
        format!("{}: {}", self.servers.join(", "), self.text)
    }
}

fn group(all: &mut Vec<GroupedText>, text: String, server: String, fault: StoreFault) {
    match all.iter_mut().find(|grouped| grouped.text == text) {
        Some(grouped) => grouped.servers.push(server),
        None => all.push(GroupedText { text, servers: vec![server], fault }),
    }
}
