//! The section `[redis]` of the configuration, and how it is shown without its secrets.
//!
//! Knows what a URL may hold; must not connect.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// Section `redis` of every program's configuration.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// `redis://[user[:password]@]host:port[/db]`, `rediss://` for TLS, `redis+unix:///path`.
    #[serde(serialize_with = "shown")]
    pub url: String,
    /// A file that holds the password; a systemd credential `redis.password` is found by itself. Read again for every
    /// connection, as are the files of TLS.
    pub password_file: Option<PathBuf>,
    /// The CA that signed the server's certificate (PEM); by default those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// Our certificate, and those between it and the CA (PEM), for a server that asks who we are …
    pub tls_cert_file: Option<PathBuf>,
    /// … and its private key (PEM, unencrypted).
    pub tls_key_file: Option<PathBuf>,
    /// Seconds a reply may take, on top of a blocking read.
    pub response_timeout_s_max: u64,
    /// Seconds a connection may take.
    pub connect_timeout_s_max: u64,
    /// Seconds a run with `--once` goes on trying to reach the server; daemons try for ever.
    pub once_patience_s_max: u64,
}

impl Default for RedisSettings {
    fn default() -> Self {
        RedisSettings {
            url: "redis://127.0.0.1:6379".to_owned(),
            password_file: None,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            response_timeout_s_max: 15,
            connect_timeout_s_max: 3,
            once_patience_s_max: 30,
        }
    }
}

impl fmt::Debug for RedisSettings {
    /// Never shows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings").field("url", &without_password(&self.url)).finish_non_exhaustive()
    }
}

/// A URL as it may be printed: scheme and place, with `…` for what could be a secret.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    // The URL of a socket carries user and password behind a question mark, the others before an `@`.
    let place = if scheme.contains("unix") {
        let path = rest.split('?').next().unwrap_or_default();
        (!path.contains('@')).then(|| path.to_owned())
    } else {
        let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let place = place.split(['?', '#']).next().unwrap_or_default();
        let hidden = if user.is_empty() { "" } else { "…@" };
        (is_place(place) && !user.contains(['?', '#'])).then(|| format!("{hidden}{place}"))
    };
    format!("{scheme}://{}", place.as_deref().unwrap_or("…"))
}

/// `host[:port][/db]`, and nothing that only looks like it: a password in the place of a port is no number.
fn is_place(text: &str) -> bool {
    let (host, db) = text.split_once('/').unwrap_or((text, ""));
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (host, "0"),
    };
    let named = host.chars().all(|c| c.is_alphanumeric() || "-._[]:%".contains(c));
    named && port.parse::<u16>().is_ok() && db.chars().all(|c| c.is_ascii_digit())
}

fn shown<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(url))
}
