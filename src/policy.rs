//! The rules, the facts they are held against, and the decision. Pure: no database, no clock.
//!
//! Rules come in layers: the account's own, its domain's, the default ones. The first that decides
//! ends the search, so that a stronger layer wins in both directions. docs/reference.md has the
//! same order in words.

mod country;
mod decision;
mod judge;
mod limit;
pub mod lists;
mod rules;

pub use self::country::Countries;
pub use self::country::Country;
pub use self::decision::Answer;
pub use self::decision::Credentials;
pub use self::decision::Decision;
pub use self::decision::FailType;
pub use self::decision::Findings;
pub use self::decision::decide;
pub use self::decision::refuses;
pub use self::decision::skips_password;
pub use self::judge::Exception;
pub use self::judge::Facts;
pub use self::judge::Looked;
pub use self::judge::Ruling;
pub use self::judge::Says;
pub use self::judge::Weighed;
pub use self::judge::judge;
pub use self::judge::ruling;
pub use self::judge::weigh;
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
