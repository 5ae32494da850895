//! The example configurations of `deploy/` against the programs they are for: every key with its default, none that is
//! not there. Knows how an example is written; the programs are asked what they take.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sqep_testkit::programs::program;
use toml::{Table, Value};

/// Keys whose examples show another value than the default: a place, or what must be said once.
const SHOWN: [&str; 5] = ["http.listen", "csv.paths", "reader.group", "reader.start", "parquet.root"];

/// Sections that a program reads and another's example explains.
const ELSEWHERE: [(&str, &str, &str); 3] =
    [("sqep", "csv", "sqep-csv"), ("sqep", "symbol", "sqep-csv"), ("sqep", "calendar", "sqep-parquet")];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Programs that have an example.
fn programs() -> Vec<String> {
    let entries = fs::read_dir(deploy()).expect("deploy").map(|entry| entry.expect("entry").path());
    let examples = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut names: Vec<String> =
        examples.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    names
}

/// Runs a program with nothing but the words.
fn run(name: &str, words: &[&str]) -> Output {
    let mut command = Command::new(program(name).expect("built"));
    if name == "sqep" {
        command.arg("status");
    }
    command.args(words).env_clear().output().expect("runs")
}

/// What a program would work with, as `section.key` and value.
fn works_with(name: &str, words: &[&str]) -> BTreeMap<String, Value> {
    let output = run(name, &[words, &["--print-config"]].concat());
    assert!(output.status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    flat(toml::from_str(&String::from_utf8(output.stdout).expect("text")).expect("TOML"))
}

fn flat(table: Table) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    for (section, value) in table {
        let Value::Table(values) = value else { panic!("{section} is no section") };
        keys.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
    }
    keys
}

/// Names that a program says it knows when it is told one that it does not; none of a section that it passes over.
fn expected(name: &str, key: &str) -> BTreeSet<String> {
    let output = run(name, &["--set", &format!("{key}=1"), "--print-config"]);
    if output.status.success() {
        return BTreeSet::new();
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let names = told.split_once("expected ").expect("names").1;
    let names = names.split(" for key").next().unwrap_or_default();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every key a program takes, also those without a default.
fn keys(name: &str) -> BTreeSet<String> {
    let elsewhere = |section: &String| ELSEWHERE.iter().any(|(who, what, _)| who == &name && what == section);
    let sections = expected(name, "nothing.at_all").into_iter().filter(|section| !elsewhere(section));
    let of = |section: String| {
        let known = expected(name, &format!("{section}.no_such_key"));
        known.into_iter().map(move |key| format!("{section}.{key}"))
    };
    sections.flat_map(of).collect()
}

/// An example's keys: those that are set, and those that stand behind a `#`.
fn example(name: &str) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
    let text = fs::read_to_string(deploy().join(format!("{name}.toml"))).expect("example");
    let commented = |line: &str| line.strip_prefix("# ").filter(|key| is_assignment(key)).map(str::to_owned);
    let set = |line: &str| (!line.starts_with('#')).then(|| line.to_owned());
    let part = |take: &dyn Fn(&str) -> Option<String>| {
        let lines = text
            .lines()
            .filter_map(|line| if line.starts_with('[') { Some(line.to_owned()) } else { take(line) });
        let text: Vec<String> = lines.collect();
        flat(toml::from_str(&text.join("\n")).unwrap_or_else(|error| panic!("{name}.toml: {error}")))
    };
    (part(&set), part(&commented))
}

/// `key = value`, where the value is one of TOML's: words about a key are none.
fn is_assignment(text: &str) -> bool {
    let key = |(key, _): (&str, &str)| {
        key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split_once(" = ").is_some_and(key) && toml::from_str::<Table>(text).is_ok()
}

#[test]
fn every_example_is_taken_by_its_program_as_it_lies() {
    let names = programs();
    assert!(names.iter().any(|name| name == "sqep"), "{names:?}");
    for name in names {
        let path = deploy().join(format!("{name}.toml")).display().to_string();
        let works = works_with(&name, &["--config", &path]);
        for (key, value) in example(&name).0 {
            assert_eq!(works.get(&key), Some(&value), "{name}.toml: {key}");
        }
    }
}

#[test]
fn every_key_of_a_program_stands_in_its_example_and_no_other() {
    for name in programs() {
        let (set, commented) = example(&name);
        let stated: BTreeSet<String> = set.keys().chain(commented.keys()).cloned().collect();
        let known = keys(&name);
        assert!(known.len() > 20, "{name} says what it knows: {known:?}");
        let missing: Vec<_> = known.difference(&stated).collect();
        let unknown: Vec<_> = stated.difference(&known).collect();
        assert!(missing.is_empty(), "deploy/{name}.toml lacks {missing:?}");
        assert!(unknown.is_empty(), "deploy/{name}.toml has {unknown:?}, which {name} does not take");
        assert!(set.keys().all(|key| !commented.contains_key(key)), "deploy/{name}.toml says a key twice");
    }
}

#[test]
fn every_value_of_an_example_is_the_default() {
    for name in programs() {
        let (set, commented) = example(&name);
        let defaults = works_with(&name, &[]);
        for (key, value) in set.iter().filter(|(key, _)| !SHOWN.contains(&key.as_str())) {
            assert_eq!(
                defaults.get(key),
                Some(value),
                "deploy/{name}.toml: {key}; without a default: behind #"
            );
        }
        for (key, value) in &commented {
            assert!(defaults.get(key).is_none_or(|default| default == value), "deploy/{name}.toml: # {key}");
        }
    }
}

#[test]
fn a_section_that_is_explained_elsewhere_is_explained_there() {
    for (who, section, by) in ELSEWHERE {
        let text = fs::read_to_string(deploy().join(format!("{who}.toml"))).expect("example");
        assert!(
            text.contains(&format!("[{section}]")) && text.contains(&format!("{by}.toml")),
            "{who}: {section}"
        );
        let (set, commented) = example(by);
        assert!(
            set.keys().chain(commented.keys()).any(|key| key.starts_with(&format!("{section}."))),
            "{section}"
        );
    }
}

#[test]
fn the_operators_tool_takes_the_file_of_every_program() {
    for name in programs() {
        let path = deploy().join(format!("{name}.toml"));
        let output = run("sqep", &["--config", path.to_str().expect("text"), "--print-config"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn one_shell_holds_variables_for_every_program_and_none_that_is_nobodys() {
    for name in programs() {
        let with = |variable: &str| {
            let mut command = Command::new(program(&name).expect("built"));
            if name == "sqep" {
                command.arg("status");
            }
            command.arg("--print-config").env_clear().env(variable, "1").output().expect("runs")
        };
        for section in programs().iter().flat_map(|name| expected(name, "nothing.at_all")) {
            let output = with(&format!("SQEP__{}__NO_SUCH_KEY", section.to_uppercase()));
            let has = expected(&name, "nothing.at_all").contains(&section);
            let refused = !expected(&name, &format!("{section}.no_such_key")).is_empty();
            let (success, told) = (output.status.success(), String::from_utf8_lossy(&output.stderr));
            assert_eq!(success, !(has && refused), "{name}, {section}: {told}");
        }
        assert!(!with("SQEP__REDSI__URL").status.success(), "{name}: a section that no program has");
    }
}
