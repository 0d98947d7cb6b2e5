//! The `authpolicy` tool: one file a verb, over the same library that Exim loads.
//!
//! Exit status 0 is yes or done, 1 no, 2 could not tell. Passwords come from standard input alone.
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

/// Whether the answer is yes.
type Done = Result<bool, Error>;

/// Look after authpolicy: accounts, the log, and what is in force.
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
    /// Make a stored password; the password is read from standard input.
    Hash(hash::HashArguments),
    #[command(flatten)]
    Configured(Configured),
}

/// What needs a configuration.
#[derive(Subcommand)]
enum Configured {
    /// Check the configuration, what it names, and print what is in force.
    Config,
    /// Look after the databases.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Look after the accounts of the embedded account table.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Decide an attempt as Exim would, without a row; the password is read from standard input.
    Test(test::TestArguments),
    /// Show recent attempts.
    Log(log::LogArguments),
    /// Look after exceptions from the rules about places.
    #[command(subcommand)]
    Exception(exception::ExceptionCommand),
    /// Show who is beyond which limit.
    Limits {
        #[command(subcommand)]
        verb: Option<limits::LimitsCommand>,
    },
    /// Store the rows that wait in the journal.
    Flush(flush::FlushArguments),
    /// Delete old rows of the log.
    Prune(prune::PruneArguments),
    /// Ask the GeoIP file.
    #[command(subcommand)]
    Geoip(geoip::GeoipCommand),
}

fn main() -> ExitCode {
    error::catch_panic(act).unwrap_or_else(|e| fail(&e))
}

fn act() -> ExitCode {
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
            // It needs no configuration, but heeds the limits of one that can be read.
            let settings = match std::fs::File::open(&cli.config) {
                Ok(_) => Config::load(&cli.config)?.accounts.passwords,
                Err(_) => Settings::default(),
            };
            return hash::run(&settings, &arguments);
        }
    };
    let config = Config::load(&cli.config)?;
    let config = match verb {
        // It touches nothing of the state directory.
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
        // Done above.
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

/// Prints a line; a reader that has gone away, as `| head` does, is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}").ok();
}

/// Time for an administrator's statement, which may walk through a long log.
fn patience(config: &Config) -> Deadline {
    let hours = Duration::from_secs(24 * 3600);
    let timeouts = Timeouts { query: hours, attempt: hours, ..config.timeouts };
    Deadline::new(Instant::now(), timeouts)
}

/// Seconds since 1970, `ago` before now.
#[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
fn seconds_before_now(ago: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(ago).as_secs()).unwrap_or(0)
}

/// Milliseconds since 1970, now.
#[allow(clippy::disallowed_methods, reason = "the tool compares clocks")]
fn milliseconds_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}

/// Seconds since 1970 as a date.
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

/// Reads a password: asked for at a terminal, else the one line of standard input.
fn read_password(prompt: &str) -> Result<Secret, Error> {
    let unreadable = |source| Error::System { place: String::from("standard input"), source };
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password(prompt).map_err(unreadable)?;
        return Ok(Secret::new(password.into_bytes()));
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Vec::with_capacity(MAX_PASSWORD.saturating_mul(2));
    let most = u64::try_from(MAX_PASSWORD).unwrap_or(0).saturating_add(2);
    std::io::stdin().take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let password = Secret::new(bytes);
    // Typed twice, it would be stored as one of two lines, and nobody could log in.
    if password.expose().contains(&b'\n') {
        let what = "has more than one line: give the password once, on one line";
        return Err(unreadable(std::io::Error::other(what)));
    }
    Ok(password)
}
