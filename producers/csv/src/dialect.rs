//! A dialect: how one vendor writes bars as text, as data. Knows the form of a dialect file and what it must say;
//! must not know how rows are read, nor where a file lies.

pub(crate) mod builtin;
pub(crate) mod recognise;
mod validate;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use serde::Deserialize;
use sqep::{Exchange, Kind, kind::NotSent};

pub use builtin::{builtin, from_choice, named, read};

/// One vendor's way to write bars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// The name it is chosen by.
    pub name: String,
    /// One line: whose files these are.
    pub about: String,
    /// Other names it is chosen by.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// How it is written. Reading finds out by itself: a byte order mark, UTF-8, else GB18030.
    #[serde(default)]
    pub encoding: Encoding,
    /// What may stand between two fields; the one that fits the first rows is taken.
    #[serde(default = "comma")]
    pub delimiter: Vec<Delimiter>,
    /// What an empty field may be spelled, beside nothing at all.
    #[serde(default)]
    pub null: Vec<String>,
    /// Whether commas part the thousands of quoted numbers: `"1,234.56"`.
    #[serde(default)]
    pub thousands: bool,
    /// Lines above the header.
    #[serde(default)]
    pub preamble: Preamble,
    /// How a line begins that stands below the rows and is none.
    #[serde(default)]
    pub footer: Vec<String>,
    /// Where the security of a row is written.
    #[serde(default)]
    pub symbol: SymbolRule,
    /// The name of a file this dialect writes.
    #[serde(default)]
    pub file: Option<String>,
    /// The headers it comes with.
    #[serde(rename = "table")]
    pub tables: Vec<Table>,
}

/// A header of a dialect and what stands below it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name within the dialect.
    pub name: String,
    /// What its rows can become.
    pub holds: Vec<Holds>,
    /// Columns that prove the dialect when they stand in a header. None: the header does not tell the units, so the
    /// dialect has to be named.
    #[serde(default)]
    pub recognise: Vec<String>,
    /// Columns that disprove this table.
    #[serde(default)]
    pub without: Vec<String>,
    /// The columns in order, for a file without a header.
    #[serde(default)]
    pub order: Vec<String>,
    /// Overrides the dialect's own.
    #[serde(default)]
    pub delimiter: Vec<Delimiter>,
    /// Which columns are read, and under which names they come; the first that stands in the header is taken.
    pub columns: BTreeMap<Column, Vec<String>>,
    /// How dates and times are written.
    pub time: Vec<TimeFormat>,
    /// Which end of a minute bar its label names.
    #[serde(default)]
    pub labels: Labels,
    /// Unit of volume. Unsaid: it has to be declared with the file.
    #[serde(default)]
    pub vol: Option<VolUnit>,
    /// Unit of volume in the rows of an index, where it is another one.
    #[serde(default)]
    pub index_vol: Option<VolUnit>,
    /// Unit of turnover. Unsaid: it has to be declared with the file, if it has turnover.
    #[serde(default)]
    pub amount: Option<AmountUnit>,
    /// Smallest steps, in shares and yuan, for the unit alarm.
    #[serde(default)]
    pub quantum: Quantum,
    /// Whether prices come raw.
    #[serde(default)]
    pub basis: Basis,
    /// Values of the column `flag` that say raw; any other says adjusted.
    #[serde(default)]
    pub flag_raw: Vec<String>,
    /// Values of the column `status` that say suspended.
    #[serde(default)]
    pub suspended: Vec<String>,
    /// How rows are written; none: this table is only read.
    #[serde(default)]
    pub write: Option<Writing>,
}

/// What the rows of a table can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Holds {
    /// Records of a stream.
    Records(Kind),
    /// Adjust factors by security and day.
    Factors,
    /// Price limits by security and day.
    Limits,
    /// Securities under special treatment by day.
    Treatment,
}

/// A field that a column can fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// The security.
    Symbol,
    /// The date, or date and time in one.
    Date,
    /// The time of day, where it has a column of its own.
    Time,
    /// First price.
    Open,
    /// Highest price.
    High,
    /// Lowest price.
    Low,
    /// Last price.
    Close,
    /// Volume.
    Vol,
    /// Turnover.
    Amount,
    /// Cumulative back-adjust factor, raw × factor = hfq, of the base all of SQEP's have.
    Adjust,
    /// Special treatment.
    St,
    /// Upper limit.
    BuyLimit,
    /// Lower limit.
    SellLimit,
    /// The factor the prices of this row were multiplied by: tells adjusted prices, never becomes `adjust`.
    Factor,
    /// Says whether the row is adjusted.
    Flag,
    /// Says whether the security was suspended.
    Status,
    /// Minutes a bar.
    Period,
}

