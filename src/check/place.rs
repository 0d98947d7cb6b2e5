//! Applies the rules to the facts. Exceptions and new countries are looked up only where they can
//! change the result.

use super::Mode;
use super::call::Call;
use super::history;
use super::stages::AccountFound;
use super::stages::Located;
use super::stages::RulesApplied;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionKind;
use crate::policy::Exception;
use crate::policy::Facts;
use crate::policy::GeoLookup;
use crate::policy::Layer;
use crate::policy::NewCountry;
use crate::policy::PolicyResult;
use crate::policy::Rule;
use crate::policy::Rules;
use crate::tables::exception;

/// Applies the rules that need only a name: not those in the account's columns, and not `disabled`.
/// This is for an attempt that is refused without its account.
pub(super) fn apply_by_name(call: &Call<'_>, located: &Located, username: &str) -> RulesApplied {
    evaluate(call, located, &call.policy().layers(username, None), Vec::new())
}

/// Applies the rules for an account, then its exceptions if they can change the result. The rules
/// are in `stage` before anything can fail, so that the row has their result.
///
/// # Errors
/// A rule needs a country or an autonomous system that is unavailable, or the database cannot tell.
pub(super) fn apply<'s>(
    call: &mut Call<'_>,
    located: &Located,
    found: &AccountFound<'_>,
    stage: &'s mut Option<RulesApplied>,
) -> Result<&'s mut RulesApplied, Error> {
    let layers = found.layers(call.policy());
    let disabled = layers.iter().find(|(_, rules)| rules.disabled).map(|(layer, _)| *layer);
    let applied = evaluate(call, located, &layers, Vec::new());
    let applied = stage.insert(RulesApplied { disabled, ..applied });
    let exceptions_matter = match &applied.policy_result {
        // The account's columns may have a rule about countries, even if no file is configured.
        PolicyResult::CannotTell(_) => return Err(call.geo_unavailable(&found.username)),
        // The tool shows exceptions in any case.
        _ if call.context.mode == Mode::DryRun => true,
        PolicyResult::Pass(_) => false,
        PolicyResult::Refuse(rule) => rule.exceptions_may_override(),
    };
    if exceptions_matter {
        apply_exceptions(call, located, found, applied)?;
    }
    Ok(applied)
}

fn evaluate(
    call: &Call<'_>,
    located: &Located,
    layers: &[(Layer, &Rules)],
    exceptions: Vec<Exception>,
) -> RulesApplied {
    let policy = call.policy();
    let limits = call.attempt_limits.as_ref().map(|limits| limits.reached.clone());
    let limits = limits.unwrap_or_default();
    let facts = Facts { limits, exceptions, ..located.facts.clone() };
    let evaluated = policy::evaluate(policy, layers, &facts);
    let policy_result = policy::combine(policy, &evaluated);
    RulesApplied { evaluated, policy_result, disabled: None, is_new_country: false }
}

/// Applies the rules again with the account's exceptions, if it has any.
fn apply_exceptions(
    call: &mut Call<'_>,
    located: &Located,
    found: &AccountFound<'_>,
    applied: &mut RulesApplied,
) -> Result<(), Error> {
    let name = found.username.trim().to_lowercase();
    let now = call.seconds();
    let exceptions = exception::of_account(call.stores.log()?, &name, now)?;
    if !exceptions.is_empty() {
        let again = evaluate(call, located, &found.layers(call.policy()), exceptions);
        applied.evaluated = again.evaluated;
        applied.policy_result = again.policy_result;
    }
    Ok(())
}

/// True if a new country matters for an attempt with the right password.
fn new_country_matters(call: &Call<'_>, located: &Located) -> bool {
    let policy = call.policy();
    policy.new_country != NewCountry::Ignore
        && located.facts.address.is_some()
        && !located.facts.is_trusted(policy)
}

/// True if the country may refuse the attempt after its password is verified: it is new to the
/// account, or that is not known.
pub(super) fn may_refuse_country(
    call: &mut Call<'_>,
    located: &Located,
    found: &AccountFound<'_>,
) -> bool {
    call.policy().new_country == NewCountry::Reject
        && new_country_matters(call, located)
        && (located.facts.country == GeoLookup::Unavailable
            || history::is_new_country(call, located, &found.username).unwrap_or(true))
}

/// Looks up if the country is new to the account, and adds that to the rules. Does so only if the
/// password is right or was not checked.
///
/// # Errors
/// The decision needs a country that is unavailable, or the database cannot tell.
pub(super) fn check_new_country(
    call: &mut Call<'_>,
    located: &Located,
    found: &AccountFound<'_>,
    applied: &mut RulesApplied,
    credentials: Credentials,
) -> Result<(), Error> {
    let policy = call.policy();
    let may_accept = matches!(credentials, Credentials::Right | Credentials::Unchecked);
    if !may_accept || !new_country_matters(call, located) {
        return Ok(());
    }
    let is_unavailable = located.facts.country == GeoLookup::Unavailable;
    let is_new = is_unavailable || history::is_new_country(call, located, &found.username)?;
    let input = applied.decision_input(credentials);
    let input = policy::DecisionInput { is_new_country: is_new, ..input };
    let decision = policy::decide(policy, &input);
    let decides = decision.rule == Some(Rule::NewCountry);
    if is_unavailable {
        return match decides && decision.kind == DecisionKind::Reject {
            true => Err(call.geo_unavailable(&found.username)),
            false => Ok(()),
        };
    }
    applied.is_new_country = is_new;
    if decides {
        apply_exceptions(call, located, found, applied)?;
    }
    Ok(())
}
