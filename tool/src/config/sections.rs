//! Finds rules that stand in `[policyd]` by mistake. The plugin ignores this section.

use std::fs;

use toml::Table;

use authpolicy::config::Config;

/// The keys of `[policy]` that refuse a client.
const KEYS: [&str; 9] = [
    "allow_countries",
    "allow_nets",
    "deny_asns",
    "deny_countries",
    "deny_networks",
    "limit",
    "new_country",
    "protocols",
    "unknown_country",
];

/// Warns of rules that have no effect.
pub(super) fn check(config: &Config) -> String {
    let text = fs::read_to_string(&config.path).unwrap_or_default();
    match misplaced(&text) {
        Some(key) => format!(
            "warning policyd.{key} is ignored here, because [policyd] belongs to another program: write \
             [policy] for rules of Exim"
        ),
        None => String::from("ok"),
    }
}

fn misplaced(text: &str) -> Option<&'static str> {
    let table = text.parse::<Table>().ok()?;
    let other = table.get("policyd")?.as_table()?;
    KEYS.into_iter().find(|key| other.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use super::misplaced;

    #[test]
    fn rules_in_the_section_of_another_program_are_found() {
        for (text, key) in [
            ("[policy]\nallow_countries = [\"GB\"]\n[policyd]\nlisten = \"x\"\n", None),
            ("[policyd]\nallow_countries = [\"GB\"]\n", Some("allow_countries")),
            ("[[policyd.limit]]\nmax = 1\n", Some("limit")),
            ("[database]\n", None),
        ] {
            assert_eq!(misplaced(text), key, "{text}");
        }
    }
}
