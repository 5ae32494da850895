//! Files of one dialect in one folder: named as the dialect names them, packed if asked for, and there only when whole.
//! Must not know what the rows are about.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use flate2::{Compression, write::GzEncoder};
use sqep::{Kind, Record, Symbol};
use sqep_csv::{
    dialect::{Dialect, DialectChoice, builtin, from_choice},
    write::{file_name, holds_many, write_header, write_rows},
};

/// Bytes gathered before a file is written to.
const BUFFER_BYTES: usize = 1 << 18;

/// How files are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Writes files into a folder.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    dialect: Arc<Dialect>,
    kind: Kind,
    packing: Packing,
    written: Written,
}

/// A file that takes rows.
pub(super) struct OpenFile<'a> {
    dialect: &'a Dialect,
    kind: Kind,
    out: Packed,
    rows: u64,
}

impl Writer {
    pub(super) fn new(
        folder: PathBuf,
        dialect: &str,
        kind: Kind,
        packing: Packing,
    ) -> anyhow::Result<Writer> {
        let writes = |dialect: &Dialect| dialect.writable(kind).is_some();
        let known = || {
            let names =
                builtin().iter().filter(|dialect| writes(dialect)).map(|dialect| dialect.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let DialectChoice::Named(dialect) = from_choice(dialect)? else {
            bail!("dialect auto is for reading; choose one that writes {kind}: {}", known());
        };
        if !writes(&dialect) {
            bail!("dialect {} does not write {kind}; choose one that does: {}", dialect.name, known());
        }
        Ok(Writer { folder, dialect, kind, packing, written: Written::default() })
    }

    /// An error if a file of this dialect cannot hold more than one security.
    pub(super) fn holds_many(&self) -> anyhow::Result<()> {
        if !holds_many(&self.dialect, self.kind) {
            bail!(
                "dialect {} names the security in the name of its file: choose --layout symbol",
                self.dialect.name
            );
        }
        Ok(())
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// A file with the rows of one security.
    pub(super) fn symbol_file<R: Record>(&mut self, symbol: Symbol, rows: &[R]) -> anyhow::Result<()> {
        let name = file_name(&self.dialect, symbol, self.kind);
        self.file(&name, Some(symbol), |file| file.rows(rows))
    }

    /// A file of this name that `fill` fills.
    pub(super) fn file(
        &mut self,
        name: &str,
        symbol: Option<Symbol>,
        fill: impl FnOnce(&mut OpenFile<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.folder.join(format!("{name}{}", self.packing.suffix()));
        let mut rows = 0;
        let bytes = whole(&path, |file| {
            let mut out = self.packing.over(file)?;
            write_header(&self.dialect, self.kind, &mut out, symbol)?;
            let mut open = OpenFile { dialect: &self.dialect, kind: self.kind, out, rows: 0 };
            fill(&mut open)?;
            rows = open.rows;
            open.out.finish()
        })?;
        self.written.files += 1;
        self.written.rows += rows;
        self.written.bytes += bytes;
        Ok(())
    }
}

impl OpenFile<'_> {
    pub(super) fn rows<R: Record>(&mut self, rows: &[R]) -> anyhow::Result<()> {
        write_rows(self.dialect, self.kind, &mut self.out, rows)?;
        self.rows += u64::try_from(rows.len())?;
        Ok(())
    }
}

/// Writes a file beside its name and moves it into place, so that nobody reads half of it. Returns its size.
pub(super) fn whole(
    path: &Path,
    fill: impl FnOnce(BufWriter<File>) -> anyhow::Result<File>,
) -> anyhow::Result<u64> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let made = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(&aside)
    };
    let file = made().with_context(|| format!("cannot write {}", aside.display()))?;
    let file = fill(BufWriter::with_capacity(BUFFER_BYTES, file))?;
    let bytes = file.metadata()?.len();
    fs::rename(&aside, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(bytes)
}

impl Packing {
    fn suffix(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
        }
    }

    fn over(self, file: BufWriter<File>) -> io::Result<Packed> {
        const ZSTD_LEVEL: i32 = 3;
        Ok(match self {
            Packing::Plain => Packed::Plain(file),
            Packing::Gzip => Packed::Gzip(GzEncoder::new(file, Compression::fast())),
            Packing::Zstd => Packed::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL)?),
        })
    }
}

/// A file under its packing.
enum Packed {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Packed {
    /// Writes what is still held back.
    fn finish(self) -> anyhow::Result<File> {
        let file = match self {
            Packed::Plain(file) => file,
            Packed::Gzip(packer) => packer.finish()?,
            Packed::Zstd(packer) => packer.finish()?,
        };
        Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?)
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packed::Plain(out) => out.write(bytes),
            Packed::Gzip(out) => out.write(bytes),
            Packed::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packed::Plain(out) => out.flush(),
            Packed::Gzip(out) => out.flush(),
            Packed::Zstd(out) => out.flush(),
        }
    }
}
