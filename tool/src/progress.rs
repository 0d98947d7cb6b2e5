//! Progress of long work: the amount done, the rate, and the time left. It is shown on standard
//! error, and only at a terminal.

use std::io::IsTerminal;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

const COUNTED: &str = "{msg}: {human_pos} of {human_len}, {per_sec:.0}, {eta} left";
const UNCOUNTED: &str = "{msg}: {human_pos}, {per_sec:.0}";
const STEP: &str = "{msg} ...";

/// One line at the terminal; it is erased when the work is done.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Counts rows. `total` is called only at a terminal.
    pub(super) fn of_rows<E>(
        what: &str,
        total: impl FnOnce() -> Result<Option<u64>, E>,
    ) -> Result<Self, E> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self(None));
        }
        // Counting may take as long as the work.
        let counting = Self::of_step(&format!("{what}: counting"));
        let total = total()?;
        drop(counting);
        let style = if total.is_some() { COUNTED } else { UNCOUNTED };
        Ok(Self::start(total, what, style))
    }

    /// Shows the name of work of unknown length.
    pub(super) fn of_step(what: &str) -> Self {
        if std::io::stderr().is_terminal() { Self::start(None, what, STEP) } else { Self(None) }
    }

    fn start(total: Option<u64>, what: &str, style: &str) -> Self {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let style = ProgressStyle::with_template(style);
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = bar.with_message(what.to_owned());
        bar.tick();
        Self(Some(bar))
    }

    /// Adds this many rows to those done.
    pub(super) fn add(&self, done: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(done);
        }
    }

    /// Prints a line on standard error, above the progress.
    pub(super) fn print_above(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Erases the line.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
