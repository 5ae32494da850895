//! `sqep doctor`: looks at everything that can be wrong with a pipeline and says what to do. Knows findings and how grave
//! they are; must not mend anything. Redis is looked at in [`server`], archives in [`archive`].

mod archive;
mod server;

use std::fmt;

use serde::Serialize;
use sqep::app::{Args, Exit};

use crate::{config::Config, out::say};

/// Arguments of `sqep doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Also reads every row of the archive, to count keys that are stored more than once.
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    pub(crate) common: Args,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// As it should be.
    Good,
    /// Works, and will not always.
    Warning,
    /// Something is lost, stuck or about to be.
    Error,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    /// The server, a stream, a group, a folder.
    about: String,
    what: String,
    /// Empty where nothing is to be done.
    advice: String,
}

/// Everything that was found.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, about: &str, what: impl Into<String>, advice: impl Into<String>) {
        let (about, what, advice) = (about.to_owned(), what.into(), advice.into());
        self.0.push(Finding { severity, about, what, advice });
    }

    fn good(&mut self, about: &str, what: impl Into<String>) {
        self.add(Severity::Good, about, what, "");
    }

    fn warn(&mut self, about: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, about, what, advice);
    }

    fn fail(&mut self, about: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Error, about, what, advice);
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Good => "ok     ",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR  ",
        };
        write!(f, "{word}  {}: {}", self.about, self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n         → {}", self.advice) }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'a> {
    errors: usize,
    warnings: usize,
    findings: &'a [Finding],
}

/// Exit codes: 0 nothing to do, 3 warnings, 1 errors.
pub(crate) async fn run(args: DoctorArgs, config: &Config) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    let streams = server::look(config, &mut findings).await;
    let root = config.parquet.root.clone();
    if root.as_os_str().is_empty() {
        findings.good("archive", "none is named (parquet.root): not looked at");
    } else {
        let deep = args.deep;
        findings = tokio::task::spawn_blocking(move || {
            archive::look(&root, &streams, deep, &mut findings);
            findings
        })
        .await?;
    }
    findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    if args.json {
        say(&serde_json::to_string(&Told { errors, warnings, findings: &findings.0 })?)?;
    } else {
        for finding in &findings.0 {
            say(&finding.to_string())?;
        }
        say(&format!("{errors} errors, {warnings} warnings"))?;
    }
    match (errors, warnings) {
        (0, 0) => Ok(()),
        (0, _) => Err(Exit(3).into()),
        _ => Err(Exit(1).into()),
    }
}
