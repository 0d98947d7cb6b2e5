//! The rules held against the facts, and what is looked up only where it can matter: exceptions, and
//! whether the country is new.

use super::Context;
use super::Findings;
use super::Mode;
use super::history;
use super::locate;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionKind;
use crate::policy::GeoLookup;
use crate::policy::Layer;
use crate::policy::NewCountry;
use crate::policy::PolicyResult;
use crate::policy::Rule;
use crate::policy::Rules;
use crate::store::Stores;
use crate::tables::exception;

/// Looks whether a password that is right, or that nobody may find right, comes from a country that
/// the account has not been seen in.
pub(super) fn check_new_country(
    context: Context<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &context.config.policy;
    let may_be_right =
        matches!(findings.input.credentials, Credentials::Right | Credentials::Unchecked);
    let asks = policy.new_country != NewCountry::Ignore
        && may_be_right
        && findings.facts.address.is_some()
        && !findings.facts.is_trusted(policy);
    if !asks {
        return Ok(());
    }
    if findings.facts.country == GeoLookup::Unavailable {
        // Were it new, it would be refused: nobody can tell.
        let new = policy::DecisionInput { is_new_country: true, ..findings.input.clone() };
        let decision = policy::decide(policy, &new);
        if decision.kind == DecisionKind::Reject && decision.rule == Some(Rule::NewCountry) {
            return Err(locate::geo_unavailable(findings));
        }
        return Ok(());
    }
    findings.input.is_new_country = history::is_new_country(context, stores, findings)?;
    let decision = policy::decide(policy, &findings.input);
    if decision.rule == Some(Rule::NewCountry) {
        apply_exceptions(context, layers, stores, findings)?;
    }
    Ok(())
}

/// Has the account's exceptions say their word.
fn apply_exceptions(
    context: Context<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let name = findings.username.trim().to_lowercase();
    let now = findings.facts.seconds();
    findings.facts.exceptions = exception::of_account(stores.log()?, &name, now)?;
    if !findings.facts.exceptions.is_empty() {
        findings.apply_rules(&context.config.policy, layers);
    }
    Ok(())
}

/// Holds the rules against the facts.
pub(super) fn apply(
    context: Context<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let disabled = layers.iter().find(|(_, rules)| rules.disabled);
    findings.input.disabled = disabled.map(|(layer, _)| *layer);
    findings.apply_rules(&context.config.policy, layers);
    match &findings.input.policy_result {
        // The configuration has no such rule without a file, but an account may.
        PolicyResult::CannotTell(_) => Err(locate::geo_unavailable(findings)),
        // Nobody has to ask for them, but an administrator wants to see them.
        _ if context.mode == Mode::DryRun => apply_exceptions(context, layers, stores, findings),
        PolicyResult::Pass(_) => Ok(()),
        PolicyResult::Refuse(rule) if rule.exceptions_may_override() => {
            apply_exceptions(context, layers, stores, findings)
        }
        PolicyResult::Refuse(_) => Ok(()),
    }
}
