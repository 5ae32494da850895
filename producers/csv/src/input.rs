//! From a path or standard input to plain bytes. Knows gzip, zstd, byte order marks and spooling; must not know rows.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;

use crate::lines::Lines;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Limits of reading.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// A text up to this size is held in memory, a larger one passes through twice.
    pub(crate) memory_bytes_max: u64,
    /// The longest line.
    pub(crate) line_bytes_max: usize,
    /// Where standard input goes when it is too large for memory.
    pub(crate) spool_dir: PathBuf,
    /// Counts the bytes of the input read in the pass at work.
    pub(crate) consumed: Arc<AtomicU64>,
}

/// A text that can be read more than once.
pub(crate) struct Input {
    from: From,
    limits: Limits,
    size: u64,
}

enum From {
    /// Held in memory, decompressed; taken once.
    Memory(Vec<u8>),
    File(PathBuf),
    /// A file without a name that holds what came by standard input.
    Spool(File),
}

impl Input {
    /// Takes up a file, or standard input for `-`.
    pub(crate) fn open(path: &Path, limits: Limits) -> io::Result<Input> {
        if path == Path::new("-") {
            return Input::of_stream(io::stdin(), limits);
        }
        let size = fs::metadata(path)?.len();
        let plain = plain(Box::new(File::open(path)?), &limits.consumed)?;
        let from = match within(plain, limits.memory_bytes_max)? {
            Held::Whole(text) => From::Memory(text),
            Held::Part(..) => From::File(path.to_owned()),
        };
        Ok(Input { from, limits, size })
    }

    /// Takes up a stream that comes only once.
    pub(crate) fn of_stream(stream: impl Read + Send + 'static, limits: Limits) -> io::Result<Input> {
        let (from, size) = match within(Box::new(stream), limits.memory_bytes_max)? {
            Held::Whole(bytes) => {
                let size = bytes.len();
                let plain = plain(Box::new(Cursor::new(bytes)), &limits.consumed)?;
                match within(plain, limits.memory_bytes_max)? {
                    Held::Whole(text) => (From::Memory(text), u64::try_from(size).unwrap_or(u64::MAX)),
                    Held::Part(text, rest) => spool(text, rest, &limits.spool_dir)?,
                }
            }
            Held::Part(bytes, rest) => spool(bytes, rest, &limits.spool_dir)?,
        };
        Ok(Input { from, limits, size })
    }

    /// Whether the text is held in memory.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.from, From::Memory(_))
    }

    /// The text from its first line on, without a byte order mark. A text in memory is given away.
    pub(crate) fn lines(&mut self) -> io::Result<Lines> {
        self.limits.consumed.store(0, Ordering::Relaxed);
        let max = self.limits.line_bytes_max;
        let mut lines = match &mut self.from {
            From::Memory(text) => Lines::of(std::mem::take(text), max),
            From::File(path) => Lines::from(plain(Box::new(File::open(path)?), &self.limits.consumed)?, max),
            From::Spool(file) => {
                file.seek(SeekFrom::Start(0))?;
                Lines::from(plain(Box::new(file.try_clone()?), &self.limits.consumed)?, max)
            }
        };
        let head = lines.peek()?;
        if head.starts_with(&UTF8_MARK) {
            lines.skip_bytes(UTF8_MARK.len());
        }
        Ok(lines)
    }

    /// Bytes of the input as it lies there, compressed or not.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of it read so far in this pass.
    pub(crate) fn consumed(&self) -> u64 {
        self.limits.consumed.load(Ordering::Relaxed)
    }
}

/// What fits into memory.
enum Held {
    Whole(Vec<u8>),
    /// What was read, and the rest.
    Part(Vec<u8>, Box<dyn Read + Send>),
}

fn within(mut reader: Box<dyn Read + Send>, bytes_max: u64) -> io::Result<Held> {
    let mut text = Vec::new();
    reader.by_ref().take(bytes_max.saturating_add(1)).read_to_end(&mut text)?;
    let whole = u64::try_from(text.len()).is_ok_and(|length| length <= bytes_max);
    Ok(if whole { Held::Whole(text) } else { Held::Part(text, reader) })
}

fn spool(start: Vec<u8>, mut rest: Box<dyn Read + Send>, folder: &Path) -> io::Result<(From, u64)> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("stdin-{}.spool", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    // The handle is all that is needed; a crash leaves nothing behind.
    fs::remove_file(&path)?;
    file.write_all(&start)?;
    drop(start);
    io::copy(&mut rest, &mut file)?;
    let size = file.metadata()?.len();
    Ok((From::Spool(file), size))
}

/// The bytes behind gzip or zstd, told by their first bytes.
fn plain(reader: Box<dyn Read + Send>, consumed: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    let mut reader = Counted { reader, consumed: Arc::clone(consumed) };
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let (gzip, zstd) = (magic.starts_with(&GZIP), magic.starts_with(&ZSTD));
    let whole = Cursor::new(magic).chain(reader);
    if gzip {
        return Ok(Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, whole))));
    }
    if zstd {
        return Ok(Box::new(zstd::stream::read::Decoder::new(whole)?));
    }
    Ok(Box::new(whole))
}

struct Counted {
    reader: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.consumed.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
        Ok(read)
    }
}