impl Column {
    /// The name in a dialect file.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Symbol => "symbol",
            Column::Date => "date",
            Column::Time => "time",
            Column::Open => "open",
            Column::High => "high",
            Column::Low => "low",
            Column::Close => "close",
            Column::Vol => "vol",
            Column::Amount => "amount",
            Column::Adjust => "adjust",
            Column::St => "st",
            Column::BuyLimit => "buy_limit",
            Column::SellLimit => "sell_limit",
            Column::Factor => "factor",
            Column::Flag => "flag",
            Column::Status => "status",
            Column::Period => "period",
        }
    }
}

/// The bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-8 after a byte order mark.
    #[serde(rename = "utf-8-bom")]
    Utf8Bom,
    /// GB18030, and GBK within it.
    #[serde(rename = "gb18030")]
    Gb18030,
}

/// What stands between two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delimiter {
    /// `,`
    Comma,
    /// A tabulator.
    Tab,
    /// `;`
    Semicolon,
    /// Any number of blanks.
    Blanks,
}

/// Unit of volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolUnit {
    /// 股.
    Shares,
    /// 手, 100 shares.
    Lots,
}

/// Unit of turnover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountUnit {
    /// 元.
    Yuan,
    /// 千元.
    ThousandYuan,
}

/// Which end of a minute bar its label names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// The end: 240 labels from 09:31, or 241 with the opening auction at 09:30.
    #[default]
    End,
    /// The start: 240 labels from 09:30.
    Start,
}

/// Whether prices are as traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// As traded.
    #[default]
    Raw,
    /// Adjusted for dividends and splits, forward or backward.
    Adjusted,
}

/// How a date or a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TimeFormat {
    /// `20240301`
    #[serde(rename = "yyyymmdd")]
    Compact,
    /// `2024-03-01`
    #[serde(rename = "yyyy-mm-dd")]
    Dashes,
    /// `2024/03/01`, leading zeros optional
    #[serde(rename = "yyyy/mm/dd")]
    Slashes,
    /// `2024-03-01 09:31:00`, with `T`, without seconds, with `+08:00`
    #[serde(rename = "yyyy-mm-dd hh:mm")]
    DashesTime,
    /// `2024/03/01 09:31`
    #[serde(rename = "yyyy/mm/dd hh:mm")]
    SlashesTime,
    /// `20240301093100`, and `20240301093100000` with milliseconds
    #[serde(rename = "yyyymmddhhmmss")]
    CompactTime,
    /// Milliseconds since 1970 UTC
    #[serde(rename = "epoch_ms")]
    EpochMs,
    /// In a column of its own: `0931`
    #[serde(rename = "hhmm")]
    Hhmm,
    /// In a column of its own: `09:31:00` or `09:31`
    #[serde(rename = "hh:mm")]
    Clock,
}

/// Smallest steps of volume (shares) and turnover (yuan).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantum {
    /// Shares.
    pub vol: f64,
    /// Yuan.
    pub amount: f64,
}

impl Default for Quantum {
    fn default() -> Self {
        Quantum { vol: 1.0, amount: 1.0 }
    }
}

/// Lines above the header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preamble {
    /// At most so many.
    pub lines_max: usize,
    /// Whether the header alone does not tell the dialect: unless it is named, one of these lines has to say its
    /// price basis.
    #[serde(default)]
    pub proves: bool,
    /// Words in them that tell the price basis.
    #[serde(default)]
    pub basis: BTreeMap<String, Basis>,
    /// The line that is written, `{code}` standing for the six digits; none if empty.
    #[serde(default)]
    pub write: String,
}

/// Where the security of a row is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymbolRule {
    /// The places to look, in this order.
    pub from: Vec<Place>,
    /// Exchanges by first digits of a bare code, longest first digits first. Say this only where the source lists
    /// nothing but stocks: 000001 is a bank in Shenzhen and an index in Shanghai.
    #[serde(default)]
    pub prefix: BTreeMap<String, ExchangeName>,
    /// How it is written: `{code}` six digits, `{EX}` SZ, `{ex}` sz, `{JQ}` XSHE, `{SS}` Yahoo's, `{int}` 2000001.
    #[serde(default = "canonical")]
    pub write: String,
}

