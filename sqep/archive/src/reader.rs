//! The rows of an archive, folder by folder and security by security. Knows which files hold them and that they may go
//! while they are read; must not know what rows are for.
//!
//! Memory does not grow with the archive: a folder is read in slices, each some neighbouring securities of every file.
//! A slice that turns out too large is narrowed while it is read. A file that is gone was just compacted: the folder is
//! listed again and the reader goes on at the security it had reached, so that nothing is missed and nothing comes twice.

use std::{
    collections::VecDeque,
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use sqep::{Kind, Record, Row};

use crate::{
    ArchiveFile, Error, Filter, Folder,
    error::io_at,
    home::Home,
    layout,
    pages::Page,
    rows::{Sources, holds},
};

/// Bytes of the rows a block is planned to have unless it is said otherwise: some 130,000 day bars.
const BLOCK_BYTES_MAX: usize = 18 << 20;
/// Files of a folder that stay open from slice to slice; the others are opened anew for each.
const OPEN_FILES_MAX: usize = 64;
/// Times a folder is listed before whoever changes it must be in some loop.
const LISTINGS_MAX: usize = 100;

/// Which rows of a key are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Versions {
    /// That of the highest version.
    #[default]
    Current,
    /// Every version once.
    All,
}

/// Neighbouring rows of one folder, sorted by (symbol, frame, version).
#[derive(Debug, Clone, PartialEq)]
pub struct Block<R> {
    /// Where they lie.
    pub folder: Folder,
    /// The last security they may be of, by its integer: what follows in this folder is of greater ones.
    pub last: i32,
    /// The rows.
    pub rows: Vec<Row<R>>,
    /// How many rows of these keys are stored: more than are shown, where a key has several.
    pub stored: u64,
}

/// Reads the rows of one kind that a filter asks for: folders in the order of time, in each the securities in order, of
/// each its frames in order.
#[derive(Debug)]
pub struct Reader<R> {
    folders: VecDeque<(Folder, PathBuf)>,
    filter: Filter,
    versions: Versions,
    block_rows_max: usize,
    work: Option<Work>,
    sources: Sources,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Reader<R> {
    /// Opens the archive at `root`, current rows only.
    pub fn open(root: &Path, kind: Kind, filter: Filter) -> Result<Reader<R>, Error> {
        if !R::fits(kind) {
            return Err(Error::Kind { record: R::TYPE, kind });
        }
        let home = Home::new(root, kind);
        if !home.data().is_dir() {
            return Err(Error::NoArchive { root: root.to_owned(), expected: kind.table() });
        }
        let folders = layout::partitions(home.data())?.into_iter();
        let folders = folders.filter(|&(folder, _)| filter.overlaps(folder)).collect();
        Ok(Reader {
            folders,
            filter,
            versions: Versions::Current,
            block_rows_max: (BLOCK_BYTES_MAX / size_of::<Row<R>>()).max(1),
            work: None,
            sources: Sources::default(),
            record: PhantomData,
        })
    }

    /// Shows these versions instead.
    #[must_use]
    pub fn versions(mut self, versions: Versions) -> Reader<R> {
        self.versions = versions;
        self
    }

    /// Plans blocks of so many rows instead. A block is never held with more than twice as many, and what one page of one
    /// file adds, unless they are all of one security.
    #[must_use]
    pub fn block_rows_max(mut self, rows: usize) -> Reader<R> {
        self.block_rows_max = rows.max(1);
        self
    }

    /// Begins after what an earlier reader's block ended with: [`Block::folder`] and [`Block::last`].
    pub fn start_after(&mut self, folder: Folder, last: i32) -> Result<(), Error> {
        self.folders.retain(|&(found, _)| found >= folder);
        if self.folders.front().is_some_and(|&(found, _)| found == folder)
            && let Some((folder, path)) = self.folders.pop_front()
        {
            let first = last.saturating_add(1);
            self.work = Some(self.survey(folder, &path, first)?);
        }
        Ok(())
    }

    /// Folders that are not begun yet, in order.
    pub fn folders(&self) -> impl Iterator<Item = Folder> + '_ {
        self.folders.iter().map(|&(folder, _)| folder)
    }

