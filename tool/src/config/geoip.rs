//! Checks that the GeoIP files can be read, are fresh, and have both IPv4 and IPv6.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::progress::Progress;
use crate::timestamp;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::geo::Asns;
use authpolicy::geo::Family;
use authpolicy::geo::Geo;
use authpolicy::geo::Verified;

const DAY: u64 = 24 * 3600;

/// The age in days of a file that has missed two monthly updates.
const MAX_DAYS: u64 = 60;

/// The columns of an account that hold rules about countries.
const COLUMNS: [&str; 2] = ["allow_countries", "deny_countries"];

/// Reads the whole of each file.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    #[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
    let now = SystemTime::now();
    let _progress = Progress::of_step("reading all of the GeoIP files");
    let geo =
        Geo::from_paths(&config.geoip).map(|geo| geo.verify()).transpose()?.unwrap_or_default();
    let asns = Asns::from_paths(&config.asn_database).map(|asns| asns.verify()).transpose()?;
    let asns = asns.unwrap_or_default();
    if geo.is_empty() && asns.is_empty() {
        return Ok(String::from("ok not used, the country is empty"));
    }
    let files: Vec<_> = geo.iter().chain(&asns).collect();
    let mut warnings: Vec<_> = files.iter().filter_map(|file| age_warning(file, now)).collect();
    let wants_country = config.policy.wants_country()
        || COLUMNS.iter().any(|column| config.accounts.query.contains(column));
    if wants_country && !geo.is_empty() {
        warnings.extend(family_warnings("geoip.database", "country", &geo));
    }
    if !config.policy.deny_asns.is_empty() {
        warnings.extend(family_warnings("geoip.asn_database", "autonomous system", &asns));
    }
    let described = files.iter().map(|file| describe(file)).collect::<Vec<_>>().join(", ");
    Ok(match warnings.is_empty() {
        true => format!("ok {described}"),
        false => format!("warning {}: {described}", warnings.join("; ")),
    })
}

fn describe(file: &Verified) -> String {
    let built = timestamp(i64::try_from(file.built).unwrap_or(0));
    let families = file.families.iter().map(Family::to_string).collect::<Vec<_>>().join("+");
    let (kind, path) = (&file.kind, file.path.display());
    format!("type={kind:?} built={built} holds={families} file={path}")
}

/// Warns of a file that was built more than `MAX_DAYS` ago.
fn age_warning(file: &Verified, now: SystemTime) -> Option<String> {
    let built = UNIX_EPOCH.checked_add(Duration::from_secs(file.built))?;
    let days = now.duration_since(built).ok()?.as_secs().checked_div(DAY)?;
    let path = file.path.display();
    (days > MAX_DAYS).then(|| {
        format!("{path} was built {days} days ago, and addresses change hands: fetch a newer one, as by \
             fetch-geoip --refresh --from db-ip")
    })
}

/// Warns of each address family for which no file of this key has networks.
fn family_warnings(key: &str, what: &str, files: &[Verified]) -> Vec<String> {
    let is_missing = |family: &Family| !files.iter().any(|file| file.families.contains(family));
    let paths: Vec<_> = files.iter().map(|file| file.path.display().to_string()).collect();
    let (paths, has) = (paths.join(", "), if files.len() == 1 { "has" } else { "have" });
    let warning = |family: Family| {
        format!(
            "{paths} {has} no {family} networks, so that the {what} of {family} clients is \
             unknown: add the {family} file to {key}"
        )
    };
    Family::ALL.into_iter().filter(is_missing).map(warning).collect()
}
