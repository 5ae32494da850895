//! `sqep new`: a connector of one's own that compiles, passes its suite and runs in the demo. Knows the order of things;
//! must not know what a template holds nor which names there are.

mod name;
mod templates;
mod workspace;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use sqep::app::Usage;
use tracing::info;

use self::{name::Name, templates::Written, workspace::Workspace};
use crate::out::say;

/// Arguments of `sqep new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// What it is.
    #[arg(value_enum)]
    connector: Connector,
    /// Its short name, such as acme: crate and program are called sqep-acme, its section of the configuration [acme].
    name: String,
    /// Its folder, directly below `producers/` or `consumers/` of a checkout of this repository. By default it is named
    /// like the connector, in the checkout around the current folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

/// The two ends of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Connector {
    /// Publishes a vendor's bars.
    Producer,
    /// Delivers bars to a store.
    Consumer,
}

impl Connector {
    /// The folder that holds all of them.
    fn folder(self) -> &'static str {
        match self {
            Connector::Producer => "producers",
            Connector::Consumer => "consumers",
        }
    }

    fn templates(self) -> &'static [templates::Template] {
        match self {
            Connector::Producer => templates::PRODUCER,
            Connector::Consumer => templates::CONSUMER,
        }
    }

    /// The files to change first, and the one that says how it is run.
    fn next_steps(self, folder: &str, name: &Name) -> Vec<String> {
        let package = name.package();
        let (first, then, option) = match self {
            Connector::Producer => (
                "src/row.rs      what a line of your vendor means",
                "src/source.rs   where its rows come from",
                "--producer",
            ),
            Connector::Consumer => (
                "src/sink.rs     how a batch becomes durable",
                "src/config.rs   what your store has to be told",
                "--consumer",
            ),
        };
        vec![
            format!("cargo test -p {package}                it passes its suite as it is"),
            format!("sqep demo {option} {package}    it moves a market (cargo build --workspace first)"),
            format!("{folder}/{first}"),
            format!("{folder}/{then}"),
            format!("{folder}/tests/suite.rs  your vendor or store in the suite"),
            "CONTRIBUTING.md walks through it".to_owned(),
        ]
    }
}

pub(crate) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let (plan, workspace) = plan(args).map_err(Usage)?;
    if args.common.check {
        info!("{} can be written to {}", plan.name.package(), plan.folder.display());
        return Ok(());
    }
    let written = plan.write()?;
    let shown = |path: &Path| path.strip_prefix(workspace.root()).unwrap_or(path).display().to_string();
    for path in &written {
        say(&shown(path))?;
    }
    say("next")?;
    for step in args.connector.next_steps(&shown(&plan.folder), &plan.name) {
        say(&format!("  {step}"))?;
    }
    Ok(())
}

/// A connector that may be written.
struct Plan {
    name: Name,
    folder: PathBuf,
    files: Vec<Written>,
}

/// Checks everything before anything is written.
fn plan(args: &NewArgs) -> anyhow::Result<(Plan, Workspace)> {
    let name: Name = args.name.parse()?;
    let here = env::current_dir().context("cannot tell the current folder")?;
    let path = args.path.as_ref().map(|path| here.join(path));
    let workspace = Workspace::around(path.as_deref().unwrap_or(&here))?;
    if let Some(place) = workspace.place_of(&name.package())? {
        bail!("{} exists already, at {}: choose another name", name.package(), place.display());
    }
    let all = workspace.root().join(args.connector.folder());
    let folder = path.unwrap_or_else(|| all.join(name.as_str()));
    if folder.parent() != Some(&all) {
        bail!(
            "--path {} is not directly below {}, where the workspace looks for it",
            folder.display(),
            all.display()
        );
    }
    if folder.exists() {
        bail!("{} is there already, and nothing is overwritten: name another --path", folder.display());
    }
    let files = args.connector.templates().iter().map(|template| template.fill(&name)).collect();
    Ok((Plan { name, folder, files }, workspace))
}

impl Plan {
    /// Writes all files, or none.
    fn write(&self) -> anyhow::Result<Vec<PathBuf>> {
        fs::create_dir(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let written = self.files.iter().map(|file| self.put(file)).collect();
        if let Err(error) = &written {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("{} stays behind half written: {error:#}", self.folder.display()))?;
        }
        written
    }

    fn put(&self, file: &Written) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(&file.path);
        let folder = path.parent().ok_or_else(|| anyhow!("{} has no folder", path.display()))?;
        let put = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            fs::write(&path, &file.text)
        };
        put().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
