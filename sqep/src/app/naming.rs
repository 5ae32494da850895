//! Section `symbol` of every producer: by which number a security is named. Knows the choice; must not know the numbers
//! ([`crate::symbol::Aliases`]).

use serde::{Deserialize, Serialize};

/// Section `symbol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SymbolSettings {
    /// Which number a stock of Beijing goes by that was renumbered to 920xxx. Decided once a stream.
    pub alias: AliasChoice,
}

/// Key `symbol.alias`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "snake_case")]
pub enum AliasChoice {
    /// By its current number throughout.
    #[default]
    Current,
    /// By the number that the source gives.
    AsGiven,
}

impl TryFrom<String> for AliasChoice {
    type Error = String;

    fn try_from(text: String) -> Result<AliasChoice, String> {
        match text.as_str() {
            "current" => Ok(AliasChoice::Current),
            "as_given" => Ok(AliasChoice::AsGiven),
            _ => Err(format!("{text:?} is not current or as_given")),
        }
    }
}

impl AliasChoice {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            AliasChoice::Current => "current",
            AliasChoice::AsGiven => "as_given",
        }
    }
}
