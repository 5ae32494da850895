//! From arguments to files: paths, folders, patterns and `-`, in one stable order.
//!
//! Knows names and folders; must not open a file nor know what one holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Names that a folder is searched for, each plain or followed by one of [`PACKINGS`].
const EXTENSIONS: [&str; 3] = ["csv", "txt", "tsv"];

/// What may follow the extension of a compressed file.
const PACKINGS: [&str; 2] = ["gz", "zst"];

/// Folders below a folder that are still searched.
const DEPTH_FOLDERS_MAX: usize = 32;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the ledger and in every message: the absolute path, or `-` for standard input.
    pub key: String,
}

/// What a list of arguments stands for.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, in the order of the arguments and sorted by path within one; each once.
    pub files: Vec<Input>,
    /// Arguments that stand for nothing, and folders that could not be read.
    pub missing: Vec<FilesError>,
}

/// Why an argument stands for no file.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Neither a path nor a pattern was given.
    #[error("no path is given; name files or folders after the options, or set csv.paths")]
    Nothing,
    /// There is no such file or folder.
    #[error("{0:?}: no such file or folder")]
    Absent(PathBuf),
    /// A folder without a file that could hold rows.
    #[error(
        "folder {folder:?} holds no .csv, .txt or .tsv file (plain, .gz or .zst) among its {others} others; name the file itself if it has another extension"
    )]
    Empty {
        /// The folder.
        folder: PathBuf,
        /// Files with other names below it.
        others: usize,
    },
    /// A pattern that matches nothing.
    #[error("pattern {0:?} matches no file")]
    Unmatched(String),
    /// A pattern that is none.
    #[error("pattern {pattern:?} is not a pattern: {problem} at position {at}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong.
        problem: &'static str,
        /// Where, in characters from 0.
        at: usize,
    },
    /// A folder that does not open.
    #[error("folder {folder:?} could not be read")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl FilesError {
    /// What stands for nothing.
    pub fn name(&self) -> String {
        match self {
            FilesError::Nothing => "csv.paths".to_owned(),
            FilesError::Absent(path)
            | FilesError::Empty { folder: path, .. }
            | FilesError::Folder { folder: path, .. } => path.display().to_string(),
            FilesError::Unmatched(pattern) | FilesError::Pattern { pattern, .. } => pattern.clone(),
        }
    }
}

/// The files that `arguments` stand for. An argument that stands for none is told in [`Found::missing`] and does not
/// hold up the others.
pub fn find(arguments: &[String]) -> Found {
    let mut found = Found::default();
    if arguments.is_empty() {
        found.missing.push(FilesError::Nothing);
    }
    let mut seen = BTreeSet::new();
    for argument in arguments {
        match one(argument, &mut found.missing) {
            Ok(inputs) => {
                found.files.extend(inputs.into_iter().filter(|input| seen.insert(input.key.clone())));
            }
            Err(error) => found.missing.push(error),
        }
    }
    found
}

/// The folders in which new files of `arguments` can appear, each with whether the folders below it count too.
pub fn roots(arguments: &[String]) -> BTreeMap<PathBuf, bool> {
    let mut roots = BTreeMap::new();
    for argument in arguments.iter().filter(|argument| *argument != "-") {
        let path = PathBuf::from(argument);
        let (root, deep) = if path.is_dir() {
            (path, true)
        } else if path.exists() || !is_pattern(argument) {
            (parent(&path), false)
        } else {
            (pattern_root(&path), true)
        };
        *roots.entry(root).or_default() |= deep;
    }
    roots
}

/// Whether the name says that the file is compressed.
fn is_packed(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| is_one_of(ending, &PACKINGS))
}

