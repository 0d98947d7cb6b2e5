//! Whether the GeoIP files can be read.

use crate::config::Config;
use crate::ctl::timestamp;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Family;
use crate::geo::Geo;
use crate::geo::Verified;

/// Reads all of the files.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    let geo = Geo::named(&config.geoip).map(|geo| geo.verify()).transpose()?.unwrap_or_default();
    let asns = Asns::named(&config.asn_database).map(|asns| asns.verify()).transpose()?;
    let asns = asns.unwrap_or_default();
    if geo.is_empty() && asns.is_empty() {
        return Ok(String::from("ok not used, the country is empty"));
    }
    let described: Vec<_> = geo.iter().chain(&asns).map(describe).collect();
    Ok(format!("ok {}", described.join(", ")))
}

fn describe(file: &Verified) -> String {
    let built = timestamp(i64::try_from(file.built).unwrap_or(0));
    let families = file.families.iter().map(Family::to_string).collect::<Vec<_>>().join("+");
    let (kind, path) = (&file.kind, file.path.display());
    format!("type={kind:?} built={built} holds={families} file={path}")
}
