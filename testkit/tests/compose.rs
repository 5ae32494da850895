//! `docker-compose.yml` against the published Compose schema. Knows no container engine; the Python environment that
//! `make test` sets up carries the schema.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn python() -> PathBuf {
    env::var_os("SQEP_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from)
}

/// Runs the checker over a Compose file and example configurations.
fn check(compose: &Path, configs: &[PathBuf]) -> Result<Output> {
    let python = python();
    Command::new(&python)
        .arg(root().join("testkit/python/compose.py"))
        .arg(compose)
        .args(configs)
        .output()
        .with_context(|| format!("run {}; testkit/setup.sh test makes it", python.display()))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// What the checker says of a Compose file that must not pass.
fn refusal(text: &str, configs: &[PathBuf]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("docker-compose.yml");
    fs::write(&path, text)?;
    let output = check(&path, configs)?;
    ensure!(output.status.code() == Some(1), "exit code {:?}: {}", output.status.code(), said(&output));
    Ok(said(&output))
}

fn example_configurations() -> Vec<PathBuf> {
    ["csv", "tushare", "qmt", "parquet", "clickhouse", "features"]
        .map(|name| root().join("deploy").join(format!("sqep-{name}.toml")))
        .into()
}

#[test]
fn the_compose_file_follows_the_published_schema_and_names_only_keys_that_exist() -> Result<()> {
    let output = check(&root().join("docker-compose.yml"), &example_configurations())?;
    assert!(output.status.success(), "{}", said(&output));
    Ok(())
}

#[test]
fn a_compose_file_the_schema_does_not_allow_is_refused_by_place() -> Result<()> {
    let told = refusal("services:\n  csv:\n    imagee: sqep\n", &[])?;
    assert!(told.contains("services.csv") && told.contains("imagee"), "{told}");
    Ok(())
}

#[test]
fn a_variable_that_is_no_key_is_refused_by_name() -> Result<()> {
    let text = "services:\n  csv:\n    image: sqep\n    environment:\n      SQEP__REDIS__ULR: x\n";
    let told = refusal(text, &example_configurations())?;
    assert!(told.contains("SQEP__REDIS__ULR"), "{told}");
    Ok(())
}
