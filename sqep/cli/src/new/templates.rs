//! The files of a new connector. Knows the templates and their two placeholders, `{{name}}` (`my-vendor`) and `{{ident}}`
//! (`my_vendor`); must not know where they go.

use std::path::PathBuf;

use super::name::Name;

/// A file with placeholders.
#[derive(Debug)]
pub(super) struct Template {
    /// Below the connector's folder; may hold placeholders itself.
    path: &'static str,
    text: &'static str,
}

/// A file without placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Below the connector's folder.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

macro_rules! template {
    ($folder:literal, $file:literal as $path:literal) => {
        Template { path: $path, text: include_str!(concat!("../../templates/", $folder, "/", $file)) }
    };
    ($folder:literal, $file:literal) => {
        template!($folder, $file as $file)
    };
}

/// Of a producer.
pub(super) const PRODUCER: &[Template] = &[
    template!("producer", "Cargo.toml.in" as "Cargo.toml"),
    template!("producer", "config.toml" as "sqep-{{name}}.toml"),
    template!("producer", "src/lib.rs"),
    template!("producer", "src/main.rs"),
    template!("producer", "src/config.rs"),
    template!("producer", "src/row.rs"),
    template!("producer", "src/source.rs"),
    template!("producer", "tests/suite.rs"),
    template!("producer", "tests/program.rs"),
];

/// Of a consumer.
pub(super) const CONSUMER: &[Template] = &[
    template!("consumer", "Cargo.toml.in" as "Cargo.toml"),
    template!("consumer", "config.toml" as "sqep-{{name}}.toml"),
    template!("consumer", "src/lib.rs"),
    template!("consumer", "src/main.rs"),
    template!("consumer", "src/config.rs"),
    template!("consumer", "src/sink.rs"),
    template!("consumer", "tests/suite.rs"),
];

impl Template {
    /// Puts a name in.
    pub(super) fn fill(&self, name: &Name) -> Written {
        let fill = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{ident}}", &name.ident());
        Written { path: fill(self.path).into(), text: fill(self.text) }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn files(folder: &Path) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { [path].into() }).collect()
    }

    #[test]
    fn every_template_is_written_and_no_placeholder_stays() {
        let name: Name = "my-vendor".parse().unwrap();
        for (folder, templates) in [("producer", PRODUCER), ("consumer", CONSUMER)] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(folder);
            assert_eq!(files(&root).len(), templates.len(), "{folder}");
            for file in templates.iter().map(|template| template.fill(&name)) {
                assert!(!file.text.contains("{{") || !file.text.contains("}}"), "{}", file.path.display());
                assert!(!file.path.to_string_lossy().contains('{'), "{}", file.path.display());
            }
        }
    }
}
