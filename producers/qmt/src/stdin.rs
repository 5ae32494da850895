//! Standard input as a file: it comes only once, and a source may have to read again. Knows one temporary file; must not
//! know what is in it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// What came by standard input; removed when dropped.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
}

impl Kept {
    /// Keeps everything that `input` holds in the system's folder for temporary files.
    pub fn of(mut input: impl Read) -> anyhow::Result<Kept> {
        let path = std::env::temp_dir().join(format!("sqep-qmt-{}.ndjson", std::process::id()));
        let kept = Kept { path };
        let written = File::create_new(&kept.path).and_then(|mut file| io::copy(&mut input, &mut file));
        written
            .with_context(|| format!("cannot keep standard input in {}; set TMPDIR", kept.path.display()))?;
        Ok(kept)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "what came by standard input stays behind");
        }
    }
}
