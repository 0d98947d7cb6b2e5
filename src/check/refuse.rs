//! Attempts that are refused without their account or their password.

use super::call::Call;
use super::place;
use super::stages::PasswordVerified;
use super::stages::Stages;
use crate::attempt::Proof;
use crate::error::Error;
use crate::policy::Credentials;

/// Refuses an attempt without a name that could be looked up.
pub(super) fn nameless(call: &Call<'_>, stages: &mut Stages<'_>) -> Result<(), Error> {
    let username = stages.username(call.attempt);
    stages.rules = Some(place::apply_by_name(call, &stages.located, &username));
    if let Proof::Unknown(why) = &call.attempt.proof {
        return Err(Error::Call(why.clone()));
    }
    stages.password = Some(PasswordVerified::known(Credentials::Malformed));
    Ok(())
}

/// Refuses an attempt because of a limit, without checking its password. If a driver has checked
/// the proof, the row has that result.
pub(super) fn unchecked(call: &Call<'_>, stages: &mut Stages<'_>) -> Result<(), Error> {
    let username = stages.username(call.attempt);
    stages.rules = Some(place::apply_by_name(call, &stages.located, &username));
    let credentials = match call.attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted => Credentials::Wrong,
        Proof::GivenUp => Credentials::Malformed,
        Proof::Password(_)
        | Proof::Awaited
        | Proof::Unknown(_)
        | Proof::LimitFull(_)
        | Proof::Unchecked => Credentials::Unchecked,
    };
    stages.password = Some(PasswordVerified::known(credentials));
    Ok(())
}
