//! Compaction: the files of a partition folder become one, one row a key. Knows the order of the steps that lets it be
//! killed anywhere; must not know how rows are merged.
//!
//! The new file is written aside, made durable and put into its place before the first of its inputs goes. Whoever
//! reads meanwhile finds the old files, or both (a row twice for a moment), or the new one; killed between any two
//! steps, the next run finds the same and finishes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_schema::SchemaRef;
use sqep::Kind;
use sqep_archive::{ArchiveFile, Error, FileName, Home, Label, compaction_lock, layout, union};

use crate::{
    ArchiveError,
    clean::{COMPACT, Draft, leftovers},
    error::io_at,
    home::{found_state, sync},
    lock::Lock,
    merge::Merge,
    write::{FileWriter, Hook, Step, go_on},
};

/// Columns of inputs that are open at once; each holds a page, some 33 KB of floats.
const COLUMNS_OPEN_MAX: usize = 480;

/// How compaction works.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Effort of zstd, 1 to 22.
    pub zstd_level: i32,
    /// Files that are merged at once, fewer where records are wide; more are merged in rounds, so that memory does not
    /// grow with their number.
    pub inputs_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { zstd_level: 3, inputs_max: 32 }
    }
}

/// What became of one partition folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The folder.
    pub folder: PathBuf,
    /// Files before.
    pub files: usize,
    /// Rows before.
    pub rows_before: u64,
    /// Rows after: keys.
    pub rows_after: u64,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
}

/// A partition folder that was left as it is.
#[derive(Debug)]
pub struct Failed {
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub error: ArchiveError,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Folders that are one file now.
    pub compacted: Vec<Compacted>,
    /// Folders that were one compacted file already, or empty.
    pub left_alone: usize,
    /// Folders that could not be done; the others were done all the same.
    pub failed: Vec<Failed>,
}

impl Report {
    /// The first failure, if any; for whoever wants all or an error.
    pub fn complete(mut self) -> Result<Report, ArchiveError> {
        if self.failed.is_empty() { Ok(self) } else { Err(self.failed.swap_remove(0).error) }
    }
}

/// Compacts every partition folder of every kind below the root that is not one compacted file already.
pub fn compact_root(root: &Path, options: Options) -> Result<Report, ArchiveError> {
    compact_root_with(root, options, go_on)
}

pub(crate) fn compact_root_with(root: &Path, options: Options, hook: Hook) -> Result<Report, ArchiveError> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| root.join(kind.table()).is_dir()).collect();
    if kinds.is_empty() {
        let expected = Kind::ALL.map(Kind::table).join(" ");
        return Err(Error::NoArchive { root: root.to_owned(), expected }.into());
    }
    let mut folders = Vec::new();
    for kind in kinds {
        folders.extend(layout::folders(&root.join(kind.table()))?.into_iter().map(|folder| (kind, folder)));
    }
    run(root, &folders, options, hook)
}

/// Compacts partition folders of one kind, as [`quiet_partitions`](crate::quiet_partitions) finds them.
pub fn compact_partitions(
    root: &Path,
    kind: Kind,
    folders: &[PathBuf],
    options: Options,
) -> Result<Report, ArchiveError> {
    let folders: Vec<_> = folders.iter().map(|folder| (kind, folder.clone())).collect();
    run(root, &folders, options, go_on)
}

fn run(
    root: &Path,
    folders: &[(Kind, PathBuf)],
    options: Options,
    hook: Hook,
) -> Result<Report, ArchiveError> {
    let mut report = Report::default();
    let mut kinds: Vec<Kind> = folders.iter().map(|&(kind, _)| kind).collect();
    kinds.dedup();
    for home in kinds.iter().map(|kind| Home::new(root, *kind)) {
        found_state(&home)?;
    }
    if kinds.is_empty() {
        return Ok(report);
    }
    let _lock = Lock::take(&compaction_lock(root), "compacts this archive")?;
    for home in kinds.iter().map(|kind| Home::new(root, *kind)) {
        leftovers(home.state(), COMPACT)?;
    }
    for (kind, folder) in folders {
        match compact(&Home::new(root, *kind), *kind, folder, options, hook) {
            Ok(Some(done)) => report.compacted.push(done),
            Ok(None) => report.left_alone += 1,
            Err(error) => report.failed.push(Failed { folder: folder.clone(), error }),
        }
    }
    Ok(report)
}

/// Whether a folder has anything to gain.
pub(crate) fn is_done(files: &[(FileName, PathBuf)]) -> bool {
    matches!(files, [] | [(FileName::Compact { .. }, _)])
}

