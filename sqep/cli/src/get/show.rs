//! Rows on standard output, as a table, CSV, JSON or Arrow. Knows how each is written and that whoever reads may go; must
//! not know where rows come from.

use std::{
    io::{self, BufWriter, ErrorKind, Stdout, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use sqep::{Record, Row, codec::arrow, record::Cell};

use super::adjust::{Adjust, Factors, cell, is_price};

/// Rows of one Arrow batch at most.
const BATCH_ROWS_MAX: usize = 16_384;

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For the eye.
    #[default]
    Table,
    /// A header, then a row a line.
    Csv,
    /// An object a line.
    Json,
    /// An Arrow IPC stream.
    Arrow,
}

/// Standard output that remembers when nobody reads any more.
#[derive(Debug)]
struct Pipe {
    out: Stdout,
    closed: Arc<AtomicBool>,
}

impl Pipe {
    fn seen<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.closed.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.out.write(bytes);
        self.seen(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.out.flush();
        self.seen(done)
    }
}

/// What has been begun on standard output.
enum Sheet {
    Text { format: Format, out: BufWriter<Pipe>, widths: Vec<usize> },
    Arrow { writer: Box<StreamWriter<BufWriter<Pipe>>>, schema: SchemaRef },
}

/// Shows rows, block by block.
pub(crate) struct Show {
    adjust: Adjust,
    closed: Arc<AtomicBool>,
    sheet: Sheet,
}

impl Show {
    /// Begins with the header or the schema.
    pub(crate) fn new<R: Record>(format: Format, adjust: Adjust) -> anyhow::Result<Show> {
        let closed = Arc::new(AtomicBool::new(false));
        let mut out =
            BufWriter::with_capacity(1 << 16, Pipe { out: io::stdout(), closed: Arc::clone(&closed) });
        let sheet = match format {
            Format::Arrow => {
                let schema = schema::<R>(adjust);
                Sheet::Arrow { writer: Box::new(StreamWriter::try_new(out, &schema)?), schema }
            }
            Format::Csv => {
                writeln!(out, "{}", names::<R>().join(","))?;
                Sheet::Text { format, out, widths: Vec::new() }
            }
            Format::Table | Format::Json => Sheet::Text { format, out, widths: Vec::new() },
        };
        Ok(Show { adjust, closed, sheet })
    }

    /// Whether whoever read has gone, as after `| head`.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Shows rows; says how many of them have no factor and should have one.
    pub(crate) fn rows<R: Record>(&mut self, rows: &[Row<R>], factors: &Factors) -> anyhow::Result<u64> {
        let ratios: Vec<Option<f64>> = rows.iter().map(|row| factors.ratio(&row.record)).collect();
        match &mut self.sheet {
            Sheet::Arrow { writer, schema } => {
                for (rows, ratios) in rows.chunks(BATCH_ROWS_MAX).zip(ratios.chunks(BATCH_ROWS_MAX)) {
                    writer.write(&columns(schema, rows, ratios, self.adjust)?)?;
                }
            }
            Sheet::Text { format: Format::Table, out, widths } => {
                table(out, widths, rows, &ratios, self.adjust)?;
            }
            Sheet::Text { format: Format::Json, out, .. } => {
                for (row, ratio) in rows.iter().zip(&ratios) {
                    json(out, &row.record, *ratio)?;
                }
            }
            Sheet::Text { out, .. } => {
                for (row, ratio) in rows.iter().zip(&ratios) {
                    csv(out, &row.record, *ratio)?;
                }
            }
        }
        Ok(u64::try_from(ratios.iter().filter(|ratio| ratio.is_none()).count())?)
    }

    /// Ends it: everything is written. `Ok` also when nobody reads any more.
    pub(crate) fn end<R: Record>(&mut self) -> anyhow::Result<()> {
        let ended = match &mut self.sheet {
            Sheet::Arrow { writer, .. } => {
                writer.finish().map_err(anyhow::Error::from).and_then(|()| Ok(writer.flush()?))
            }
            Sheet::Text { format: Format::Table, out, widths } if widths.is_empty() => {
                writeln!(out, "{}", names::<R>().join("  ")).and_then(|()| out.flush()).map_err(Into::into)
            }
            Sheet::Text { out, .. } => out.flush().map_err(Into::into),
        };
        if self.nobody_reads() { Ok(()) } else { ended }
    }
}

fn names<R: Record>() -> Vec<&'static str> {
    R::FIELDS.iter().map(|field| field.name).collect()
}

