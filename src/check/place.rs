//! The rules held against the facts, and what is looked up only where it can matter: exceptions, and
//! whether the country is new.

use super::Findings;
use super::Mode;
use super::World;
use super::history;
use super::locate;
use crate::error::Error;
use crate::policy;
use crate::policy::Answer;
use crate::policy::Credentials;
use crate::policy::Layer;
use crate::policy::Looked;
use crate::policy::NewCountry;
use crate::policy::Rule;
use crate::policy::Rules;
use crate::policy::Ruling;
use crate::store::Stores;
use crate::tables::exception;

/// Looks whether a password that is right, or that nobody may find right, comes from a country that
/// the account has not been seen in.
pub(super) fn greet(
    world: World<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &world.config.policy;
    let may_be_right =
        matches!(findings.found.credentials, Credentials::Right | Credentials::Unchecked);
    let asks = policy.new_country != NewCountry::Ignore
        && may_be_right
        && findings.facts.address.is_some()
        && !findings.facts.is_trusted(policy);
    if !asks {
        return Ok(());
    }
    if findings.facts.country == Looked::InVain {
        // Were it new, it would be refused: nobody can tell.
        let new = policy::Findings { is_new_country: true, ..findings.found.clone() };
        let decision = policy::decide(policy, &new);
        if decision.answer == Answer::Reject && decision.rule == Some(Rule::NewCountry) {
            return Err(locate::unreadable(findings));
        }
        return Ok(());
    }
    findings.found.is_new_country = history::is_new_country(world, stores, findings)?;
    let decision = policy::decide(policy, &findings.found);
    if decision.rule == Some(Rule::NewCountry) {
        except(world, layers, stores, findings)?;
    }
    Ok(())
}

/// Has the account's exceptions say their word.
fn except(
    world: World<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let name = findings.username.trim().to_lowercase();
    let now = findings.facts.seconds();
    findings.facts.exceptions = exception::of_account(stores.log()?, &name, now)?;
    if !findings.facts.exceptions.is_empty() {
        findings.judge(&world.config.policy, layers);
    }
    Ok(())
}

/// Holds the rules against the facts.
pub(super) fn hold(
    world: World<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let disabled = layers.iter().find(|(_, rules)| rules.disabled);
    findings.found.disabled = disabled.map(|(layer, _)| *layer);
    findings.judge(&world.config.policy, layers);
    match &findings.found.ruling {
        // The configuration has no such rule without a file, but an account may.
        Ruling::CannotTell(_) => Err(locate::unreadable(findings)),
        // Nobody has to ask for them, but an administrator wants to see them.
        _ if world.mode == Mode::Asked => except(world, layers, stores, findings),
        Ruling::Pass(_) => Ok(()),
        Ruling::Refuse(rule) if rule.bows_to_exceptions() => {
            except(world, layers, stores, findings)
        }
        Ruling::Refuse(_) => Ok(()),
    }
}