fn compact(
    home: &Home,
    kind: Kind,
    folder: &Path,
    options: Options,
    hook: Hook,
) -> Result<Option<Compacted>, ArchiveError> {
    let inputs = layout::named_files(folder)?;
    if is_done(&inputs) {
        return Ok(None);
    }
    let target = folder.join(FileName::compacted(inputs.iter().map(|(name, _)| name)).to_string());
    let inputs: Vec<PathBuf> = inputs.into_iter().map(|(_, path)| path).collect();
    let survey = Survey::of(&inputs, kind)?;
    let bytes_before = bytes(&inputs)?;
    let draft = |number: usize| Draft::new(home.state().join(format!("{COMPACT}{number}.tmp")));
    let mut rounds = Rounds { survey: &survey, options, drafts: 0, draft: &draft };
    let (few, _drafts) = rounds.reduce(inputs.clone())?;
    let writer = rounds.merge(&few)?;
    let rows_after = writer.rows();
    writer.place(&target, hook)?;
    prove(&target, rows_after)?;
    for input in inputs.iter().filter(|&input| *input != target) {
        fs::remove_file(input).map_err(io_at("remove compacted input", input))?;
        hook(Step::Unlinked);
    }
    sync(folder)?;
    let bytes_after = bytes(std::slice::from_ref(&target))?;
    let (files, rows_before) = (inputs.len(), survey.rows);
    Ok(Some(Compacted {
        folder: folder.to_owned(),
        files,
        rows_before,
        rows_after,
        bytes_before,
        bytes_after,
    }))
}

/// Nothing goes before what replaces it has been read back.
fn prove(target: &Path, rows: u64) -> Result<(), ArchiveError> {
    let found = ArchiveFile::open(target)?.rows;
    if found == rows {
        return Ok(());
    }
    Err(ArchiveError::Columns(format!("{} has {found} rows, {rows} were written", target.display())))
}

fn bytes(paths: &[PathBuf]) -> Result<u64, ArchiveError> {
    paths.iter().map(|path| Ok(fs::metadata(path).map_err(io_at("look at", path))?.len())).sum()
}

/// What the inputs have in common.
struct Survey {
    label: Label,
    schema: SchemaRef,
    rows: u64,
}

impl Survey {
    fn of(inputs: &[PathBuf], kind: Kind) -> Result<Survey, ArchiveError> {
        let mut common: Option<Survey> = None;
        for path in inputs {
            let file = ArchiveFile::open(path)?;
            let before = common.as_ref().map(|survey| survey.label.clone());
            agree(&file, kind, before.as_ref())?;
            common = Some(match common {
                None => Survey { label: file.label, schema: file.schema, rows: file.rows },
                Some(survey) => {
                    let schema = union(&survey.schema, &file)?;
                    Survey { schema, rows: survey.rows + file.rows, ..survey }
                }
            });
        }
        common.ok_or_else(|| ArchiveError::Columns("no inputs".into()))
    }
}

fn agree(file: &ArchiveFile, kind: Kind, before: Option<&Label>) -> Result<(), ArchiveError> {
    let foreign = |why| Err(Error::Foreign { path: file.path.clone(), why }.into());
    if file.label.kind != kind.name() {
        return foreign(format!("it holds {}, its folder {kind}", file.label.kind));
    }
    match before {
        Some(before) if before.record != file.label.record => {
            foreign(format!("it holds {}, its neighbours {}", file.label.record, before.record))
        }
        _ => Ok(()),
    }
}

/// Merging in rounds of a few files, since each open file costs memory.
struct Rounds<'a> {
    survey: &'a Survey,
    options: Options,
    drafts: usize,
    draft: &'a dyn Fn(usize) -> Draft,
}

impl Rounds<'_> {
    /// Merges groups of files, in order, until few enough are left. The drafts among them live as long as the second
    /// value.
    fn reduce(&mut self, mut files: Vec<PathBuf>) -> Result<(Vec<PathBuf>, Vec<Draft>), ArchiveError> {
        let columns = self.survey.schema.fields().len().max(1);
        let inputs_max = self.options.inputs_max.min(COLUMNS_OPEN_MAX / columns).max(2);
        let mut drafts = Vec::new();
        while files.len() > inputs_max {
            let mut merged = Vec::new();
            for group in files.chunks(inputs_max) {
                merged.push(self.merge(group)?.close()?);
            }
            files = merged.iter().map(|draft| draft.path().to_owned()).collect();
            drafts = merged;
        }
        Ok((files, drafts))
    }

    fn merge(&mut self, files: &[PathBuf]) -> Result<FileWriter, ArchiveError> {
        let Survey { label, schema, .. } = self.survey;
        self.drafts += 1;
        let mut writer =
            FileWriter::create((self.draft)(self.drafts), schema, label, self.options.zstd_level)?;
        let files = files.iter().map(|path| ArchiveFile::open(path)).collect::<Result<_, _>>()?;
        let mut merge = Merge::new(files, &Arc::clone(schema))?;
        while let Some(rows) = merge.next()? {
            writer.write(&rows)?;
        }
        Ok(writer)
    }
}
