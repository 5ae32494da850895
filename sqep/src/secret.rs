//! Secrets: where their text comes from, and how it stays unseen. Knows files, systemd credentials and who may see them; must
//! not know what any secret is for.

use std::{env, fmt, fs, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

const HIDDEN: &str = "…";

/// A password or token, empty where there is none. Neither `Debug` nor `Serialize` shows it, and no error quotes it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the named file holds, else what the credential does that systemd hands over; an empty credential, as it is
    /// installed, is none. `what` names the secret where the file cannot be read or is empty.
    pub fn find(file: Option<&Path>, credential: &str, what: &str) -> anyhow::Result<Option<Secret>> {
        let credential = env::var_os("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join(credential))
            .filter(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0));
        let Some(path) = file.map(Path::to_owned).or(credential) else { return Ok(None) };
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the {what} from {}", path.display()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            bail!("{} holds no {what}", path.display());
        }
        Ok(Some(Secret::from(text)))
    }

    /// `text` without the secret.
    pub fn redact(&self, text: &str) -> String {
        if self.is_empty() { text.to_owned() } else { text.replace(&self.0, HIDDEN) }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        // The error of another type would quote it.
        String::deserialize(deserializer)
            .map(Secret)
            .map_err(|_| D::Error::custom("a secret is text: put it in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_nobody() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?}"), "…");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"…\"");
        assert_eq!(secret.redact("您的hunter2不对"), "您的…不对");
        assert_eq!(Secret::default().redact("nothing"), "nothing");
        let error = serde_json::from_str::<Secret>("424242").unwrap_err().to_string();
        assert!(!error.contains("42"), "{error}");
    }

    #[test]
    fn a_named_file_is_read_to_its_last_line_end_and_an_empty_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "with a blank \r\n").unwrap();
        let found = Secret::find(Some(&path), "none", "password").unwrap();
        assert_eq!(found.unwrap().reveal(), "with a blank ");
        fs::write(&path, "\n").unwrap();
        let error = Secret::find(Some(&path), "none", "password").unwrap_err().to_string();
        assert_eq!(error, format!("{} holds no password", path.display()));
        let error =
            Secret::find(Some(&folder.path().join("gone")), "none", "password").unwrap_err().to_string();
        assert!(error.starts_with("cannot read the password from"), "{error}");
    }
}