    /// Names of the sources of the rows so far, by [`Row::source`].
    pub fn sources(&self) -> &[Arc<str>] {
        self.sources.names()
    }

    /// The next rows; `None` at the end. Never an empty block.
    #[expect(clippy::should_implement_trait, reason = "`sources` must be callable in between")]
    pub fn next(&mut self) -> Result<Option<Block<R>>, Error> {
        loop {
            let Some(work) = &mut self.work else {
                let Some((folder, path)) = self.folders.pop_front() else { return Ok(None) };
                self.work = Some(self.survey(folder, &path, i32::MIN)?);
                continue;
            };
            let Some(slice) = work.slices.pop_front() else {
                self.work = None;
                continue;
            };
            match work.read(slice, &self.filter, &mut self.sources) {
                Ok(found) if found.rows.is_empty() => {}
                Ok(found) => return Ok(Some(self.block(found))),
                Err(error) if error.is_not_found() => {
                    let found =
                        Work::survey::<R>(work.folder, &work.path, slice.0, &self.filter, work.rows_max)?;
                    if found.parts.is_empty() {
                        // Compaction leaves a file in the place of others: this was somebody else.
                        return Err(error);
                    }
                    self.work = Some(found);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn survey(&self, folder: Folder, path: &Path, first: i32) -> Result<Work, Error> {
        Work::survey::<R>(folder, path, first, &self.filter, self.block_rows_max)
    }

    fn block(&mut self, found: Found<R>) -> Block<R> {
        let Found { folder, last, mut rows } = found;
        let stored = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let names = self.sources.names();
        let name = |row: &Row<R>| names.get(usize::from(row.source));
        let key = |row: &Row<R>| (row.record.symbol(), row.record.time(), row.version);
        rows.sort_by(|one, next| key(one).cmp(&key(next)).then_with(|| name(one).cmp(&name(next))));
        // Of copies of one row the source whose name sorts first stays, as compaction has it.
        rows.dedup_by_key(|row| key(row));
        if self.versions == Versions::Current {
            keep_last(&mut rows, |row| row.record.key());
        }
        Block { folder, last, rows, stored }
    }
}

/// Of neighbours with one key keeps the last.
fn keep_last<T: Copy, K: PartialEq>(rows: &mut Vec<T>, key: impl Fn(&T) -> K) {
    rows.dedup_by(|next, kept| {
        let same = key(next) == key(kept);
        if same {
            *kept = *next;
        }
        same
    });
}

/// Securities from the first to the last, by their integers.
type Slice = (i32, i32);

/// What a slice held.
struct Found<R> {
    folder: Folder,
    last: i32,
    rows: Vec<Row<R>>,
}

/// A file and what its pages hold.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    pages: Vec<Page>,
    open: Option<ArchiveFile>,
}

/// A folder being read.
#[derive(Debug)]
struct Work {
    folder: Folder,
    path: PathBuf,
    parts: Vec<Part>,
    slices: VecDeque<Slice>,
    rows_max: usize,
}

impl Work {
    /// Looks at every file of a folder and plans the slices of the securities from `first` on.
    fn survey<R: Record>(
        folder: Folder,
        path: &Path,
        first: i32,
        filter: &Filter,
        rows_max: usize,
    ) -> Result<Work, Error> {
        let mut last_error = None;
        for _ in 0..LISTINGS_MAX {
            match parts::<R>(path) {
                Ok(parts) => {
                    let slices = slices(&parts, first, filter, rows_max);
                    return Ok(Work { folder, path: path.to_owned(), parts, slices, rows_max });
                }
                Err(error) if error.is_not_found() && path.is_dir() => last_error = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last_error.unwrap_or_else(|| io_at("list folder", path)(io::ErrorKind::NotFound.into())))
    }

    /// Reads the rows of a slice, or of as many of its first securities as fit.
    fn read<R: Record>(
        &mut self,
        (first, mut last): Slice,
        filter: &Filter,
        sources: &mut Sources,
    ) -> Result<Found<R>, Error> {
        let end = last;
        let selective = (!filter.covers(self.folder)).then_some(filter);
        let mut rows = Vec::new();
        for part in &self.parts {
            if !part.pages.iter().any(|page| page.may_hold(first, last, filter)) {
                continue;
            }
            let opened = if part.open.is_none() { Some(open::<R>(&part.path)?) } else { None };
            let Some(file) = opened.as_ref().or(part.open.as_ref()) else { continue };
            let mut columns = file.pick(&part.pages, |page| page.may_hold(first, last, filter), selective)?;
            while let Some(columns_found) = columns.next()? {
                let found = sources.rows::<R>(&columns_found, &part.path)?;
                let beyond = found.last().is_some_and(|row| row.record.symbol().get() > last);
                let fits = |row: &Row<R>| (first..=last).contains(&row.record.symbol().get());
                rows.extend(found.into_iter().filter(fits));
                while last > first && rows.len() > 2 * self.rows_max {
                    last = narrow(&mut rows, first, last);
                }
                if beyond {
                    break;
                }
            }
        }
        if last < end {
            self.slices.push_front((last + 1, end));
        }
        Ok(Found { folder: self.folder, last, rows })
    }
}

/// Lets go of the greater half of the securities; says which is the last that stays.
fn narrow<R: Record>(rows: &mut Vec<Row<R>>, first: i32, last: i32) -> i32 {
    let mut symbols: Vec<i32> = rows.iter().map(|row| row.record.symbol().get()).collect();
    let middle = symbols.len() / 2;
    let (_, &mut median, _) = symbols.select_nth_unstable(middle);
    let narrowed = (median - 1).max(first).min(last);
    rows.retain(|row| row.record.symbol().get() <= narrowed);
    narrowed
}

fn open<R: Record>(path: &Path) -> Result<ArchiveFile, Error> {
    let file = ArchiveFile::open_indexed(path)?;
    holds::<R>(&file)?;
    Ok(file)
}

/// Every file of a folder, looked at.
fn parts<R: Record>(path: &Path) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for path in listing(path)? {
        let file = open::<R>(&path)?;
        let pages = file.pages();
        let open = (parts.len() < OPEN_FILES_MAX).then_some(file);
        parts.push(Part { path, pages, open });
    }
    Ok(parts)
}

/// The files of a folder, listed until two listings agree: one that is made while a compaction swaps files may show
/// neither the old ones nor the new.
fn listing(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = layout::files(path)?;
    for _ in 0..LISTINGS_MAX {
        let again = layout::files(path)?;
        if again == found {
            break;
        }
        found = again;
    }
    Ok(found)
}

/// Cuts the securities from `first` on where their pages add up to a slice.
fn slices(parts: &[Part], first: i32, filter: &Filter, rows_max: usize) -> VecDeque<Slice> {
    let pages = parts.iter().flat_map(|part| &part.pages);
    let mut pages: Vec<&Page> = pages.filter(|page| page.may_hold(first, i32::MAX, filter)).collect();
    pages.sort_unstable_by_key(|page| page.symbols.0);
    let (mut slices, mut begin, mut rows) = (VecDeque::new(), first, 0);
    for page in &pages {
        if rows >= rows_max && page.symbols.0 > begin {
            slices.push_back((begin, page.symbols.0 - 1));
            (begin, rows) = (page.symbols.0, 0);
        }
        rows += page.rows;
    }
    if !pages.is_empty() {
        slices.push_back((begin, i32::MAX));
    }
    slices
}
