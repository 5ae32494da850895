//! The section `[parquet]` of the configuration: what may be said of an archive. Must not write.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use sqep::Kind;

use crate::{ArchiveError, Options, error::io_at};

/// Where and how to write.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The archive's folder; made at the first start.
    pub root: PathBuf,
    /// Records at which a batch is full; of records wider than a day bar, such as features, as many as take its memory.
    pub records_max: usize,
    /// Seconds a batch may wait to fill.
    pub wait_s_max: u64,
    /// Effort of zstd, 1 to 22, for the files of batches. Day bars at 1 are some 5 % larger than at 3.
    pub zstd_level: i32,
    /// Effort of zstd, 1 to 22, for compacted files, which are written once and read often.
    pub compact_zstd_level: i32,
    /// Seconds a partition must have been left alone before the program compacts it; 0: never.
    pub quiet_s: u64,
    /// How features are kept: `f64`, bit for bit, or `f32`, some seven digits in half the bytes. Bars are always `f64`.
    pub floats: Floats,
}

/// How the numbers of features are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Floats {
    /// As they came.
    #[default]
    F64,
    /// Rounded to 32 bits: within 6e-8 of each number.
    F32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: PathBuf::new(),
            records_max: 500_000,
            wait_s_max: 5,
            zstd_level: 1,
            compact_zstd_level: 3,
            quiet_s: 900,
            floats: Floats::F64,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), ArchiveError> {
        let refuse = |key, value: String, rule| Err(ArchiveError::Config { key, value, rule });
        if self.root.as_os_str().is_empty() {
            return refuse("root", String::new(), "the folder of the archive, like \"/srv/bars\"");
        }
        if self.records_max == 0 {
            return refuse("records_max", self.records_max.to_string(), "1 or more");
        }
        for (key, level) in [("zstd_level", self.zstd_level), ("compact_zstd_level", self.compact_zstd_level)]
        {
            if !(1..=22).contains(&level) {
                return refuse(key, level.to_string(), "1 to 22");
            }
        }
        Ok(())
    }

    /// Whether the archive, or the folder it would be made in, can be written; writes nothing.
    pub fn check(&self) -> Result<(), ArchiveError> {
        self.validate()?;
        let there = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        access(there, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| io_at("write to", there)(error.into()))
            .and_then(|()| if there.is_dir() { Ok(()) } else { Err(not_a_folder(there)) })
    }

    /// Refuses what cannot be meant of one kind.
    pub fn validate_for(&self, kind: Kind) -> Result<(), ArchiveError> {
        self.validate()?;
        if self.floats == Floats::F32 && !kind.is_feature() {
            let (key, value) = ("floats", "f32".to_owned());
            let rule = "\"f64\": only features may be kept in 32 bits, never prices, shares or yuan";
            return Err(ArchiveError::Config { key, value, rule });
        }
        Ok(())
    }

    /// How compaction is to work.
    pub fn compaction(&self) -> Options {
        Options { zstd_level: self.compact_zstd_level, ..Options::default() }
    }

    /// How long a partition must have been left alone; `None`: the program never compacts.
    pub fn quiet(&self) -> Option<Duration> {
        (self.quiet_s > 0).then(|| Duration::from_secs(self.quiet_s))
    }
}

fn not_a_folder(path: &Path) -> ArchiveError {
    io_at("write to", path)(io::ErrorKind::NotADirectory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_by_key_and_value() {
        let good = Config { root: "/srv/bars".into(), ..Config::default() };
        assert!(good.validate().is_ok());
        let told = |config: Config| config.validate().expect_err("must be refused").to_string();
        assert!(told(Config::default()).contains("parquet.root"));
        assert!(told(Config { records_max: 0, ..good.clone() }).contains("parquet.records_max"));
        assert!(told(Config { zstd_level: 23, ..good.clone() }).contains("23"));
    }

    #[test]
    fn a_root_that_cannot_be_made_is_told_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| Config { root: folder.path().join(path), ..Config::default() };
        at("not/yet/there").check().unwrap();
        std::fs::write(folder.path().join("file"), b"in the way").unwrap();
        assert!(at("file/bars").check().unwrap_err().to_string().contains("file"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let parsed: Result<Config, _> = serde_json::from_str(r#"{"root": "/srv/bars", "rot": 1}"#);
        assert!(parsed.expect_err("unknown key").to_string().contains("rot"));
    }
}
