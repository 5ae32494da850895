//! What the structure promises, read off the sources: who may know what.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines a file may have: beyond it, it does more than one thing.
const LINES_MAX: usize = 540;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

/// All Rust sources below a folder of the workspace, as (path from the root, text).
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    walk(&root.join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources");
    let name = |path: &Path| path.strip_prefix(&root).expect("below").display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).expect("text"))).collect()
}

/// The programs' sources, without tests.
fn product() -> Vec<(String, String)> {
    let folders = ["sqep/src", "sqep/archive/src", "sqep/cli/src", "producers", "consumers"];
    let all = folders.into_iter().flat_map(sources);
    all.filter(|(path, _)| !path.contains("/tests/")).collect()
}

fn offenders(sources: &[(String, String)], words: &[&str], allowed: &[&str]) -> Vec<String> {
    let may = |path: &str| allowed.iter().any(|prefix| path.starts_with(prefix));
    let mut found = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| !may(path)) {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                found.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    found
}

#[test]
fn only_the_redis_folder_knows_a_command_or_a_key() {
    let words = [
        "redis::cmd",
        "redis::pipe",
        "\"XADD\"",
        "\"XACK\"",
        "XREADGROUP",
        "\"HSET\"",
        ":lease:",
        ":cursor:",
    ];
    assert_eq!(offenders(&product(), &words, &["sqep/src/redis/"]), [""; 0]);
}

#[test]
fn only_deliver_settles_retries_and_buries() {
    let words = ["Settlement {", "inlet.settle(", "Letter::of_entry(", "Err(WriteError::Later(error))"];
    let allowed = ["sqep/src/deliver", "sqep/src/letter.rs", "sqep/src/transport.rs"];
    assert_eq!(offenders(&product(), &words, &allowed), [""; 0]);
}

#[test]
fn the_pure_core_neither_does_io_nor_asks_the_time() {
    let pure = [
        "symbol", "bar", "check", "unit", "kind", "record", "entry", "wire", "calendar", "shanghai", "codec/",
    ];
    let core: Vec<_> = sources("sqep/src")
        .into_iter()
        .filter(|(path, _)| pure.iter().any(|name| path.starts_with(&format!("sqep/src/{name}"))))
        .collect();
    assert!(core.len() > pure.len());
    let words = [
        "std::fs",
        "std::net",
        "std::env",
        "tokio::",
        "Instant::now",
        "SystemTime",
        "Utc::now",
        "Local::now",
    ];
    assert_eq!(offenders(&core, &words, &[]), [""; 0]);
}

#[test]
fn producers_and_consumers_do_not_know_each_other() {
    for (ours, theirs) in [("producers", "consumers"), ("consumers", "producers")] {
        let names = fs::read_dir(root().join(theirs)).expect("folder");
        let names: Vec<String> = names
            .map(|entry| format!("sqep-{}", entry.expect("entry").file_name().to_string_lossy()))
            .collect();
        for entry in fs::read_dir(root().join(ours)).expect("folder") {
            let manifest = entry.expect("entry").path().join("Cargo.toml");
            let text = fs::read_to_string(&manifest).expect("manifest");
            assert!(
                names.iter().all(|name| !text.contains(name.as_str())),
                "{} names one of {names:?}",
                manifest.display()
            );
        }
    }
}

#[test]
fn the_archive_is_read_without_its_writer_and_only_the_writer_writes() {
    let manifest = fs::read_to_string(root().join("sqep/archive/Cargo.toml")).expect("manifest");
    for connectors in ["producers", "consumers"] {
        for entry in fs::read_dir(root().join(connectors)).expect("folder") {
            let name = format!("sqep-{}", entry.expect("entry").file_name().to_string_lossy());
            assert!(!manifest.contains(&name), "sqep/archive names {name}");
        }
    }
    let product: Vec<_> =
        sources("sqep/archive/src").into_iter().map(|(path, text)| (path, untested(&text))).collect();
    let words =
        ["ArrowWriter", "File::create", "fs::write", "fs::rename", "fs::remove", "create_dir", "flock"];
    assert_eq!(offenders(&product, &words, &[]), [""; 0]);
}

/// A source without its unit tests.
fn untested(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn every_file_says_first_what_it_is_and_stays_of_one_size() {
    let folders = ["sqep/src", "sqep/archive/src", "sqep/cli/src", "producers", "consumers", "testkit/src"];
    for (path, text) in folders.into_iter().flat_map(sources) {
        assert!(text.starts_with("//!") || text.starts_with("#!["), "{path} does not say what it is");
        let lines = text.lines().count();
        let tests = path.contains("/tests/");
        assert!(tests || lines <= LINES_MAX, "{path} has {lines} lines, more than {LINES_MAX}");
    }
}

#[test]
fn every_stream_kind_has_its_schema() {
    for kind in sqep::Kind::ALL {
        let name = match kind {
            sqep::Kind::BarMinute(_) => "bar_1m".to_owned(),
            kind => kind.table(),
        };
        assert!(root().join("schemas").join(format!("{name}.toml")).exists(), "schemas/{name}.toml");
    }
}
