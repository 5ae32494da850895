//! The program as people start it: arguments, what it prints, exit codes. None of these runs needs a server.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::common::{HEADER, folder_with, rows};

fn sqep_csv(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep-csv"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    texts(&sqep_csv(arguments).output().unwrap())
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_dry_run_says_what_would_happen_and_needs_no_server() {
    let (folder, _) = folder_with(&[("a.csv", format!("{HEADER}{}", rows(1, 0, 20, 0)))]);
    let (code, out, err) = run(&["--dry-run", "--set", "redis.url=redis://127.0.0.1:1", of(folder.path())]);
    assert_eq!(code, Some(0), "{out}{err}");
    for part in [
        "a.csv: sqep, new: read 20 = appended 20 + refused 0 + skipped 0",
        "dry run, nothing was published; it would be: read 20 = appended 20",
        "a.csv:2 {\"symbol\":2000001,\"frame\":\"2019-01-02\"",
        "a.csv:4 ",
        "files 1 = published 1 + unchanged 0 + refused whole 0 + not read 0",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert!(!out.contains("a.csv:5 "), "three rows are shown: {out}");
}

#[test]
fn a_file_that_is_not_published_is_exit_code_1_and_the_others_are_done() {
    let (folder, _) = folder_with(&[
        ("a.csv", format!("{HEADER}{}", rows(1, 0, 20, 0))),
        ("b.csv", "some,other,table\n1,2,3\n".to_owned()),
    ]);
    let (code, out, err) = run(&["--dry-run", of(folder.path())]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("read 20 = appended 20"), "{out}");
    assert!(out.contains("b.csv: refused whole as header_unknown"), "{out}");
    assert!(err.contains("files refused: 1, not read: 0"), "{err}");
}

#[test]
fn a_side_file_that_was_not_understood_is_exit_code_2() {
    let (folder, paths) = folder_with(&[
        ("a.csv", format!("{HEADER}{}", rows(1, 0, 20, 0))),
        ("factors.txt", "ts_code,trade_date,adj_factor\n000001.SZ,20190102,x\n".to_owned()),
    ]);
    let set = format!("csv.adj_factor={}", of(&folder.path().join("factors.txt")));
    let (code, out, err) = run(&["--dry-run", "--set", &set, of(&paths[0])]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(err.contains("factors.txt:2 adjust \"x\": value_illegal"), "{err}");
    assert!(!out.contains("appended"), "{out}");
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_to_do() {
    let (folder, _) = folder_with(&[("a.csv", HEADER.to_owned())]);
    let path = of(folder.path());
    for (arguments, told) in [
        (vec!["--dry-run"], "no path is given"),
        (vec!["--dry-run", "--set", "csv.dialect=klingon", path], "klingon"),
        (vec!["--dry-run", "--set", "csv.nothing=1", path], "nothing"),
        (vec!["--dry-run", "--set", "csv.vol_unit=pounds", path], "shares or lots"),
        (vec!["--dry-run", "--set", "stream.kind=bar:2d", path], "bar:2d"),
        (vec!["--dry-run", "--set", "symbol.alias=newest", path], "as_given"),
        (vec!["--check", "/no/such/folder"], "/no/such/folder"),
        (vec!["-"], "--once"),
        (vec!["--what"], "--what"),
    ] {
        let (code, out, err) = run(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {out}{err}");
        assert!(err.contains(told), "{arguments:?}: {told} in {err}");
    }
}

#[test]
fn nothing_to_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = run(&["--dry-run", of(folder.path())]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("holds no .csv, .txt or .tsv file"), "{err}");
}

#[test]
fn standard_input_is_a_file_like_any_other() {
    let spool = tempfile::tempdir().unwrap();
    let set = format!("csv.spool={}", of(spool.path()));
    let mut child = sqep_csv(&["--dry-run", "--set", &set, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("{HEADER}{}", rows(1, 0, 9, 0));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let (code, out, err) = texts(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("-: sqep, new: read 9 = appended 9"), "{out}");
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "nothing stays behind");
}

#[test]
fn settings_come_from_file_environment_and_command_line() {
    let (folder, paths) = folder_with(&[("a.csv", format!("{HEADER}{}", rows(1, 0, 3, 0)))]);
    let config = folder.path().join("sqep.toml");
    std::fs::write(&config, format!("[csv]\npaths = [{:?}]\ndialect = \"sqep\"\n", of(&paths[0]))).unwrap();
    let (code, out, err) = run(&["--dry-run", "--config", of(&config)]);
    assert_eq!((code, out.contains("read 3 = appended 3")), (Some(0), true), "{out}{err}");

    let other = sqep_csv(&["--dry-run"]).env("SQEP__CSV__PATHS", of(&paths[0])).output().unwrap();
    assert_eq!(other.status.code(), Some(0), "{other:?}");

    std::fs::write(&config, "[csv]\npath = \"x\"\n").unwrap();
    let (code, _, err) = run(&["--dry-run", "--config", of(&config)]);
    assert_eq!(code, Some(2));
    assert!(err.contains("line 2") && err.contains("path"), "{err}");
}

#[test]
fn any_number_of_workers_prints_the_same() {
    let files: Vec<(String, String)> =
        (1..9u32).map(|at| (format!("{at}.csv"), format!("{HEADER}{}", rows(at, 0, 50, 0)))).collect();
    let named: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let (folder, _) = folder_with(&named);
    let printed = |workers: &str| run(&["--dry-run", "--max-workers", workers, of(folder.path())]);
    let (one, many) = (printed("1"), printed("6"));
    assert_eq!((one.0, one.1), (many.0, many.1));
}