fn one(argument: &str, missing: &mut Vec<FilesError>) -> Result<Vec<Input>, FilesError> {
    let path = Path::new(argument);
    if argument == "-" {
        return Ok(vec![Input { path: path.to_owned(), key: "-".to_owned() }]);
    }
    if path.is_dir() {
        return folder(path, missing);
    }
    if path.exists() || !is_pattern(argument) {
        return if path.exists() { Ok(vec![input(path)]) } else { Err(FilesError::Absent(path.to_owned())) };
    }
    pattern(argument, missing)
}

fn is_pattern(argument: &str) -> bool {
    argument.contains(['*', '?', '['])
}

fn pattern(argument: &str, missing: &mut Vec<FilesError>) -> Result<Vec<Input>, FilesError> {
    let paths = glob::glob(argument).map_err(|error| FilesError::Pattern {
        pattern: argument.to_owned(),
        problem: error.msg,
        at: error.pos,
    })?;
    let mut inputs = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_dir() => inputs.extend(folder(&path, missing)?),
            Ok(path) => inputs.push(input(&path)),
            Err(error) => {
                missing.push(FilesError::Folder { folder: error.path().to_owned(), error: error.into() });
            }
        }
    }
    if inputs.is_empty() { Err(FilesError::Unmatched(argument.to_owned())) } else { Ok(inputs) }
}

fn folder(root: &Path, missing: &mut Vec<FilesError>) -> Result<Vec<Input>, FilesError> {
    let mut walk = Walk { paths: Vec::new(), others: 0, visited: BTreeSet::new(), missing };
    walk.enter(root, 0);
    walk.paths.sort_unstable();
    if walk.paths.is_empty() {
        return Err(FilesError::Empty { folder: root.to_owned(), others: walk.others });
    }
    Ok(walk.paths.iter().map(|path| input(path)).collect())
}

struct Walk<'a> {
    paths: Vec<PathBuf>,
    others: usize,
    visited: BTreeSet<PathBuf>,
    missing: &'a mut Vec<FilesError>,
}

impl Walk<'_> {
    /// Links to folders are followed; a folder that was seen already, as in a loop of links, is not entered again.
    fn enter(&mut self, folder: &Path, depth: usize) {
        let known = folder.canonicalize().is_ok_and(|real| !self.visited.insert(real));
        if known || depth > DEPTH_FOLDERS_MAX {
            return;
        }
        let told = |error| FilesError::Folder { folder: folder.to_owned(), error };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.missing.push(told(error)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.take(&entry.path(), depth),
                Err(error) => self.missing.push(told(error)),
            }
        }
    }

    fn take(&mut self, path: &Path, depth: usize) {
        if is_hidden(path) {
            return;
        }
        if path.is_dir() {
            self.enter(path, depth + 1);
        } else if is_wanted(path) {
            self.paths.push(path.to_owned());
        } else {
            self.others += 1;
        }
    }
}

/// Half-copied files of rsync and editors, and the companions that macOS leaves on foreign disks.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_wanted(path: &Path) -> bool {
    let unpacked = if is_packed(path) { path.with_extension("") } else { path.to_owned() };
    unpacked
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| is_one_of(ending, &EXTENSIONS))
}

fn is_one_of(ending: &str, endings: &[&str]) -> bool {
    endings.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// The folder is resolved, so that a file has one name however it is reached; its own name stays as given, since a
/// dialect may read the symbol from it.
fn input(path: &Path) -> Input {
    let folder = parent(path).canonicalize();
    let path = match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    };
    // A name that is no UTF-8 is escaped, so that two of them never share a ledger entry.
    let key = path
        .to_str()
        .map_or_else(|| path.as_os_str().as_encoded_bytes().escape_ascii().to_string(), str::to_owned);
    Input { path, key }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn pattern_root(path: &Path) -> PathBuf {
    let fixed: PathBuf =
        path.components().take_while(|part| !part.as_os_str().to_str().is_some_and(is_pattern)).collect();
    if fixed == Path::new("") { PathBuf::from(".") } else { fixed }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only held against the dates of files, to distrust those of this moment"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
