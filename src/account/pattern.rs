//! Recognizes logins that are patterns of LIKE or REGEXP, so that an account query with one of these
//! operators is noticed. The result is only logged, and does not change any decision.

use super::Login;

/// Characters of regular expressions that this module cannot match. Ordinary names do not have them.
const UNREAD: [char; 4] = ['[', '(', '{', '|'];

/// One element of a pattern.
#[derive(Clone, Copy)]
struct Token {
    /// The letter that it matches; `None` for any letter.
    letter: Option<char>,
    /// True if it matches any number of such letters, including none.
    is_repeated: bool,
}

impl Token {
    const ANY: Self = Self { letter: None, is_repeated: false };
    const ALL: Self = Self { letter: None, is_repeated: true };

    fn letter(letter: char) -> Self {
        Self { letter: Some(letter), is_repeated: false }
    }

    fn fits(self, letter: char) -> bool {
        self.letter.is_none_or(|one| one == letter)
    }
}

impl Login {
    /// True if a form of the login is a pattern that matches the name of the account found for it,
    /// and no form of it is that name.
    pub(crate) fn is_pattern_of(&self, username: &str) -> bool {
        let username = username.trim().to_lowercase();
        let local_part = self.user().rsplit_once('@').map_or(self.user(), |(local, _)| local);
        let forms = [self.user(), self.typed(), local_part].map(str::to_lowercase);
        forms.iter().all(|form| !is_spelling(form, &username))
            && forms.iter().any(|form| matches(form, &username))
    }
}

/// True for the name itself, for a part of it, and for aliases such as `john_doe` of `john.doe`.
fn is_spelling(form: &str, username: &str) -> bool {
    let plain = |text: &str| text.replace(['.', '_'], "-");
    let (form, username) = (plain(form), plain(username));
    form == username || form.contains(char::is_alphanumeric) && username.contains(&form)
}

fn matches(form: &str, username: &str) -> bool {
    let is_like = form.contains(['%', '_']) && fit(&like(form), username);
    let is_expression = form.contains(['.', '*', '+', '?', '^', '$', '\\']);
    is_like || form.contains(UNREAD) || is_expression && fit(&expression(form), username)
}

fn like(form: &str) -> Vec<Token> {
    let token = |letter| match letter {
        '%' => Token::ALL,
        '_' => Token::ANY,
        letter => Token::letter(letter),
    };
    form.chars().map(token).collect()
}

/// The tokens of a regular expression, which may match more than the expression does.
fn expression(form: &str) -> Vec<Token> {
    let mut tokens = vec![Token::ALL];
    let mut letters = form.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => tokens.push(Token::ANY),
            '\\' => tokens.extend(letters.next().map(|_| Token::ANY)),
            '^' | '$' => {}
            '*' | '?' => {
                if let Some(last) = tokens.last_mut() {
                    last.is_repeated = true;
                }
            }
            '+' => {
                let again = tokens.last().map(|last| Token { is_repeated: true, ..*last });
                tokens.extend(again);
            }
            letter => tokens.push(Token::letter(letter)),
        }
    }
    tokens.push(Token::ALL);
    tokens
}

/// True if the tokens match the whole text.
fn fit(tokens: &[Token], text: &str) -> bool {
    // Element `n` is true if the first `n` tokens can match the text so far.
    let mut used = vec![false; tokens.len().saturating_add(1)];
    if let Some(first) = used.first_mut() {
        *first = true;
    }
    pass_repeated(tokens, &mut used);
    for letter in text.chars() {
        let mut next = vec![false; used.len()];
        for (at, token) in tokens.iter().enumerate() {
            if used.get(at) == Some(&true) && token.fits(letter) {
                let end = if token.is_repeated { at } else { at.saturating_add(1) };
                next.get_mut(end).into_iter().for_each(|is_used| *is_used = true);
            }
        }
        pass_repeated(tokens, &mut next);
        used = next;
    }
    used.last() == Some(&true)
}

/// Adds the states in which repeated tokens match no letter.
fn pass_repeated(tokens: &[Token], used: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if token.is_repeated && used.get(at) == Some(&true) {
            used.get_mut(at.saturating_add(1)).into_iter().for_each(|is_used| *is_used = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_told_from_an_alias() {
        for (login, username, is) in [
            ("%", "mike@example.com", true),
            ("%@%", "mike@example.com", true),
            ("m_ke@example.com", "mike@example.com", true),
            ("M%", "Mike@example.com", true),
            ("%@other.org", "mike@example.com", true),
            ("_", "mike@example.com", false),
            (".", "mike@example.com", true),
            (".*", "mike@example.com", true),
            ("m.ke@", "mike@example.com", true),
            ("^m", "mike@example.com", true),
            ("mik+e?", "mike@example.com", true),
            ("a|m", "mike@example.com", true),
            ("mike@example.com", "mike@example.com", false),
            ("mike", "mike@example.com", false),
            ("info@example.com", "mike@example.com", false),
            ("doe@example.com", "john.doe@example.com", false),
            ("john_doe@example.com", "john.doe@example.com", false),
            ("john.doe@example.com", "john-doe@example.com", false),
            ("mike+lists@example.com", "mike@example.com", false),
            ("corp\\mike", "mike@example.com", false),
            ("john_doe@example.com", "jd@example.com", false),
            ("j.doe@example.com", "john.doe@example.com", false),
        ] {
            assert_eq!(Login::new(login, "").is_pattern_of(username), is, "{login} {username}");
        }
        assert!(Login::new("m_ke", "example.com").is_pattern_of("mike@example.com"));
        assert!(Login::new("m_ke@example.com", "").is_pattern_of("mike"));
        assert!(!Login::new("mike", "example.com").is_pattern_of("mike"));
    }
}
