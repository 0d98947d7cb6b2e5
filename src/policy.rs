//! The rules, the facts, and the decision. Pure: no database, no clock.
//!
//! Rules come in layers: the account's own, its domain's, and the default ones. The plugin applies
//! them in a fixed order, the strongest layer first. The first rule that admits or refuses ends the
//! search, so a stronger layer can admit what a weaker one refuses, and the reverse.
//! docs/reference.md describes the order ("The order of the rules").

mod country;
mod decision;
mod evaluate;
mod limit;
pub mod lists;
mod rules;

pub use self::country::Countries;
pub use self::country::Country;
pub use self::decision::Credentials;
pub use self::decision::Decision;
pub use self::decision::DecisionInput;
pub use self::decision::DecisionKind;
pub use self::decision::Reason;
pub use self::decision::decide;
pub use self::decision::refuses;
pub use self::decision::skips_password;
pub use self::evaluate::EvaluatedRule;
pub use self::evaluate::Exception;
pub use self::evaluate::Facts;
pub use self::evaluate::GeoLookup;
pub use self::evaluate::PolicyResult;
pub use self::evaluate::RuleResult;
pub use self::evaluate::apply_rules;
pub use self::evaluate::combine;
pub use self::evaluate::evaluate;
pub use self::limit::Action;
pub use self::limit::Count;
pub use self::limit::Limit;
pub use self::limit::Limits;
pub use self::limit::Per;
pub use self::rules::Layer;
pub use self::rules::NewCountry;
pub use self::rules::Policy;
pub use self::rules::Rule;
pub use self::rules::Rules;
pub use self::rules::WhenRejected;

#[cfg(test)]
mod precedence;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
