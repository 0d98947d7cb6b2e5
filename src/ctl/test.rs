//! `authpolicy test`: the code that Exim runs, on the administrator's words, without a row.

use std::time::Instant;
use std::time::SystemTime;

use clap::Args;

use crate::attempt::Attempt;
use crate::attempt::Remote;
use crate::check;
use crate::check::Moment;
use crate::check::World;
use crate::config::Config;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Geo;
use crate::maillog::MailLog;
use crate::outcome::Outcome;

use super::Done;
use super::read_password;
use super::say;

#[derive(Args)]
pub(super) struct Arguments {
    /// The authcid.
    user: String,
    /// The client's address; "" for a local dialogue.
    ip: String,
    /// As over TLS, for a query that asks for :tls.
    #[arg(long)]
    tls: bool,
    /// As another protocol, for a query that asks for :protocol.
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> Done {
    if let Remote::Unusable(text) = Remote::parse(arguments.ip.as_bytes()) {
        return Err(Error::Call(format!("{text}: is no address")));
    }
    let password = read_password("Password: ")?;
    let (user, ip) = (arguments.user.as_bytes(), arguments.ip.as_bytes());
    let protocol = arguments.protocol.as_ref().map(|name| format!("protocol={name}"));
    let mut words = vec![user, password.expose(), ip];
    words.extend(arguments.tls.then_some(&b"tls=yes"[..]));
    words.extend(protocol.as_ref().map(String::as_bytes));
    let attempt = Attempt::parse(&words)?;
    let geo = config.geoip.as_deref().map(Geo::new);
    let asns = config.asn_database.as_deref().map(Asns::new);
    let print = |line: &str| {
        say(&line.replacen("authpolicy: attempt ", "", 1).replace(" user=", "\nuser="))
    };
    let log = MailLog::new(&print);
    let world = World { config, geo: geo.as_ref(), asns: asns.as_ref(), log, recorded: false };
    #[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
    let moment = Moment { time: SystemTime::now(), start: Instant::now() };
    let outcome = check::check(world, &attempt, moment).outcome();
    match outcome {
        Outcome::Accept => {
            say("answer=yes, the client gets 235");
            Ok(true)
        }
        Outcome::Reject => {
            say("answer=no, the client gets 535");
            Ok(false)
        }
        Outcome::CannotTell | Outcome::Bug | Outcome::NoSecret => {
            say("answer=cannot tell, the client gets 435");
            Err(Error::Call(String::from("cannot tell: the line above says why")))
        }
    }
}
