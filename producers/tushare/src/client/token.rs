//! Tokens: where they come from, and how they stay unseen. Must not know what is asked with them.

use std::{fmt, path::Path};

use anyhow::bail;
use serde::{
    Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use sqep::secret::Secret;

/// The credential that systemd hands over.
const CREDENTIAL: &str = "tushare_token";

/// The secret of an account.
pub type Token = Secret;

/// The tokens in a text: one a line, or parted by blanks or commas.
fn split(text: &str) -> Vec<Token> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .map(Token::from)
        .collect()
}

/// Those of the configuration, else of the file, else of the credential; an empty credential, as it is installed, is
/// none.
pub(super) fn find(given: &[Token], file: Option<&Path>) -> anyhow::Result<Vec<Token>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let Some(secret) = Secret::find(file, CREDENTIAL, "token")? else {
        bail!(
            "no token: give it by the environment (SQEP__TUSHARE__TOKEN), a file (tushare.token_file) or the systemd \
             credential {CREDENTIAL}"
        );
    };
    let tokens = split(secret.reveal());
    if tokens.is_empty() {
        let place =
            file.map_or_else(|| format!("the credential {CREDENTIAL}"), |path| path.display().to_string());
        bail!("{place} holds no token, only blanks");
    }
    Ok(tokens)
}

/// A text without any of the tokens.
pub(super) fn redact(text: &str, tokens: &[Token]) -> String {
    tokens.iter().fold(text.to_owned(), |text, token| token.redact(&text))
}

/// Reads one token, several in a text or a list of them. What it cannot read, it does not quote.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Token>, D::Error> {
    deserializer.deserialize_any(Tokens)
}

struct Tokens;

impl<'de> Visitor<'de> for Tokens {
    type Value = Vec<Token>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token in quotes, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Token>, E> {
        Ok(split(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Token>, A::Error> {
        let mut tokens = Vec::new();
        while let Some(text) = seq.next_element::<Secret>()? {
            tokens.extend(split(text.reveal()));
        }
        Ok(tokens)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Vec<Token>, E> {
        Err(unquoted())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Vec<Token>, E> {
        Err(unquoted())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Vec<Token>, E> {
        Err(unquoted())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Vec<Token>, E> {
        Err(unquoted())
    }
}

fn unquoted<E: Error>() -> E {
    E::custom("a token is text: put it in quotes")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Section {
        #[serde(deserialize_with = "deserialize")]
        token: Vec<Token>,
    }

    #[test]
    fn one_token_several_in_a_text_and_a_list_are_read() {
        for (text, wanted) in [
            ("token = 'aa'", vec!["aa"]),
            ("token = 'aa, bb'", vec!["aa", "bb"]),
            ("token = \"aa\\nbb\\n\"", vec!["aa", "bb"]),
            ("token = ['aa', 'bb']", vec!["aa", "bb"]),
        ] {
            let section: Section = toml::from_str(text).unwrap();
            assert_eq!(section.token, wanted.into_iter().map(Token::from).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn a_token_is_shown_by_nobody() {
        let section: Section = toml::from_str("token = ['hunter2', 'hunter3']").unwrap();
        let printed = format!("{section:?} {}", toml::to_string(&section).unwrap());
        assert!(!printed.contains("hunter"), "{printed}");
        assert_eq!(redact("您的hunter3不对 hunter2", &section.token), "您的…不对 …");
        for wrong in ["token = 4242", "token = 42.42", "token = [4242]"] {
            let error = toml::from_str::<Section>(wrong).unwrap_err();
            assert!(
                !error.message().contains("42") && error.message().contains("quotes"),
                "{}",
                error.message()
            );
        }
    }

    #[test]
    fn the_configuration_wins_over_the_file_and_an_empty_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "aa\nbb\n").unwrap();
        assert_eq!(find(&[], Some(&path)).unwrap(), [Token::from("aa"), Token::from("bb")]);
        assert_eq!(find(&[Token::from("cc")], Some(&path)).unwrap(), [Token::from("cc")]);
        fs::write(&path, "\n").unwrap();
        assert!(format!("{:#}", find(&[], Some(&path)).unwrap_err()).ends_with("holds no token"));
    }
}