impl Default for SymbolRule {
    fn default() -> Self {
        SymbolRule { from: vec![Place::Column], prefix: BTreeMap::new(), write: canonical() }
    }
}

/// A place where a security is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The column `symbol`.
    Column,
    /// Six digits in the name of the file, with an exchange before or after them.
    File,
    /// Six digits in a line above the header.
    Preamble,
}

/// An exchange as dialect files spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ExchangeName(pub Exchange);

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writing {
    /// The header; each name is an alias of `columns` or has a constant.
    pub columns: Vec<String>,
    /// What stands in the other columns.
    #[serde(default)]
    pub constant: BTreeMap<String, String>,
    /// Decimals of volume, in the table's unit.
    #[serde(default)]
    pub vol_decimals: usize,
    /// Decimals of turnover, in the table's unit.
    #[serde(default)]
    pub amount_decimals: usize,
}

/// Which dialect a file is read in.
#[derive(Debug, Clone, PartialEq)]
pub enum DialectChoice {
    /// The one that explains the header.
    Auto,
    /// This one.
    Named(Arc<Dialect>),
}

/// Why a dialect cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// No built-in dialect and no file of that name.
    #[error("dialect {name:?} is unknown; choose auto, one of {known}, or the path of a .toml file")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The built-in ones.
        known: String,
    },
    /// The file could not be read.
    #[error("dialect file {path:?} could not be read")]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The text is no dialect.
    #[error("dialect {origin}: {error}")]
    Form {
        /// Name or path.
        origin: String,
        /// Where and what.
        error: Box<toml::de::Error>,
    },
    /// The text contradicts itself.
    #[error("dialect {origin}: table {table:?}: {problem}")]
    Sense {
        /// Name or path.
        origin: String,
        /// The table, empty for the dialect as a whole.
        table: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

fn comma() -> Vec<Delimiter> {
    vec![Delimiter::Comma]
}

fn canonical() -> String {
    "{code}.{EX}".to_owned()
}

impl Dialect {
    /// Whether it is chosen by this name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// The table that writes records of a kind, if any does.
    pub fn writable(&self, kind: Kind) -> Option<&Table> {
        let holds = Holds::Records(kind);
        self.tables.iter().find(|table| table.write.is_some() && table.holds.contains(&holds))
    }

    /// The delimiters of a table.
    pub(crate) fn delimiters<'a>(&'a self, table: &'a Table) -> &'a [Delimiter] {
        if table.delimiter.is_empty() { &self.delimiter } else { &table.delimiter }
    }
}

impl Table {
    /// The names a column comes under.
    pub(crate) fn aliases(&self, column: Column) -> &[String] {
        self.columns.get(&column).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holds::Records(kind) => kind.fmt(f),
            Holds::Factors => f.write_str("factors"),
            Holds::Limits => f.write_str("limits"),
            Holds::Treatment => f.write_str("st"),
        }
    }
}

impl TryFrom<String> for Holds {
    type Error = String;

    fn try_from(text: String) -> Result<Holds, String> {
        match text.as_str() {
            "factors" => Ok(Holds::Factors),
            "limits" => Ok(Holds::Limits),
            "st" => Ok(Holds::Treatment),
            _ => {
                let kind: Kind =
                    text.parse().map_err(|error| format!("{error}, nor one of factors limits st"))?;
                if kind.is_feature() { Err(NotSent(kind).to_string()) } else { Ok(Holds::Records(kind)) }
            }
        }
    }
}

impl TryFrom<String> for ExchangeName {
    type Error = String;

    fn try_from(text: String) -> Result<ExchangeName, String> {
        Exchange::parse(&text)
            .map(ExchangeName)
            .ok_or_else(|| format!("exchange {text:?} is not SH, SZ or BJ"))
    }
}

impl Delimiter {
    /// The byte between two fields; blanks are counted by runs.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Delimiter::Comma => b',',
            Delimiter::Tab => b'\t',
            Delimiter::Semicolon => b';',
            Delimiter::Blanks => b' ',
        }
    }
}

impl VolUnit {
    /// Shares a unit, as a power of ten.
    pub(crate) const fn exponent(self) -> i32 {
        match self {
            VolUnit::Shares => 0,
            VolUnit::Lots => 2,
        }
    }
}

impl AmountUnit {
    /// Yuan a unit, as a power of ten.
    pub(crate) const fn exponent(self) -> i32 {
        match self {
            AmountUnit::Yuan => 0,
            AmountUnit::ThousandYuan => 3,
        }
    }
}
