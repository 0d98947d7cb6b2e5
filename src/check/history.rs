//! Where the account has logged in before: known good addresses and countries.

use zeroize::Zeroizing;

use super::Context;
use super::Findings;
use super::locate::LOCAL;
use super::locate::remote;
use crate::account::Account;
use crate::address::Address;
use crate::error::Error;
use crate::policy::Limits;
use crate::secret::Secret;
use crate::store::Stores;
use crate::tables::pwhash::pwhash;
use crate::tables::seen;

const SEEN: &str = "authpolicy_seen";
/// Enough to tell a changed password from the one before, and too few to find it out.
const FINGERPRINT_BITS: u8 = 20;

/// The fingerprint that this address of the account is known by.
pub(super) fn known_good(
    context: Context<'_>,
    account: &str,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<Option<String>, Error> {
    let limits = &context.config.policy.limits;
    let remote = remote(context, findings);
    let may_admit = findings.facts.address.is_some_and(Address::may_admit);
    if !limits.want_known_good() || remote == LOCAL || !may_admit {
        return Ok(None);
    }
    let memory = i64::try_from(limits.known_good.as_secs()).unwrap_or(i64::MAX);
    let since = findings.facts.seconds().saturating_sub(memory);
    seen::known_good(stores.log()?, account, &remote, since).map_err(|e| e.about_table(SEEN))
}

/// The fingerprint of the account's stored passwords. It does not depend on their order, or on the
/// name that the client gave.
pub(super) fn fingerprint(limits: &Limits, account: Option<&Account>) -> String {
    if !limits.want_known_good() {
        return String::new();
    }
    let stored = account.map_or(&[][..], |account| &account.passwords);
    let mut each: Vec<_> = stored.iter().map(Secret::expose).collect();
    each.sort_unstable();
    // Room for all of it at once: growing would leave copies behind.
    let length = each.iter().map(|stored| stored.len().saturating_add(1)).sum();
    let mut all = Zeroizing::new(Vec::with_capacity(length));
    for stored in each {
        all.extend_from_slice(stored);
        all.push(0);
    }
    pwhash(limits.hash_nonce.expose(), "", &all, FINGERPRINT_BITS)
}

/// True if the account has been seen in other countries, but not in this one.
pub(super) fn is_new_country(
    context: Context<'_>,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<bool, Error> {
    let memory = context.config.policy.country_memory.as_secs();
    let now = findings.facts.seconds();
    let since = now.saturating_sub(i64::try_from(memory).unwrap_or(i64::MAX));
    let country = findings.facts.country.known();
    let login = seen::SeenLogin {
        account: findings.username.trim().to_lowercase(),
        remote: String::new(),
        country: country.map(|country| country.to_string()).unwrap_or_default(),
        fingerprint: String::new(),
        now,
    };
    seen::is_new_country(stores.log()?, &login, since).map_err(|e| e.about_table(SEEN))
}
