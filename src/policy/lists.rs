//! Names, and lists of countries, networks and protocols, as administrators write them in the
//! configuration and in the columns of an account.

use ipnet::IpNet;

use crate::address;
use crate::policy::Countries;
use crate::policy::Country;

/// True if a name has only printable ASCII characters. A database may treat another character as
/// equal to one of these, or ignore it.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The words of a list, which are separated by commas, semicolons or blanks.
#[must_use]
pub fn words(text: &str) -> Vec<&str> {
    let separates = |c: char| c == ',' || c == ';' || c.is_whitespace();
    text.split(separates).filter(|word| !word.is_empty()).collect()
}

/// Reads country codes separated by commas, semicolons or blanks. `*` is any country. Returns
/// `None` for an empty list.
///
/// # Errors
/// A word is not a two-letter code.
pub fn countries(text: &str) -> Result<Option<Countries>, String> {
    let mut list = Vec::new();
    let mut any = false;
    for word in words(text) {
        match Country::parse(word) {
            _ if word == "*" => any = true,
            // This frequent mistake is a two-letter code, but no address has it.
            _ if word.eq_ignore_ascii_case("UK") => {
                return Err(String::from("\"UK\" is not an ISO 3166-1 code: write GB"));
            }
            Some(country) => list.push(country),
            None => {
                let word = word.escape_debug();
                return Err(format!("\"{word}\" is not a two-letter country code such as GB"));
            }
        }
    }
    Ok(match (any, list.is_empty()) {
        (true, _) => Some(Countries::Any),
        (false, true) => None,
        (false, false) => Some(Countries::These(list)),
    })
}

/// Reads networks separated by commas, semicolons or blanks. Returns `None` for an empty list.
///
/// # Errors
/// A word is neither an address nor a network.
pub fn networks(text: &str) -> Result<Option<Vec<IpNet>>, String> {
    let list = words(text).into_iter().map(network).collect::<Result<Vec<_>, _>>()?;
    Ok((!list.is_empty()).then_some(list))
}

/// Reads names of protocols separated by commas, semicolons or blanks, in upper or lower case.
/// Returns `None` for an empty list.
#[must_use]
pub fn protocols(text: &str) -> Option<Vec<String>> {
    let list: Vec<_> = words(text).into_iter().map(str::to_uppercase).collect();
    (!list.is_empty()).then_some(list)
}

/// Reads one network. A single address is a network, too.
///
/// # Errors
/// The text is neither a network nor an address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map(address::canonical).map_err(|_| {
        format!(
            "\"{}\" is not a network such as 192.0.2.0/24 or 2001:db8::/32",
            text.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn network_reads_every_form() {
        for (text, want) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(network(text).map(|net| net.to_string()).as_deref(), Ok(want));
        }
        assert!(network("10/8").is_err());
    }
}
