//! Records as text in a dialect, so that reading the text gives the same records as far as the dialect can say them.
//!
//! Knows headers, units and spellings; must not know files nor where records come from.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, Write},
};

use chrono::{Datelike, NaiveDate, NaiveTime, TimeDelta, Timelike};
use sqep::{DayBar, Exchange, Kind, Record, Symbol, record::Cell, shanghai, symbol::Class};

use crate::{
    dialect::{
        AmountUnit, Column, Delimiter, Dialect, Encoding, Labels, Table, TimeFormat, VolUnit, Writing,
    },
    text::Coding,
};

/// The name of a file of one security in a dialect.
pub fn file_name(dialect: &Dialect, symbol: Symbol, kind: Kind) -> String {
    let template = dialect.file.as_deref().unwrap_or("{code}.{EX}.csv");
    let period = kind.name().rsplit(':').next().unwrap_or("1d");
    spelled(template, symbol).replace("{kind}", period)
}

/// Whether a file of this dialect can hold more than one security: only if a column it writes names them in full.
pub fn holds_many(dialect: &Dialect, kind: Kind) -> bool {
    let named = |table: &Table| {
        let writing = table.write.iter().flat_map(|writing| &writing.columns);
        writing.into_iter().any(|name| table.aliases(Column::Symbol).contains(name))
    };
    !bare(dialect) && dialect.writable(kind).is_some_and(named)
}

/// Whether the column names a code without its exchange.
fn bare(dialect: &Dialect) -> bool {
    !["{EX}", "{ex}", "{JQ}", "{SS}", "{int}"].iter().any(|word| dialect.symbol.write.contains(word))
}

/// Writes day bars; see [`write()`].
pub fn write_day(dialect: &Dialect, out: &mut dyn Write, rows: &[DayBar]) -> io::Result<()> {
    write(dialect, Kind::BarDay, out, rows)
}

/// Writes records of a kind with the dialect's preamble and header. Records of several securities need a dialect that
/// [`holds_many`].
pub fn write<R: Record>(dialect: &Dialect, kind: Kind, out: &mut dyn Write, rows: &[R]) -> io::Result<()> {
    write_header(dialect, kind, out, rows.first().map(Record::symbol))?;
    write_rows(dialect, kind, out, rows)
}

/// What stands above the rows; `symbol` is named where the dialect names it there.
pub fn write_header(
    dialect: &Dialect,
    kind: Kind,
    out: &mut dyn Write,
    symbol: Option<Symbol>,
) -> io::Result<()> {
    let (_, writing) = writing(dialect, kind)?;
    let mut text = String::new();
    if dialect.encoding == Encoding::Utf8Bom {
        text.push('\u{feff}');
    }
    if !dialect.preamble.write.is_empty() {
        let line = symbol.map(|symbol| spelled(&dialect.preamble.write, symbol)).unwrap_or_default();
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&writing.columns.join(separator(dialect)));
    text.push('\n');
    out.write_all(&Coding::from(dialect.encoding).encode(&text))
}

/// Rows alone, to append to a file.
pub fn write_rows<R: Record>(
    dialect: &Dialect,
    kind: Kind,
    out: &mut dyn Write,
    rows: &[R],
) -> io::Result<()> {
    let mut writer = Writer::new::<R>(dialect, kind)?;
    for record in rows {
        out.write_all(&writer.row(record)?)?;
    }
    Ok(())
}

fn writing(dialect: &Dialect, kind: Kind) -> io::Result<(&Table, &Writing)> {
    let table = dialect.writable(kind);
    table.and_then(|table| Some((table, table.write.as_ref()?))).ok_or_else(|| {
        let text = format!("dialect {} does not write {kind}; choose another for it", dialect.name);
        io::Error::new(io::ErrorKind::Unsupported, text)
    })
}

fn separator(dialect: &Dialect) -> &'static str {
    match dialect.delimiter.first() {
        Some(Delimiter::Tab) => "\t",
        Some(Delimiter::Semicolon) => ";",
        Some(Delimiter::Blanks) => " ",
        Some(Delimiter::Comma) | None => ",",
    }
}

/// What stands in one column.
enum Slot {
    Constant(String),
    Symbol,
    Date,
    Time,
    /// Volume, which an index may count in another unit: field, scale, scale of an index, decimals.
    Vol(usize, f64, f64, usize),
    /// A field of the record, the power of ten of its unit, and how many decimals are shown.
    Field(usize, f64, Option<usize>),
    Nothing,
}

/// Writes row after row in one table.
struct Writer<'a> {
    dialect: &'a Dialect,
    table: &'a Table,
    kind: Kind,
    slots: Vec<Slot>,
    text: String,
    /// The security of the row before, as it is spelled.
    last: Option<(Symbol, String)>,
}

impl<'a> Writer<'a> {
    fn new<R: Record>(dialect: &'a Dialect, kind: Kind) -> io::Result<Writer<'a>> {
        let (table, writing) = writing(dialect, kind)?;
        let slots = writing.columns.iter().map(|name| slot::<R>(table, writing, name)).collect();
        Ok(Writer { dialect, table, kind, slots, text: String::new(), last: None })
    }

    /// One row, encoded.
    fn row<R: Record>(&mut self, record: &R) -> io::Result<Cow<'_, [u8]>> {
        let symbol = record.symbol();
        if self.last.as_ref().is_none_or(|(last, _)| *last != symbol) {
            self.last = Some((symbol, spelled(&self.dialect.symbol.write, symbol)));
        }
        let separator = separator(self.dialect);
        self.text.clear();
        let spelled = self.last.as_ref().map_or("", |(_, text)| text);
        let (text, table, kind) = (&mut self.text, self.table, self.kind);
        for (at, slot) in self.slots.iter().enumerate() {
            if at > 0 {
                text.push_str(separator);
            }
            match slot {
                Slot::Constant(constant) => text.push_str(constant),
                Slot::Symbol => text.push_str(spelled),
                Slot::Date => text.push_str(&date(table, kind, record)),
                Slot::Time => text.push_str(&time(table, kind, record)),
                Slot::Field(at, scale, decimals) => {
                    field(text, table, record.get(*at), *scale, *decimals).map_err(io::Error::other)?;
                }
                Slot::Vol(at, stock, index, decimals) => {
                    let scale = if symbol.class() == Class::Index { index } else { stock };
                    field(text, table, record.get(*at), *scale, Some(*decimals)).map_err(io::Error::other)?;
                }
                Slot::Nothing => {}
            }
        }
        text.push('\n');
        Ok(Coding::from(self.dialect.encoding).encode(text))
    }
}