/// The columns of a record; a price that was adjusted may be empty.
fn schema<R: Record>(adjust: Adjust) -> SchemaRef {
    let fields = arrow::fields::<R>().into_iter().enumerate().map(|(at, field)| {
        let nullable = field.is_nullable() || adjust != Adjust::None && is_price::<R>(at);
        field.with_nullable(nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn columns<R: Record>(
    schema: &SchemaRef,
    rows: &[Row<R>],
    ratios: &[Option<f64>],
    adjust: Adjust,
) -> anyhow::Result<RecordBatch> {
    let column = |at: usize| -> ArrayRef {
        if adjust == Adjust::None || !is_price::<R>(at) {
            return arrow::column(at, rows.iter().map(|row| &row.record));
        }
        let prices = rows.iter().zip(ratios).map(|(row, &ratio)| match cell(&row.record, at, ratio) {
            Cell::Float(price) => Some(price),
            _ => None,
        });
        Arc::new(prices.collect::<Float64Array>())
    };
    Ok(RecordBatch::try_new(Arc::clone(schema), (0..R::FIELDS.len()).map(column).collect())?)
}

fn csv<R: Record>(out: &mut impl Write, record: &R, ratio: Option<f64>) -> io::Result<()> {
    for at in 0..R::FIELDS.len() {
        let comma = if at == 0 { "" } else { "," };
        match cell(record, at, ratio) {
            Cell::Null => out.write_all(comma.as_bytes()),
            Cell::Symbol(symbol) => write!(out, "{comma}{symbol}"),
            Cell::Date(date) => write!(out, "{comma}{date}"),
            Cell::Minute(wall) => write!(out, "{comma}{}", wall.format("%Y-%m-%d %H:%M")),
            Cell::Float(value) => write!(out, "{comma}{value}"),
            Cell::Bool(value) => write!(out, "{comma}{value}"),
            Cell::Integer(value) => write!(out, "{comma}{value}"),
        }?;
    }
    out.write_all(b"\n")
}

fn json<R: Record>(out: &mut impl Write, record: &R, ratio: Option<f64>) -> io::Result<()> {
    for (at, field) in R::FIELDS.iter().enumerate() {
        write!(out, "{}\"{}\":", if at == 0 { '{' } else { ',' }, field.name)?;
        match cell(record, at, ratio) {
            Cell::Null => out.write_all(b"null"),
            Cell::Symbol(symbol) => write!(out, "\"{symbol}\""),
            Cell::Date(date) => write!(out, "\"{date}\""),
            Cell::Minute(wall) => write!(out, "\"{}+08:00\"", wall.format("%Y-%m-%dT%H:%M:%S")),
            Cell::Float(value) => write!(out, "{value}"),
            Cell::Bool(value) => write!(out, "{value}"),
            Cell::Integer(value) => write!(out, "{value}"),
        }?;
    }
    out.write_all(b"}\n")
}

/// Writes rows under a header; the first block decides how wide the columns are.
fn table<R: Record>(
    out: &mut impl Write,
    widths: &mut Vec<usize>,
    rows: &[Row<R>],
    ratios: &[Option<f64>],
    adjust: Adjust,
) -> io::Result<()> {
    let text = |record: &R, at: usize, ratio| match cell(record, at, ratio) {
        Cell::Null => "–".to_owned(),
        Cell::Symbol(symbol) => symbol.to_string(),
        Cell::Date(date) => date.to_string(),
        Cell::Minute(wall) => wall.format("%Y-%m-%d %H:%M").to_string(),
        Cell::Float(price) if adjust != Adjust::None && is_price::<R>(at) => format!("{price:.4}"),
        Cell::Float(value) => value.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
    };
    let header = widths.is_empty();
    if header {
        widths.extend(names::<R>().iter().enumerate().map(|(at, name)| {
            let cells =
                rows.iter().zip(ratios).map(|(row, &ratio)| text(&row.record, at, ratio).chars().count());
            cells.chain([name.len()]).max().unwrap_or_default()
        }));
        let names = names::<R>().into_iter().zip(&*widths).map(|(name, &width)| format!("{name:>width$}"));
        writeln!(out, "{}", names.collect::<Vec<_>>().join("  "))?;
    }
    for (row, &ratio) in rows.iter().zip(ratios) {
        for (at, &width) in widths.iter().enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            write!(out, "{gap}{:>width$}", text(&row.record, at, ratio))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
