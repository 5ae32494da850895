//! From file, environment and command line to a program's configuration. Knows keys and places; must not know any section.

use std::{ffi::OsString, fmt::Display, path::Path};

use anyhow::{Context, anyhow, bail};
use config::{Config, File, FileFormat};
use serde::de::DeserializeOwned;

use super::{
    Args,
    print::{tells, without_secrets},
};

/// Sections of all programs: a variable of one that this program lacks is for another that is started in the same shell.
const SECTIONS: [&str; 17] = [
    "agent",
    "audit",
    "calendar",
    "clickhouse",
    "csv",
    "features",
    "fetch",
    "http",
    "output",
    "parquet",
    "publish",
    "qmt",
    "reader",
    "redis",
    "stream",
    "symbol",
    "tushare",
];

/// Merges file, environment and `--set`, the later above the earlier. An unknown key is an error that names its place.
pub fn load<C: DeserializeOwned>(args: &Args) -> anyhow::Result<C> {
    let mut builder = Config::builder();
    if let Some(path) = &args.config {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        proof_read::<C>(path, &text)?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| from_environment(&name, value));
    let environment =
        environment.filter(|each| !each.as_ref().is_ok_and(|(_, key, _)| is_of_another::<C>(key)));
    let set = args.set.iter().map(|text| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            let text = without_secrets(text);
            anyhow!("--set {text:?} is not section.key=value, like redis.url=redis://127.0.0.1:6379")
        })?;
        if tells(key, value) {
            bail!(
                "--set {key} shows a secret to everyone who lists processes: give it by environment variable ({}) or by \
                 a file ({})",
                format_args!("SQEP__{}", key.to_uppercase().replace('.', "__")),
                if key == "redis.url" { "redis.password_file".to_owned() } else { format!("{key}_file") }
            );
        }
        Ok((format!("--set {key}"), key.to_owned(), value.to_owned()))
    });
    for each in environment.chain(set) {
        let (place, key, value) = each?;
        let value = typed(&value);
        known::<C>(&place, &key, &value)?;
        builder = builder.set_override(&key, value).with_context(|| place.clone())?;
    }
    builder.build()?.try_deserialize().map_err(|error| told("configuration", &error))
}

/// Whether a key is of a section that only other programs have.
fn is_of_another<C: DeserializeOwned>(key: &str) -> bool {
    let Some((section, _)) = key.split_once('.').filter(|(section, _)| SECTIONS.contains(section)) else {
        return false;
    };
    has::<C>(section).is_err()
}

/// An error if the program has no such section.
fn has<C: DeserializeOwned>(section: &str) -> Result<(), config::ConfigError> {
    let empty = config::Map::<String, config::Value>::new();
    Config::builder().set_override(section, empty)?.build()?.try_deserialize::<C>().map(drop)
}

/// `SQEP__SECTION__KEY` as place, `section.key` and value.
fn from_environment(name: &OsString, value: OsString) -> Option<anyhow::Result<(String, String, String)>> {
    let name = name.to_str()?;
    let key = name.strip_prefix("SQEP__")?.to_lowercase().replace("__", ".");
    let value = value.into_string().map_err(|_| anyhow!("environment variable {name} is not UTF-8"));
    Some(value.map(|value| (format!("environment variable {name}"), key, value)))
}

/// A value as its text says: a truth value, a number or a list in TOML's form, else text.
fn typed(text: &str) -> config::Value {
    let parsed =
        toml::from_str::<toml::Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
    match parsed {
        Some(toml::Value::Boolean(value)) => value.into(),
        Some(toml::Value::Integer(value)) => value.into(),
        Some(toml::Value::Float(value)) => value.into(),
        Some(toml::Value::Array(values)) => {
            let text = |value: toml::Value| match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            values.into_iter().map(text).collect::<Vec<String>>().into()
        }
        Some(toml::Value::String(value)) => value.into(),
        _ => text.into(),
    }
}

/// Reads a file alone, for errors with a line.
fn proof_read<C: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<()> {
    toml::from_str::<C>(text).map(drop).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        told(&format!("{}: line {line}", path.display()), &error.message())
    })
}

/// An error with its place. A parser quotes what it did not expect, which could be a URL with its password.
fn told(place: &str, error: &dyn Display) -> anyhow::Error {
    anyhow!("{place}: {}", without_secrets(&error.to_string()))
}

/// Whether a key from environment or command line exists.
fn known<C: DeserializeOwned>(place: &str, key: &str, value: &config::Value) -> anyhow::Result<()> {
    let named = |error: config::ConfigError| told(place, &error);
    let alone = Config::builder().set_override(key, value.clone()).map_err(named)?.build().map_err(named)?;
    alone.try_deserialize::<C>().map(drop).map_err(named)
}
