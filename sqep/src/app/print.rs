//! `--print-config`: what a program would work with, as a file it reads again. Also how text is freed of passwords.
//!
//! Knows what a secret looks like; must not know any section.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;
use toml::{Table, Value};

/// Words in a key whose value is a secret; a key that ends in `_file` names the place of one.
const SECRET: [&str; 4] = ["password", "secret", "token", "credential"];
const HIDDEN: &str = "…";
const CUT: &str = "…@";

/// Writes the configuration to standard output: every key, defaults included, with `…` for secrets.
pub(super) fn print<C: Serialize>(config: &C) -> anyhow::Result<()> {
    let text = text(config)?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn text<C: Serialize>(config: &C) -> anyhow::Result<String> {
    let mut table = Table::try_from(config).context("the configuration as TOML")?;
    for (key, value) in &mut table {
        hide(key, value);
    }
    Ok(toml::to_string(&table)?)
}

fn hide(key: &str, value: &mut Value) {
    match value {
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value)),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(key, item)),
        Value::String(text) if is_secret(key) => HIDDEN.clone_into(text),
        Value::String(text) => *text = without_secrets(text),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    !key.ends_with("_file") && SECRET.iter().any(|word| key.contains(word))
}

/// A text without what stands where a URL has user and password. Rather too little is left than too much, but for a place
/// whose user and password were cut out before.
pub(super) fn without_secrets(text: &str) -> String {
    let mut clean = text.to_owned();
    if let Some(start) = clean.find("pass=").map(|at| at + "pass=".len()) {
        let end = clean.rfind('"').filter(|&end| end > start).unwrap_or(clean.len());
        clean.replace_range(start..end, HIDDEN);
    }
    let begins = clean.match_indices("//").map(|(at, slashes)| at + slashes.len());
    if let (Some(start), Some(at)) =
        (begins.into_iter().find(|&at| !clean[at..].starts_with(CUT)), clean.rfind('@'))
        && start < at
    {
        clean.replace_range(start..at, HIDDEN);
    }
    clean
}

/// Whether `value` of `section.key` has a password in it, which must not stand where everybody who lists processes
/// reads it.
pub(super) fn tells(key: &str, value: &str) -> bool {
    let user = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
    let last = key.rsplit('.').next().unwrap_or(key);
    is_secret(last) || value.contains("pass=") || user.is_some_and(|user| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Section {
        url: &'static str,
        api_token: &'static str,
        password_file: &'static str,
        keys: Vec<&'static str>,
        rows_max: u64,
        absent: Option<u64>,
    }

    #[test]
    fn every_key_is_printed_and_no_secret() {
        let section = Section {
            url: "https://me:hunter2@host/path",
            api_token: "hunter2",
            password_file: "/run/password",
            keys: vec!["a", "redis+unix:///s?pass=hunter2"],
            rows_max: 7,
            absent: None,
        };
        let text = text(&std::collections::BTreeMap::from([("vendor", section)])).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        for line in ["[vendor]", "url = \"https://…@host/path\"", "api_token = \"…\"", "rows_max = 7"] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(text.contains("password_file = \"/run/password\""), "{text}");
    }

    #[test]
    fn a_password_is_cut_out_of_any_text() {
        for (text, clean) in [
            ("string \"redis://u:a b@c/d@h:1\" is", "string \"redis://…@h:1\" is"),
            ("redis+unix:///s?pass=a@b&user=u", "redis+unix:///s?pass=…"),
            ("\"redis+unix:///s?user=u&pass=a\\\"b\" is", "\"redis+unix:///s?user=u&pass=…\" is"),
            ("redis//u:p@h", "redis//…@h"),
            ("no URL, me@host", "no URL, me@host"),
            ("redis://…@h: no redis://u:p@x", "redis://…@h: no redis://…@x"),
            (
                "redis at redis://…@h:1: NOPERM @user_script:4",
                "redis at redis://…@h:1: NOPERM @user_script:4",
            ),
        ] {
            assert_eq!(without_secrets(text), clean);
        }
    }

    #[test]
    fn a_password_on_the_command_line_is_known_by_key_or_form() {
        assert!(tells("redis.url", "redis://u:p@h") && tells("redis.url", "redis+unix:///s?pass=p"));
        assert!(tells("tushare.token", "x") && !tells("redis.password_file", "/run/p"));
        assert!(!tells("redis.url", "redis://u@h:6379/0"));
    }
}
