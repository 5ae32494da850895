//! `make install` into a folder: everything in its place, every unit as systemd wants it, and one of them through its
//! life under a systemd of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sqep_testkit::programs::program;
use tempfile::TempDir;

/// `systemd-analyze security` in tenths: 2.0.
const EXPOSURE_MAX: &str = "20";
/// What `scenario.sh` shows, one line each.
const STEPS: usize = 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Installs the programs that were built beside this test.
fn install(variables: &[(&str, &Path)]) {
    let programs = program("sqep").expect("built");
    let mut make = Command::new("make");
    make.arg("-s").arg("-C").arg(root()).arg("install");
    make.arg(format!("BINARIES={}", programs.parent().expect("folder").display()));
    // What a `make test` around this test was told is not meant for it.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    for (name, value) in variables {
        make.arg(format!("{name}={}", value.display()));
    }
    let output = make.output().expect("make");
    assert!(output.status.success(), "{}", said(&output));
}

/// Names of the files of a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("entry"))).collect();
    names.sort_unstable();
    names
}

fn run(name: &str, arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(name).args(arguments).current_dir(folder).output();
    output.unwrap_or_else(|error| panic!("{name}: {error}; testkit/setup.sh test installs it"))
}

#[test]
fn everything_is_put_in_place_and_what_the_operator_changed_stays() {
    let folder = tempfile::tempdir().expect("folder");
    install(&[("DESTDIR", folder.path())]);
    assert_eq!(
        files(&folder.path().join("usr/local/bin")),
        ["sqep", "sqep-clickhouse", "sqep-csv", "sqep-features", "sqep-parquet", "sqep-qmt", "sqep-tushare"]
    );
    assert_eq!(
        files(&folder.path().join("etc/sqep")),
        ["clickhouse.toml", "csv.toml", "features.toml", "parquet.toml", "qmt.toml", "tushare.toml"]
    );
    let sources = files(&root().join("deploy/systemd"));
    let units = files(&folder.path().join("usr/local/lib/systemd/system"));
    let is_unit = |name: &&String| name.contains("@.");
    assert_eq!(units, sources.iter().filter(is_unit).cloned().collect::<Vec<_>>());
    for place in ["sysusers.d/sqep.conf", "tmpfiles.d/sqep.conf"] {
        assert!(folder.path().join("usr/local/lib").join(place).is_file(), "{place}");
    }
    let share = folder.path().join("usr/local/share/sqep");
    for place in ["sqep-csv.toml", "prometheus/sqep.rules.yml", "grafana/sqep.json"] {
        assert!(share.join(place).is_file(), "{place}");
    }

    let theirs = folder.path().join("etc/sqep/csv.toml");
    fs::write(&theirs, "[csv]\ndialect = \"wind\"\n").expect("writes");
    install(&[("DESTDIR", folder.path())]);
    assert_eq!(fs::read_to_string(&theirs).expect("reads"), "[csv]\ndialect = \"wind\"\n");
}

/// Units installed where they will be, so that the programs they name are there; templates as instances.
fn instances() -> (TempDir, PathBuf, Vec<String>) {
    let folder = tempfile::tempdir().expect("folder");
    let (prefix, etc) = (folder.path().join("usr"), folder.path().join("etc"));
    install(&[("PREFIX", &prefix), ("SYSCONFDIR", &etc)]);
    let units = prefix.join("lib/systemd/system");
    let mut names = Vec::new();
    for template in files(&units) {
        let instance = template.replace("@.", "@x.");
        fs::copy(units.join(&template), units.join(&instance)).expect("copies");
        names.push(instance);
    }
    assert!(names.len() >= 6, "{names:?}");
    (folder, units, names)
}

#[test]
fn systemd_has_nothing_to_say_against_any_unit() {
    let (_folder, units, names) = instances();
    for name in &names {
        let output = run("systemd-analyze", &["verify", &format!("./{name}")], &units);
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {}", said(&output));
    }
    let first = names.iter().find(|name| name.ends_with(".service")).expect("a service");
    let text = fs::read_to_string(units.join(first)).expect("reads").replace("Type=", "Tpye=");
    fs::write(units.join(first), text).expect("writes");
    let output = run("systemd-analyze", &["verify", &format!("./{first}")], &units);
    assert!(!output.stderr.is_empty(), "a mistake is seen");
}

#[test]
fn every_service_is_confined_and_restarted_for_ever() {
    let (_folder, units, names) = instances();
    let mut texts = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".service")) {
        let limit = format!("--threshold={EXPOSURE_MAX}");
        let output =
            run("systemd-analyze", &["security", "--offline=true", &limit, &format!("./{name}")], &units);
        assert!(output.status.success(), "{name}: {}", said(&output).lines().last().unwrap_or_default());
        let text = fs::read_to_string(units.join(name)).expect("reads");
        // What a timer starts comes to its end; everything else runs for years.
        let timer = name.replace(".service", ".timer");
        let lines = if names.contains(&timer) {
            &["Type=oneshot"][..]
        } else {
            &["Type=notify", "StartLimitIntervalSec=0", "Restart=on-failure", "WatchdogSec="]
        };
        for line in lines {
            let set = |text: &str| text.starts_with(line) && (line.ends_with('=') || text == *line);
            assert!(text.lines().any(set), "{name}: {line}");
        }
        texts.push(text);
    }
    for program in files(&units.join("../../../bin")) {
        let start = format!("/bin/{program} ");
        assert!(texts.iter().any(|text| text.contains(&start)), "{program} has no service");
    }
}

/// Start, crash, watchdog, password, compaction, trimming, stop and a wrong configuration, with the real units, users
/// and example configurations. Needs root. Only where the kernel permits no namespaces one has to be content with what
/// `notify.rs` shows of what a manager would hear.
#[test]
fn the_units_live_their_lives_under_a_real_systemd() {
    let folder = tempfile::tempdir().expect("folder");
    let root_of_units = folder.path().join("root");
    install(&[("DESTDIR", &root_of_units)]);
    let hung = program("sqep-hung").expect("built");
    fs::copy(hung, root_of_units.join("usr/local/bin/sqep-hung")).expect("copies");
    let scripts = root().join("testkit/systemd");
    let output = Command::new(scripts.join("private.sh"))
        .arg(folder.path())
        .arg(scripts.join("scenario.sh"))
        .output()
        .expect("bash");
    let heard =
        ["said", "console"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap_or_default());
    match output.status.code() {
        Some(77) => println!("NOT RUN: {}", said(&output)),
        code => assert_eq!(code, Some(0), "{}\n{}", said(&output), heard.concat()),
    }
    if output.status.success() {
        let last = heard[0].lines().last();
        assert_eq!(last, Some("ok: a wrong configuration fails at once"), "{}", heard[0]);
        assert_eq!(heard[0].lines().filter(|line| line.starts_with("ok: ")).count(), STEPS, "{}", heard[0]);
    }
}
