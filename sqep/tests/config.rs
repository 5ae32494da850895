//! Configuration: layers, and errors that name the place.

use std::{io::Write, path::PathBuf};

use serde::Deserialize;
use sqep::{
    app::{Args, LogFormat, ReaderSettings, load},
    redis::{RedisSettings, Server, keys::StreamSettings},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    redis: RedisSettings,
    stream: StreamSettings,
    reader: ReaderSettings,
}

fn args(file: Option<&tempfile::NamedTempFile>, set: &[&str]) -> Args {
    Args {
        config: file.map(|file| PathBuf::from(file.path())),
        set: set.iter().map(|&text| text.to_owned()).collect(),
        check: false,
        once: false,
        print_config: false,
        log_format: LogFormat::Text,
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(text.as_bytes()).expect("writes");
    file
}

#[test]
fn the_command_line_is_above_the_file() {
    let file = file("[redis]\nurl = \"redis://file:1\"\n[stream]\nkind = \"bar:1m\"\npartitions = 4\n");
    let config: Config =
        load(&args(Some(&file), &["stream.kind=bar:5m", "reader.start=earliest"])).expect("loads");
    assert_eq!(config.redis.url, "redis://file:1");
    assert_eq!(config.stream.kind.name(), "bar:5m");
    assert_eq!(config.stream.partitions, 4);
    assert!(config.reader.start.is_some());
}

#[test]
fn lists_and_numbers_come_through_the_command_line() {
    let set = [
        "stream.groups=[\"parquet\", \"clickhouse\"]",
        "stream.backlog_entries_max=12",
        "redis.url=redis://h:2",
    ];
    let config: Config = load(&args(None, &set)).expect("loads");
    assert_eq!(config.stream.groups, ["parquet", "clickhouse"]);
    assert_eq!(config.stream.backlog_entries_max, 12);
}

#[test]
fn an_unknown_key_names_file_line_and_key() {
    let file = file("[redis]\nurl = \"redis://h:1\"\n\n[stream]\npartitons = 4\n");
    let error = load::<Config>(&args(Some(&file), &[])).expect_err("misspelt").to_string();
    assert!(error.contains(&file.path().display().to_string()), "{error}");
    assert!(error.contains("line 5") && error.contains("partitons"), "{error}");
}

#[test]
fn an_unknown_key_on_the_command_line_names_it() {
    let error = load::<Config>(&args(None, &["stream.knd=bar:1d"])).expect_err("misspelt").to_string();
    assert!(error.contains("--set stream.knd") && error.contains("knd"), "{error}");
    let error = load::<Config>(&args(None, &["stream.kind"])).expect_err("no value").to_string();
    assert!(error.contains("section.key=value"), "{error}");
    let error = load::<Config>(&args(None, &["stream.kind=bar:2d"])).expect_err("no such kind").to_string();
    assert!(error.contains("bar:2d"), "{error}");
}

#[test]
fn a_password_never_shows() {
    let settings =
        RedisSettings { url: "redis://user:hunter2@127.0.0.1:1/0".to_owned(), ..RedisSettings::default() };
    assert!(!format!("{settings:?}").contains("hunter2"));
    let server = Server::new(&settings).expect("a URL");
    assert!(!format!("{server:?}").contains("hunter2") && !server.name().contains("hunter2"));
    let settings = RedisSettings { url: "redis//user:hunter2@x".to_owned(), ..RedisSettings::default() };
    let error = format!("{:#}", Server::new(&settings).expect_err("no URL"));
    assert!(!error.contains("hunter2"), "{error}");
}
