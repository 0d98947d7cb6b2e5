//! Earlier logins of the account: known good addresses and countries.

use zeroize::Zeroizing;

use super::call::Call;
use super::locate::LOCAL;
use super::stages::Located;
use crate::account::Account;
use crate::address::Address;
use crate::error::Error;
use crate::policy::Limits;
use crate::tables::pwhash::pwhash;
use crate::tables::seen;
use crate::tables::seen::AccountAddress;

const SEEN: &str = "authpolicy_seen";
/// Enough bits to notice a changed password, and too few to guess it from the fingerprint.
const FINGERPRINT_BITS: u8 = 20;

/// The address of an account that may be known good; `None` if it cannot be.
pub(super) fn account_address<'a>(
    call: &Call<'_>,
    located: &'a Located,
    account: &'a str,
) -> Option<AccountAddress<'a>> {
    let limits = &call.policy().limits;
    let may_admit = located.facts.address.is_some_and(Address::may_admit);
    if !limits.want_known_good() || located.remote == LOCAL || !may_admit {
        return None;
    }
    let memory = i64::try_from(limits.known_good.as_secs()).unwrap_or(i64::MAX);
    let since = call.seconds().saturating_sub(memory);
    Some(AccountAddress { account, remote: &located.remote, since })
}

/// The fingerprint of the account's stored passwords. It does not depend on their order, or on the
/// name that the client gave.
pub(super) fn fingerprint(limits: &Limits, account: Option<&Account>) -> String {
    if !limits.want_known_good() {
        return String::new();
    }
    let each = account.map_or_else(Vec::new, Account::sorted_passwords);
    // The buffer has its full size from the start, because growing it would leave copies of the
    // stored passwords in memory.
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
    call: &mut Call<'_>,
    located: &Located,
    username: &str,
) -> Result<bool, Error> {
    let memory = call.policy().country_memory.as_secs();
    let now = call.seconds();
    let since = now.saturating_sub(i64::try_from(memory).unwrap_or(i64::MAX));
    let country = located.facts.country.known();
    let login = seen::SeenLogin {
        account: username.trim().to_lowercase(),
        remote: String::new(),
        country: country.map(|country| country.to_string()).unwrap_or_default(),
        fingerprint: String::new(),
        now,
    };
    seen::is_new_country(call.stores.log()?, &login, since).map_err(|e| e.about_table(SEEN))
}