fn field(text: &mut String, table: &Table, cell: Cell, scale: f64, decimals: Option<usize>) -> fmt::Result {
    match (cell, decimals) {
        (Cell::Float(value), Some(decimals)) => write!(text, "{:.decimals$}", value / scale),
        (Cell::Float(value), None) => write!(text, "{value}"),
        (Cell::Integer(value), _) => write!(text, "{value}"),
        (Cell::Bool(value), _) => text.write_str(&truth(table, value)),
        _ => Ok(()),
    }
}

fn slot<R: Record>(table: &Table, writing: &Writing, name: &str) -> Slot {
    if let Some(text) = writing.constant.get(name) {
        return Slot::Constant(text.clone());
    }
    let column = table.columns.iter().find(|(_, aliases)| aliases.iter().any(|alias| alias == name));
    let field = |field: &str, exponent: i32, decimals: Option<usize>| {
        let at = R::FIELDS.iter().position(|known| known.name == field);
        at.map_or(Slot::Nothing, |at| Slot::Field(at, 10f64.powi(exponent), decimals))
    };
    match column.map(|(&column, _)| column) {
        Some(Column::Symbol) => Slot::Symbol,
        Some(Column::Date) => Slot::Date,
        Some(Column::Time) => Slot::Time,
        Some(Column::Vol) => {
            let scale = |unit: Option<VolUnit>| 10f64.powi(unit.map_or(0, VolUnit::exponent));
            let at = R::FIELDS.iter().position(|known| known.name == "vol");
            let (stock, index) = (scale(table.vol), scale(table.index_vol.or(table.vol)));
            at.map_or(Slot::Nothing, |at| Slot::Vol(at, stock, index, writing.vol_decimals))
        }
        Some(Column::Amount) => {
            field("amount", table.amount.map_or(0, AmountUnit::exponent), Some(writing.amount_decimals))
        }
        Some(other) => field(other.name(), 0, None),
        None => Slot::Nothing,
    }
}

fn truth(table: &Table, value: bool) -> String {
    let words =
        table.columns.get(&Column::St).is_some_and(|aliases| aliases.iter().any(|alias| alias == "isST"));
    if words { u8::from(value).to_string() } else { value.to_string() }
}

/// Day and time of day a record is written under.
fn frame<R: Record>(table: &Table, kind: Kind, record: &R) -> (NaiveDate, NaiveTime) {
    match record.get(1) {
        Cell::Date(date) => (date, NaiveTime::MIN),
        Cell::Minute(end) => {
            let back = match (table.labels, kind) {
                (Labels::Start, Kind::BarMinute(grid)) => i64::from(grid.minutes()),
                _ => 0,
            };
            let label = end - TimeDelta::minutes(back);
            (label.date(), label.time())
        }
        _ => (NaiveDate::default(), NaiveTime::MIN),
    }
}

fn date<R: Record>(table: &Table, kind: Kind, record: &R) -> String {
    let (date, time) = frame(table, kind, record);
    let (year, month, day) = (date.year(), date.month(), date.day());
    let clock = || format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    match table.time.first() {
        Some(TimeFormat::Compact) => format!("{year:04}{month:02}{day:02}"),
        Some(TimeFormat::Slashes) => format!("{year:04}/{month:02}/{day:02}"),
        Some(TimeFormat::DashesTime) => format!("{date} {}", clock()),
        Some(TimeFormat::SlashesTime) => format!("{year:04}/{month:02}/{day:02} {}", clock()),
        Some(TimeFormat::CompactTime) => {
            format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", time.hour(), time.minute(), time.second())
        }
        Some(TimeFormat::EpochMs) => {
            shanghai::instant_ms(date.and_time(time)).unwrap_or_default().to_string()
        }
        _ => date.to_string(),
    }
}

fn time<R: Record>(table: &Table, kind: Kind, record: &R) -> String {
    let (_, time) = frame(table, kind, record);
    if table.time.contains(&TimeFormat::Hhmm) {
        format!("{:02}{:02}", time.hour(), time.minute())
    } else {
        format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
    }
}

/// A template with the spellings of a security put in.
fn spelled(template: &str, symbol: Symbol) -> String {
    let exchange = symbol.exchange();
    let (joinquant, yahoo) = match exchange {
        Exchange::SH => ("XSHG", "SS"),
        Exchange::SZ => ("XSHE", "SZ"),
        Exchange::BJ => ("XBSE", "BJ"),
    };
    template
        .replace("{code}", &format!("{:06}", symbol.code()))
        .replace("{EX}", exchange.suffix())
        .replace("{ex}", &exchange.suffix().to_ascii_lowercase())
        .replace("{JQ}", joinquant)
        .replace("{SS}", yahoo)
        .replace("{int}", &symbol.get().to_string())
}
