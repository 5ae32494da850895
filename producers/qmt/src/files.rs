//! Which files of QMT's and TDX's folders hold bars, and of what. Knows names and folders; must not open a file.
//!
//! `datadir/{SH|SZ|BJ}/{60|300|86400}/CODE.DAT` and `vipdoc/{sh|sz|bj}/{lday|minline|fzline}/{sh|sz|bj}CODE.{day|lc1|lc5}`,
//! in either case: the folders travel between Windows and Linux. Ticks, futures and everything else there is passed over.
//! Links are followed; what two of them lead to is one file, and a circle of them ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use chrono::NaiveDateTime;
use sqep::{Exchange, Symbol, shanghai, symbol::Class};
use tracing::warn;

use crate::format::Format;

/// Folders below the one that is named.
const DEPTH_FOLDERS_MAX: usize = 8;

/// A file of bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Whose bars.
    pub symbol: Symbol,
    /// In which form.
    pub format: Format,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970 at which it was changed last.
    pub changed_ns: u64,
}

impl Input {
    /// When it was written last, by the wall clock of Asia/Shanghai: nothing in it can know more than that moment did.
    pub fn written(&self) -> NaiveDateTime {
        let ms = i64::try_from(self.changed_ns / 1_000_000).unwrap_or(i64::MAX);
        shanghai::wall(ms).unwrap_or(NaiveDateTime::MIN)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files by security.
    pub files: BTreeMap<Symbol, Input>,
    /// Files of securities that SQEP does not carry: B shares, bonds and codes of no known range.
    pub passed_over: usize,
    /// Folders and files that could not be looked at.
    pub failed: Vec<FilesError>,
}

/// Why a path could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be looked at", path.display())]
pub struct FilesError {
    /// The path.
    path: PathBuf,
    /// Why.
    #[source]
    error: io::Error,
}

/// Looks for files of a form below the paths; `wanted` empty means every security. A path may also be such a file.
pub fn find(paths: &[String], format: Format, wanted: &BTreeSet<Symbol>) -> Found {
    let mut found = Found::default();
    let mut walk = Walk { format, wanted, found: &mut found, seen: HashSet::new() };
    for path in paths {
        walk.enter(Path::new(path), 0);
    }
    found
}

struct Walk<'a> {
    format: Format,
    wanted: &'a BTreeSet<Symbol>,
    found: &'a mut Found,
    /// Device and number of folders that were entered and, by security, of files that were taken.
    seen: HashSet<(u64, u64, Option<Symbol>)>,
}

impl Walk<'_> {
    fn enter(&mut self, path: &Path, depth: usize) {
        let told = |error| FilesError { path: path.to_owned(), error };
        match fs::metadata(path) {
            Ok(data) if data.is_dir() && depth <= DEPTH_FOLDERS_MAX => {
                if !self.seen.insert((data.dev(), data.ino(), None)) {
                    return;
                }
                match sorted(path) {
                    Ok(entries) => entries.iter().for_each(|entry| self.enter(entry, depth + 1)),
                    Err(error) => self.found.failed.push(told(error)),
                }
            }
            Ok(data) if data.is_file() => self.take(path, &data),
            Ok(_) => {}
            // What was there a moment ago is gone: only a link to nothing is worth a word.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {}
            Err(error) => self.found.failed.push(told(error)),
        }
    }

    fn take(&mut self, path: &Path, data: &fs::Metadata) {
        let Some(symbol) = symbol_of(path, self.format) else { return };
        if !self.wanted.is_empty() && !self.wanted.contains(&symbol) {
            return;
        }
        if matches!(symbol.class(), Class::BShare | Class::Bond | Class::Other) {
            self.found.passed_over += 1;
            return;
        }
        if !self.seen.insert((data.dev(), data.ino(), Some(symbol))) {
            return;
        }
        let changed = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed_ns = changed.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        let input =
            Input { path: path.to_owned(), symbol, format: self.format, size: data.len(), changed_ns };
        match self.found.files.get(&symbol) {
            // Two names of one file, as a copy between systems leaves them: the one with more in it counts.
            Some(other) if other.path != input.path => {
                let (kept, left) = if (other.size, &other.path) >= (input.size, &input.path) {
                    (other.clone(), input)
                } else {
                    (input, other.clone())
                };
                warn!(
                    "{} and {} are both {symbol}: the larger is read",
                    left.path.display(),
                    kept.path.display()
                );
                self.found.files.insert(symbol, kept);
            }
            _ => drop(self.found.files.insert(symbol, input)),
        }
    }
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}

/// The security of a file of this form; `None`: it is none.
fn symbol_of(path: &Path, format: Format) -> Option<Symbol> {
    let stem = path.file_stem()?.to_str()?;
    let extension = path.extension()?.to_str()?;
    let named = |name: &str| extension.eq_ignore_ascii_case(name);
    match format {
        Format::Dat(seconds) => {
            let mut folders = path.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
            let (span, market) = (folders.next()?, folders.next()?);
            // Only the short names are folders of QMT.
            let exchange =
                Exchange::ALL.into_iter().find(|known| known.suffix().eq_ignore_ascii_case(market))?;
            let code = stem.len() == 6 && stem.bytes().all(|byte| byte.is_ascii_digit());
            (named("dat") && span.parse() == Ok(seconds) && code).then_some(())?;
            Symbol::new(exchange, stem.parse().ok()?)
        }
        Format::TdxDay => named("day").then(|| stem.parse().ok())?,
        Format::TdxMinute(1) => named("lc1").then(|| stem.parse().ok())?,
        Format::TdxMinute(_) => named("lc5").then(|| stem.parse().ok())?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders_say_what_a_file_is() {
        let of = |path: &str, format| symbol_of(Path::new(path), format).map(|symbol| symbol.to_string());
        let dat = Format::Dat(86_400);
        for (path, format, symbol) in [
            ("d/SH/86400/600000.DAT", dat, Some("600000.SH")),
            ("d/sz/86400/000001.dat", dat, Some("000001.SZ")),
            ("d/BJ/86400/920002.Dat", dat, Some("920002.BJ")),
            ("d/SH/60/600000.DAT", dat, None),
            ("d/SF/86400/600000.DAT", dat, None),
            ("d/SH/0/600000/20250102.dat", dat, None),
            ("d/SH/86400/600000.DAT.tmp", dat, None),
            ("d/SH/86400/6000001.DAT", dat, None),
            ("v/sh/lday/sh600000.day", Format::TdxDay, Some("600000.SH")),
            ("v/SZ/LDAY/SZ000001.DAY", Format::TdxDay, Some("000001.SZ")),
            ("v/ds/lday/74#AAPL.day", Format::TdxDay, None),
            ("v/sh/minline/sh688001.lc1", Format::TdxMinute(1), Some("688001.SH")),
            ("v/sh/fzline/sh510300.lc5", Format::TdxMinute(5), Some("510300.SH")),
            ("v/sh/fzline/sh510300.lc5", Format::TdxMinute(1), None),
        ] {
            assert_eq!(of(path, format).as_deref(), symbol, "{path}");
        }
    }
}
