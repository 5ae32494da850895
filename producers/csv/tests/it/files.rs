//! Which files an argument stands for, and in which order.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{fs, path::Path};

use sqep_csv::files::{FilesError, find, roots};

fn make(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
}

/// The names that `arguments`, relative to a folder, stand for.
fn names(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<String> =
        arguments.iter().map(|name| folder.join(name).to_str().unwrap().to_owned()).collect();
    let real = folder.canonicalize().unwrap();
    let name = |key: &str| Path::new(key).strip_prefix(&real).unwrap().to_str().unwrap().to_owned();
    find(&arguments).files.iter().map(|input| name(&input.key)).collect()
}

#[test]
fn a_folder_stands_for_its_tables_in_order_however_they_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    make(
        folder.path(),
        &[
            "b.csv",
            "a.CSV.gz",
            "c/d.tsv.zst",
            "c/a.txt",
            "note.md",
            "x.gz",
            ".hidden.csv",
            "._b.csv",
            "b.csv.tmp",
        ],
    );
    assert_eq!(names(folder.path(), &[""]), ["a.CSV.gz", "b.csv", "c/a.txt", "c/d.tsv.zst"]);
}

#[test]
fn arguments_keep_their_order_and_a_file_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a.csv", "b.csv", "c/e.csv", "plain"]);
    assert_eq!(names(folder.path(), &["b.csv", "", "c/../a.csv"]), ["b.csv", "a.csv", "c/e.csv"]);
    assert_eq!(names(folder.path(), &["plain"]), ["plain"], "a file that is named counts whatever its name");
}

#[test]
fn a_pattern_stands_for_what_it_matches() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["2023/a.csv", "2024/a.csv", "2024/b.csv", "with[bracket].csv"]);
    assert_eq!(names(folder.path(), &["20*/a.csv"]), ["2023/a.csv", "2024/a.csv"]);
    assert_eq!(names(folder.path(), &["2024*"]), ["2024/a.csv", "2024/b.csv"]);
    assert_eq!(
        names(folder.path(), &["with[bracket].csv"]),
        ["with[bracket].csv"],
        "a name is no pattern if it is there"
    );
}

#[test]
fn what_stands_for_nothing_is_told_and_does_not_hold_up_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a.csv", "empty/readme.md"]);
    let argument = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let found = find(&[
        argument("gone.csv"),
        argument("empty"),
        argument("*.parquet"),
        argument("a[.csv"),
        argument("a.csv"),
    ]);
    assert_eq!(found.files.len(), 1);
    let told: Vec<String> = found.missing.iter().map(ToString::to_string).collect();
    assert!(
        matches!(
            found.missing.as_slice(),
            [
                FilesError::Absent(_),
                FilesError::Empty { others: 1, .. },
                FilesError::Unmatched(_),
                FilesError::Pattern { .. }
            ]
        ),
        "{told:?}"
    );
    assert!(matches!(find(&[]).missing.as_slice(), [FilesError::Nothing]));
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_ends_and_a_linked_file_keeps_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["data/a.csv"]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("data/again")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("data/a.csv"), folder.path().join("data/000001.SZ.csv"))
        .unwrap();
    assert_eq!(names(folder.path(), &[""]), ["data/000001.SZ.csv", "data/a.csv"]);
}

#[test]
fn standard_input_has_no_folder() {
    let found = find(&["-".to_owned()]);
    assert_eq!(found.files[0].key, "-");
    assert!(roots(&["-".to_owned()]).is_empty());
}

#[test]
fn changes_are_awaited_where_new_files_can_appear() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["c/a.csv"]);
    let at = |name: &str| folder.path().join(name);
    let argument = |name: &str| at(name).to_str().unwrap().to_owned();
    assert_eq!(roots(&[argument("c")]), [(at("c"), true)].into());
    assert_eq!(roots(&[argument("c/a.csv"), argument("c/later.csv")]), [(at("c"), false)].into());
    assert_eq!(roots(&[argument("*/a.csv")]), [(at(""), true)].into());
}
