//! `authpolicy geoip lookup`: looks up an address in the GeoIP files.

use clap::Subcommand;

use authpolicy::attempt::Remote;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::geo::Asns;
use authpolicy::geo::Geo;

use super::Done;
use super::say;

#[derive(Subcommand)]
pub(super) enum GeoipCommand {
    /// Print the country and the autonomous system of an address; the exit status is 1 if the
    /// country is unknown.
    Lookup {
        /// The address.
        ip: String,
    },
}

pub(super) fn run(config: &Config, command: &GeoipCommand) -> Done {
    let GeoipCommand::Lookup { ip } = command;
    let Remote::Address(address) = Remote::parse(ip.as_bytes()) else {
        return Err(Error::Call(format!("{ip:?} is not an IP address")));
    };
    let Some(geo) = Geo::from_paths(&config.geoip) else {
        let what = String::from("has no [geoip] database");
        return Err(Error::Config { file: config.path.clone(), what });
    };
    let address = config.policy.nat64.read(address);
    if let Some((v4, form)) = address.carried() {
        say(&format!("carried={v4}"));
        say(&format!("carried_by={form}"));
    }
    if let Some(asns) = Asns::from_paths(&config.asn_database) {
        let asn = asns.number(address.effective())?;
        say(&format!("asn={}", asn.map(|asn| asn.to_string()).unwrap_or_default()));
    }
    match geo.country(address.effective())? {
        Some(country) => {
            say(&format!("country={country}"));
            Ok(true)
        }
        None => {
            say("country=");
            Ok(false)
        }
    }
}
