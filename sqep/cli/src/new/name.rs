//! The short name of a connector. Knows what cargo, Rust and the configuration make of it; must not know any folder.

use std::str::FromStr;

/// Bytes of a name: longer ones would break the lines of the templates.
const NAME_BYTES_MAX: usize = 24;

/// Words that no crate or module may be called.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Sections of the configuration that every program has.
const SECTIONS: [&str; 7] = ["redis", "stream", "publish", "reader", "calendar", "http", "symbol"];

/// A short name, such as `acme` or `my-vendor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    /// Anything but small letters, digits and single hyphens between them.
    #[error(
        "name {0:?} is not 1 to {NAME_BYTES_MAX} small letters, digits and single hyphens, beginning with a letter, \
         like \"acme\" or \"my-vendor\""
    )]
    Form(String),
    /// A word of the language.
    #[error("name {0:?} is a keyword of Rust: choose another, like \"{0}-files\"")]
    Keyword(String),
    /// A section of every program's configuration.
    #[error("name {0:?} is a section of every program's configuration: choose another, like \"{0}-files\"")]
    Section(String),
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || text.len() > NAME_BYTES_MAX || !text.split('-').all(part) {
            return Err(NameError::Form(text.to_owned()));
        }
        if KEYWORDS.contains(&text) {
            return Err(NameError::Keyword(text.to_owned()));
        }
        if SECTIONS.contains(&text) {
            return Err(NameError::Section(text.to_owned()));
        }
        Ok(Name(text.to_owned()))
    }
}

impl Name {
    /// As it was given.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As Rust and the configuration write it: `my_vendor`.
    pub(super) fn ident(&self) -> String {
        self.0.replace('-', "_")
    }

    /// Crate and program: `sqep-my-vendor`.
    pub(super) fn package(&self) -> String {
        format!("sqep-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_cargo_rust_and_the_configuration_can_all_take() {
        for good in ["a", "acme", "my-vendor", "l2", "abcdefghijklmnopqrstuvwx"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Acme",
            "2nd",
            "-a",
            "a-",
            "a--b",
            "a_b",
            "a b",
            "a/b",
            "..",
            "é",
            "abcdefghijklmnopqrstuvwxy",
        ] {
            assert_eq!(bad.parse::<Name>(), Err(NameError::Form(bad.to_owned())));
        }
        assert_eq!("type".parse::<Name>(), Err(NameError::Keyword("type".to_owned())));
        assert_eq!("redis".parse::<Name>(), Err(NameError::Section("redis".to_owned())));
        assert_eq!("my-vendor".parse::<Name>().unwrap().ident(), "my_vendor");
        assert_eq!("my-vendor".parse::<Name>().unwrap().package(), "sqep-my-vendor");
    }

    #[test]
    fn an_error_quotes_the_name_and_shows_a_good_one() {
        let told = |text: &str| text.parse::<Name>().unwrap_err().to_string();
        assert!(told("Acme").contains("\"Acme\"") && told("Acme").contains("\"my-vendor\""));
        assert!(told("type").contains("\"type-files\""));
        assert!("type-files".parse::<Name>().is_ok());
    }
}
