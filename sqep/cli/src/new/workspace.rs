//! The checkout a connector is written into. Knows cargo's manifests; must not know what a connector is made of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use toml::{Table, Value};

/// Where the workspace must look for connectors.
const CONNECTORS: [&str; 2] = ["producers/*", "consumers/*"];

/// A checkout of this repository.
#[derive(Debug)]
pub(super) struct Workspace {
    root: PathBuf,
    members: Vec<String>,
}

impl Workspace {
    /// The checkout that a folder, there or not yet, lies in.
    pub(super) fn around(folder: &Path) -> anyhow::Result<Workspace> {
        for root in folder.ancestors() {
            let manifest = root.join("Cargo.toml");
            let Some(table) = read(&manifest)? else { continue };
            let members = members(&table);
            if CONNECTORS.iter().all(|connectors| members.iter().any(|member| member == connectors)) {
                return Ok(Workspace { root: root.to_owned(), members });
            }
        }
        bail!(
            "{} lies in no checkout of this repository (a Cargo.toml with the members {}): go there, or name a folder \
             in it with --path",
            folder.display(),
            CONNECTORS.join(" and ")
        )
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the crate of that name lies, if there is one.
    pub(super) fn place_of(&self, package: &str) -> anyhow::Result<Option<PathBuf>> {
        for folder in self.folders()? {
            let name = read(&folder.join("Cargo.toml"))?.and_then(|table| package_name(&table));
            if name.as_deref() == Some(package) {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// The folders of all members.
    fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for member in &self.members {
            let Some(parent) = member.strip_suffix("/*") else {
                folders.push(self.root.join(member));
                continue;
            };
            let parent = self.root.join(parent);
            let entries =
                fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
            for entry in entries {
                folders.push(entry?.path());
            }
        }
        Ok(folders)
    }
}

/// A manifest; `None` where there is none.
fn read(manifest: &Path) -> anyhow::Result<Option<Table>> {
    if !manifest.is_file() {
        return Ok(None);
    }
    let cannot = || format!("cannot read {}", manifest.display());
    let text = fs::read_to_string(manifest).with_context(cannot)?;
    Ok(Some(text.parse().with_context(cannot)?))
}

fn members(manifest: &Table) -> Vec<String> {
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members"));
    let texts = members.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|member| member.as_str().map(str::to_owned)).collect()
}

fn package_name(manifest: &Table) -> Option<String> {
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}
