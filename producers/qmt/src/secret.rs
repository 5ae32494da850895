//! The token that agents show: where it comes from and how it is compared. Must not know how it stays unseen ([`Secret`]).

use std::{hint::black_box, path::Path};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use sqep::secret::Secret;

/// The credential that systemd hands over.
const CREDENTIAL: &str = "qmt_token";
/// Shorter ones are guessed.
const BYTES_MIN: usize = 16;

/// The agents' token, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(Secret);

impl Token {
    /// Whether `shown` is it, in a time that tells nothing about it. No token is nobody's.
    pub fn is(&self, shown: &str) -> bool {
        let (secret, shown) = (self.0.reveal().as_bytes(), shown.as_bytes());
        let Some(last) = secret.len().checked_sub(1) else { return false };
        let mut different = u8::from(secret.len() != shown.len());
        for (at, byte) in shown.iter().enumerate() {
            different |= byte ^ secret.get(at.min(last)).copied().unwrap_or(0);
        }
        black_box(different) == 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That of the configuration, else of the file, else of the credential.
    pub fn find(given: &Token, file: Option<&Path>) -> anyhow::Result<Token> {
        let token = if given.is_empty() { Token::read(file)? } else { given.clone() };
        if token.0.reveal().len() < BYTES_MIN {
            bail!("the agents' token has fewer than {BYTES_MIN} characters; make one: openssl rand -hex 16");
        }
        Ok(token)
    }

    fn read(file: Option<&Path>) -> anyhow::Result<Token> {
        let Some(secret) = Secret::find(file, CREDENTIAL, "agents' token")? else {
            bail!(
                "no token for agents: give it by the environment (SQEP__AGENT__TOKEN), a file (agent.token_file) or the \
                 systemd credential {CREDENTIAL}"
            );
        };
        Ok(Token::from(secret.reveal().trim()))
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Token {
        Token(Secret::from(text))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token::from("0123456789abcdef");
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0", "0123456789abcde", "0123456789abcdeff", "0123456789abcdeg", "ffffffffffffffff"]
        {
            assert!(!token.is(wrong), "{wrong:?}");
        }
        assert!(!Token::default().is(""), "no token is nobody's");
    }

    #[test]
    fn a_token_is_shown_by_nobody_and_a_short_one_is_none() {
        let token = Token::from("hunter2hunter2hunter2");
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"…\"");
        let error = serde_json::from_str::<Token>("424242").unwrap_err().to_string();
        assert!(!error.contains("42"), "{error}");
        assert!(Token::find(&Token::from("short"), None).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2hunter2hunter2\n").unwrap();
        assert!(Token::find(&Token::default(), Some(&path)).unwrap() == token);
    }
}
