//! The `authpolicy` tool: one file for each verb. It uses the library that Exim loads.
//!
//! The exit status is 0 for yes or done, 1 for no, and 2 for cannot tell. Passwords are read only
//! from standard input.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool prints")]

mod config;
mod db;
mod exception;
mod flush;
mod geoip;
mod hash;
mod limits;
mod log;
mod owner;
mod progress;
mod prune;
mod since;
mod test;
mod user;

use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use clap::Parser;
use clap::Subcommand;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use authpolicy::attempt::MAX_PASSWORD;
use authpolicy::config::Config;
use authpolicy::config::DEFAULT_PATH;
use authpolicy::config::Timeouts;
use authpolicy::error;
use authpolicy::error::Error;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;
use authpolicy::store::Deadline;

/// True if the answer is yes.
type Done = Result<bool, Error>;

/// Manage authpolicy: check the configuration, manage accounts and exceptions, and read the log.
#[derive(Parser)]
#[command(name = "authpolicy", version, max_term_width = 100)]
struct Cli {
    /// The configuration file.
    #[arg(long, global = true, default_value = DEFAULT_PATH, value_name = "PATH")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a stored password from a password read from standard input.
    Hash(hash::HashArguments),
    #[command(flatten)]
    Configured(Configured),
}

/// The verbs that need a configuration.
#[derive(Subcommand)]
enum Configured {
    /// Check the configuration and print the effective settings.
    Config,
    /// Create tables; back up and restore the embedded database.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Manage the accounts of the table that `authpolicy db init` creates.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Try a login and explain the decision, without a row in the log; the password is read from
    /// standard input.
    Test(test::TestArguments),
    /// Show recent attempts.
    Log(log::LogArguments),
    /// Manage exceptions from the rules about countries and networks.
    #[command(subcommand)]
    Exception(exception::ExceptionCommand),
    /// Show the limits that have been reached, with the account or address of each.
    Limits {
        #[command(subcommand)]
        verb: Option<limits::LimitsCommand>,
    },
    /// Store the rows that are waiting in the journal.
    Flush(flush::FlushArguments),
    /// Delete old rows of the log.
    Prune(prune::PruneArguments),
    /// Look up addresses in the GeoIP files.
    #[command(subcommand)]
    Geoip(geoip::GeoipCommand),
}

fn main() -> ExitCode {
    error::catch_panic(run).unwrap_or_else(|e| fail(&e))
}

fn run() -> ExitCode {
    block_signals();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print().ok();
            return if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => fail(&e),
    }
}

/// Blocks the signals that a failed write raises. The write still fails, so that the tool can
/// report it: beyond `ulimit -f`, or to a connection that the server has closed.
fn block_signals() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.add(Signal::SIGPIPE);
    // If the mask cannot be changed, such a write ends the tool.
    let _ = signals.thread_block().ok();
}

fn fail(e: &Error) -> ExitCode {
    // `eprintln!` panics where standard error is closed.
    let _ = writeln!(std::io::stderr(), "authpolicy: {e}").ok();
    ExitCode::from(2)
}

fn dispatch(cli: Cli) -> Done {
    let verb = match cli.verb {
        Command::Configured(verb) => verb,
        Command::Hash(arguments) => {
            // No configuration is needed. If there is one, its limits on the cost of hashes apply.
            let settings = match std::fs::File::open(&cli.config) {
                Ok(_) => Config::load(&cli.config)?.accounts.passwords,
                Err(_) => Settings::default(),
            };
            return hash::run(&settings, &arguments);
        }
    };
    let config = Config::load(&cli.config)?;
    let config = match verb {
        // This verb does not use the state directory.
        Configured::Geoip(_) => config,
        Configured::Db(verb) => return db::run(config, &verb),
        Configured::Config => return config::run(config),
        Configured::User(_)
        | Configured::Test(_)
        | Configured::Log(_)
        | Configured::Exception(_)
        | Configured::Limits { .. }
        | Configured::Flush(_)
        | Configured::Prune(_) => owner::become_owner(config)?,
    };
    match verb {
        // These have returned above.
        Configured::Config | Configured::Db(_) => Ok(true),
        Configured::User(verb) => user::run(&config, &verb),
        Configured::Test(arguments) => test::run(&config, &arguments),
        Configured::Log(arguments) => log::run(&config, &arguments),
        Configured::Exception(verb) => exception::run(&config, &verb),
        Configured::Limits { verb } => limits::run(&config, verb.as_ref()),
        Configured::Flush(arguments) => flush::run(&config, &arguments),
        Configured::Prune(arguments) => prune::run(&config, &arguments),
        Configured::Geoip(verb) => geoip::run(&config, &verb),
    }
}

/// Prints a line. It is not an error if the reader has gone away, as `| head` does.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}").ok();
}

/// The deadline for an administrator's statement, which may read a long log.
fn long_deadline(config: &Config) -> Deadline {
    let hours = Duration::from_secs(24 * 3600);
    let timeouts = Timeouts { query: hours, attempt: hours, ..config.timeouts };
    Deadline::new(Instant::now(), timeouts)
}

/// The time `ago` before now, in seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
fn seconds_before_now(ago: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(ago).as_secs()).unwrap_or(0)
}

/// The present time, in milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the tool compares clocks")]
fn milliseconds_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}

/// Formats seconds since 1970 as a date.
fn timestamp(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let time = UNIX_EPOCH.checked_add(since);
    time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default()
}

/// Formats a span of time. Whole days are printed as days; humantime would print months and hours.
fn span(time: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match time.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(DAY) && time.subsec_nanos() == 0 => {
            format!("{}d", seconds.checked_div(DAY).unwrap_or(0))
        }
        _ => humantime::format_duration(time).to_string(),
    }
}

/// Asks for a password at a terminal; otherwise reads one line from standard input.
fn read_password(prompt: &str) -> Result<Secret, Error> {
    let unreadable = |source| Error::System { place: String::from("standard input"), source };
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password(prompt).map_err(unreadable)?;
        return Ok(Secret::new(password.into_bytes()));
    }
    // Allocated at once: a growing buffer would leave copies of the password in memory.
    let mut bytes = Vec::with_capacity(MAX_PASSWORD.saturating_mul(2));
    let max_length = u64::try_from(MAX_PASSWORD).unwrap_or(0).saturating_add(2);
    std::io::stdin().take(max_length).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let password = Secret::new(bytes);
    // A password given twice would be stored as one text of two lines, which no login matches.
    if password.expose().contains(&b'\n') {
        let what = "has more than one line: give the password once, on one line";
        return Err(unreadable(std::io::Error::other(what)));
    }
    Ok(password)
}
