//! Room to hash: so many processes of this host at the same time, and no more.

use super::World;
use crate::error::Error;
use crate::slots::Slots;
use crate::store::Stores;

/// Takes a slot, which is held until it is dropped; waits for one with the connections closed. `None`
/// where there is no state directory for them, and nobody has asked for a bound.
pub(super) fn room(world: World<'_>, stores: &mut Stores<'_>) -> Result<Option<Slots>, Error> {
    let config = world.config;
    let given = config.accounts.max_parallel_hashes;
    let slots = Slots::open(&config.state_directory, given);
    match slots.and_then(|slots| Ok((slots.take()?, slots))) {
        Ok((true, slots)) => Ok(Some(slots)),
        Ok((false, slots)) => {
            // Whoever waits must not use up the server's connections.
            stores.close();
            stores.meanwhile(|| slots.wait(config.timeouts.attempt))?;
            Ok(Some(slots))
        }
        Err(e) if given.is_some() => Err(e),
        // The configuration did not ask for it: `authpolicy config` tells.
        Err(_) => Ok(None),
    }
}
