//! Lists of countries and networks as administrators write them, in the configuration and in
//! the columns of an account.

use ipnet::IpNet;

use crate::policy::Countries;
use crate::policy::Country;

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|word| !word.is_empty())
}

/// Reads country codes separated by commas, semicolons or blanks; `*` is any. An empty list says
/// nothing.
///
/// # Errors
/// A word is no two-letter code.
pub fn countries(text: &str) -> Result<Option<Countries>, String> {
    let mut list = Vec::new();
    let mut any = false;
    for word in words(text) {
        match Country::parse(word) {
            _ if word == "*" => any = true,
            Some(country) => list.push(country),
            None => {
                let word = word.escape_debug();
                return Err(format!("\"{word}\" is no two-letter country code such as GB"));
            }
        }
    }
    Ok(match (any, list.is_empty()) {
        (true, _) => Some(Countries::Any),
        (false, true) => None,
        (false, false) => Some(Countries::These(list)),
    })
}

/// Reads networks separated by commas, semicolons or blanks. An empty list says nothing.
///
/// # Errors
/// A word is neither an address nor a network.
pub fn networks(text: &str) -> Result<Option<Vec<IpNet>>, String> {
    let list = words(text).map(network).collect::<Result<Vec<_>, _>>()?;
    Ok((!list.is_empty()).then_some(list))
}

/// Reads one network, or an address as a network of one.
///
/// # Errors
/// It is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map_err(|_| {
        format!("\"{}\" is no network such as 192.0.2.0/24 or 2001:db8::/32", text.escape_debug())
    })
}
