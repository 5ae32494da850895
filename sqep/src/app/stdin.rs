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
    /// Keeps everything that `input` holds in a file of `folder` that goes by the program's name. `key` is where another
    /// folder can be set.
    pub fn of(mut input: impl Read, folder: &Path, program: &str, key: &str) -> anyhow::Result<Kept> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}; set {key}", folder.display()))?;
        let path = folder.join(format!("{program}-{}.stdin", std::process::id()));
        let mut file = File::create_new(&path)
            .with_context(|| format!("cannot keep standard input in {}; set {key}", path.display()))?;
        let kept = Kept { path };
        io::copy(&mut input, &mut file)
            .with_context(|| format!("cannot keep standard input in {}; set {key}", kept.path.display()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_there_as_long_as_it_is_held_and_nothing_of_another_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("spool");
        let kept = Kept::of(&b"a line"[..], &place, "sqep-test", "test.spool").unwrap();
        assert_eq!(fs::read(kept.path()).unwrap(), b"a line");
        let error = Kept::of(&b"x"[..], &place, "sqep-test", "test.spool").unwrap_err().to_string();
        assert!(error.contains("set test.spool"), "{error}");
        assert_eq!(fs::read(kept.path()).unwrap(), b"a line", "the one before is still there");
        drop(kept);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}
