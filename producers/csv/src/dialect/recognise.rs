//! Which table explains a header. Knows names of columns; must not know rows, and never guesses a unit.

use std::{path::Path, sync::Arc};

use super::{Column, Delimiter, Dialect, DialectChoice, Holds, Table, builtin};
use crate::{error::LoadError, lines::Fields, number, text::Coding};

/// Lines looked at for a header.
const HEAD_LINES_MAX: usize = 8;

/// What explains a file.
#[derive(Debug, Clone)]
pub(crate) struct Match {
    pub(crate) dialect: Arc<Dialect>,
    table: usize,
    pub(crate) coding: Coding,
    /// Lines above the header.
    pub(crate) preamble: Vec<String>,
    /// Lines before the first row, header included.
    pub(crate) lines: usize,
    /// Names of the columns, in order.
    pub(crate) names: Vec<String>,
    /// What stands between the fields of a row.
    pub(crate) delimiter: Delimiter,
    /// How well it fits: columns that were explained.
    score: usize,
}

impl Match {
    pub(crate) fn table(&self) -> &Table {
        &self.dialect.tables[self.table]
    }

    /// The position of a column.
    pub(crate) fn position(&self, column: Column) -> Option<usize> {
        place(&self.names, self.table().aliases(column))
    }
}

/// The beginning of a file, as text.
struct Head<'a> {
    coding: Coding,
    lines: Vec<&'a str>,
}

/// Finds the table of `choice` that explains the beginning of a file.
pub(crate) fn recognise(
    head: &[u8],
    choice: &DialectChoice,
    holds: Holds,
    path: &Path,
) -> Result<Match, LoadError> {
    if head.contains(&0) {
        let explanation =
            "it is no text in UTF-8 or GBK: a binary file, or UTF-16 to be saved as UTF-8".to_owned();
        return Err(LoadError::HeaderUnknown { path: path.to_owned(), explanation });
    }
    if head.contains(&b'\r') && !head.contains(&b'\n') {
        let explanation = "line ends are CR only; save with LF".to_owned();
        return Err(LoadError::HeaderUnknown { path: path.to_owned(), explanation });
    }
    let coding = Coding::of(head);
    let text = coding.decode(head);
    let lines: Vec<&str> = text.lines().take(HEAD_LINES_MAX).collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        return Err(LoadError::Empty(path.to_owned()));
    }
    let head = Head { coding, lines };
    let (dialects, auto): (Vec<Arc<Dialect>>, bool) = match choice {
        DialectChoice::Auto => (builtin().to_vec(), true),
        DialectChoice::Named(dialect) => (vec![Arc::clone(dialect)], false),
    };
    let mut found: Vec<Match> =
        dialects.iter().filter_map(|dialect| best(dialect, &head, holds, auto)).collect();
    if found.len() == 1 {
        return found.pop().ok_or_else(|| LoadError::Empty(path.to_owned()));
    }
    let explanation = if found.is_empty() {
        let fits = if auto { String::new() } else { fits_another(&head, holds) };
        format!("{fits}{}", unknown(&dialects, &head, holds, auto))
    } else {
        let names: Vec<&str> = found.iter().map(|found| found.dialect.name.as_str()).collect();
        format!("the header fits the dialects {}; name one with csv.dialect", names.join(", "))
    };
    Err(LoadError::HeaderUnknown { path: path.to_owned(), explanation })
}

/// Names the dialect that would explain a file that the named one does not.
fn fits_another(head: &Head<'_>, holds: Holds) -> String {
    let found: Vec<Match> = builtin().iter().filter_map(|dialect| best(dialect, head, holds, true)).collect();
    match found.as_slice() {
        [found] => format!("it is a file of {0}: set csv.dialect = {0:?}, or auto; ", found.dialect.name),
        _ => String::new(),
    }
}

/// The best of a dialect's tables that fit, if any.
fn best(dialect: &Arc<Dialect>, head: &Head<'_>, holds: Holds, auto: bool) -> Option<Match> {
    let tables = dialect.tables.iter().enumerate().filter(|(_, table)| table.holds.contains(&holds));
    let fits = tables.filter_map(|(at, table)| {
        let found = if table.order.is_empty() {
            with_header(dialect, at, head, auto)
        } else if auto {
            None
        } else {
            without_header(dialect, at, head)
        };
        found.map(|found| (found.score, std::cmp::Reverse(at), found))
    });
    fits.max_by_key(|&(score, at, _)| (score, at)).map(|(_, _, found)| found)
}

fn with_header(dialect: &Arc<Dialect>, at: usize, head: &Head<'_>, auto: bool) -> Option<Match> {
    let table = &dialect.tables[at];
    let (line, names) =
        headers(dialect, table, head).find(|(_, names)| explains(dialect, table, names, auto))?;
    let preamble: Vec<String> = head.lines[..line].iter().map(|&line| line.to_owned()).collect();
    if auto && dialect.preamble.proves && !tells_basis(dialect, &preamble) {
        return None;
    }
    let delimiter = row_delimiter(dialect.delimiters(table), head.lines.get(line + 1).copied(), names.len());
    let mapped = table.columns.values().filter(|aliases| place(&names, aliases).is_some()).count();
    let proofs = table.recognise.iter().filter(|name| stands(&names, name)).count();
    let score = mapped + proofs;
    let coding = coding(dialect, head);
    Some(Match {
        dialect: Arc::clone(dialect),
        table: at,
        coding,
        preamble,
        lines: line + 1,
        names,
        delimiter,
        score,
    })
}

fn tells_basis(dialect: &Dialect, preamble: &[String]) -> bool {
    preamble.iter().any(|line| dialect.preamble.basis.keys().any(|word| line.contains(word.as_str())))
}

/// A file without a header: its first line has as many fields as the table, and a date where the table has one.
fn without_header(dialect: &Arc<Dialect>, at: usize, head: &Head<'_>) -> Option<Match> {
    let table = &dialect.tables[at];
    let first = head.lines.first()?;
    let delimiter = row_delimiter(dialect.delimiters(table), Some(first), table.order.len());
    let fields = split(first, delimiter);
    let date = place(&table.order, table.aliases(Column::Date))?;
    let dated = number::moment(fields.get(date)?.as_bytes(), &table.time).is_some();
    (dated && fields.len() == table.order.len()).then(|| Match {
        dialect: Arc::clone(dialect),
        table: at,
        coding: coding(dialect, head),
        preamble: Vec::new(),
        lines: 0,
        names: table.order.clone(),
        delimiter,
        score: 0,
    })
}

/// Pure ASCII at the beginning proves nothing about what follows.
fn coding(dialect: &Dialect, head: &Head<'_>) -> Coding {
    if head.lines.iter().all(|line| line.is_ascii()) { dialect.encoding.into() } else { head.coding }
}

/// The lines that may be the header, each split by the delimiter that finds most fields.
fn headers<'a>(
    dialect: &'a Dialect,
    table: &'a Table,
    head: &'a Head<'_>,
) -> impl Iterator<Item = (usize, Vec<String>)> + 'a {
    head.lines.iter().take(dialect.preamble.lines_max + 1).enumerate().map(move |(at, line)| {
        let split = dialect.delimiters(table).iter().map(|&delimiter| names(line, delimiter));
        (at, split.max_by_key(Vec::len).unwrap_or_default())
    })
}

fn explains(dialect: &Dialect, table: &Table, names: &[String], auto: bool) -> bool {
    let required = table.required(dialect.symbol_in_column());
    let complete = required.iter().all(|&column| place(names, table.aliases(column)).is_some());
    let proven = !table.recognise.is_empty() && table.recognise.iter().all(|name| stands(names, name));
    let disproven = table.without.iter().any(|name| stands(names, name));
    let foreign = || dialect.tables.iter().any(|other| another_kind(dialect, table, other, names));
    complete && !disproven && (proven || (!auto && !foreign()))
}

/// Whether a header that does not prove a table proves another one, of other records: minutes are no days, though
/// their header has all that days need.
fn another_kind(dialect: &Dialect, table: &Table, other: &Table, names: &[String]) -> bool {
    let disjoint = !other.holds.iter().any(|held| table.holds.contains(held));
    let bars = other.holds.iter().any(|held| matches!(held, Holds::Records(_)));
    disjoint && bars && !table.recognise.is_empty() && explains(dialect, other, names, true)
}

fn row_delimiter(delimiters: &[Delimiter], row: Option<&str>, width: usize) -> Delimiter {
    let fits = |delimiter: &&Delimiter| row.is_some_and(|row| split(row, **delimiter).len() == width);
    delimiters.iter().find(fits).or(delimiters.first()).copied().unwrap_or(Delimiter::Comma)
}

/// A header line as names. Above columns parted by blanks, an indented header leaves the first column without a name.
fn names(line: &str, delimiter: Delimiter) -> Vec<String> {
    let mut names = split(line, delimiter);
    if delimiter == Delimiter::Blanks && line.starts_with(char::is_whitespace) {
        names.insert(0, String::new());
    }
    names
}

fn split(line: &str, delimiter: Delimiter) -> Vec<String> {
    let mut fields = Fields::default();
    let line = line.as_bytes();
    fields.split(line, delimiter);
    (0..fields.len()).map(|at| String::from_utf8_lossy(fields.get(line, at)).into_owned()).collect()
}

fn stands(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

fn place(names: &[String], aliases: &[String]) -> Option<usize> {
    aliases.iter().find_map(|alias| names.iter().position(|name| name.eq_ignore_ascii_case(alias)))
}

/// Why no table fits, and what to do.
fn unknown(dialects: &[Arc<Dialect>], head: &Head<'_>, holds: Holds, auto: bool) -> String {
    let header = shown(head.lines.first().copied().unwrap_or_default());
    if let Some(other) = other_kind(dialects, head, holds, auto) {
        return format!(
            "the header {header} is {other}, but {holds} is asked for; set stream.kind to what it holds"
        );
    }
    if auto {
        let fitting: Vec<&str> = dialects
            .iter()
            .filter(|dialect| best(dialect, head, holds, false).is_some())
            .map(|dialect| dialect.name.as_str())
            .collect();
        if !fitting.is_empty() {
            return format!(
                "the header {header} does not tell units or price basis; it fits {}: name the one whose file it is with \
                 csv.dialect",
                fitting.join(", ")
            );
        }
    }
    nearest(dialects, head, holds).map_or_else(
        || format!("dialect has no table that holds {holds}"),
        |(dialect, table, missing)| {
            format!(
                "no table explains the header {header}; nearest is dialect {dialect}, table {table:?}, which also \
                 needs {missing}. To write a mapping, copy producers/csv/dialects/{dialect}.toml, name your columns \
                 under [table.columns] and your units, and set csv.dialect to its path"
            )
        },
    )
}

fn shown(line: &str) -> String {
    const SHOWN_MAX: usize = 200;
    format!("{:?}", line.chars().take(SHOWN_MAX).collect::<String>())
}

/// A table that explains the header but holds something else.
fn other_kind(dialects: &[Arc<Dialect>], head: &Head<'_>, holds: Holds, auto: bool) -> Option<String> {
    let tables = dialects.iter().flat_map(|dialect| {
        dialect.tables.iter().filter(|table| table.order.is_empty()).map(move |table| (dialect, table))
    });
    let mut others = tables.filter(|(_, table)| !table.holds.contains(&holds));
    others.find_map(|(dialect, table)| {
        let fits = headers(dialect, table, head).any(|(_, names)| explains(dialect, table, &names, auto));
        fits.then(|| {
            let kinds: Vec<String> = table.holds.iter().map(Holds::to_string).collect();
            format!("dialect {} table {:?}, which holds {}", dialect.name, table.name, kinds.join(" "))
        })
    })
}

/// The table that lacks the smallest part of its required columns, and what it lacks.
fn nearest(dialects: &[Arc<Dialect>], head: &Head<'_>, holds: Holds) -> Option<(String, String, String)> {
    let mut best: Option<(usize, String, String, String)> = None;
    for dialect in dialects {
        let tables =
            dialect.tables.iter().filter(|table| table.order.is_empty() && table.holds.contains(&holds));
        for table in tables {
            for (_, names) in headers(dialect, table, head) {
                let required = table.required(dialect.symbol_in_column());
                let missing: Vec<String> = required
                    .iter()
                    .filter(|&&column| place(&names, table.aliases(column)).is_none())
                    .map(|&column| format!("{} ({})", column.name(), table.aliases(column).join(" or ")))
                    .collect();
                let hits = required.len() - missing.len()
                    + table.recognise.iter().filter(|name| stands(&names, name)).count();
                if best.as_ref().is_none_or(|(most, ..)| hits > *most) {
                    best = Some((hits, dialect.name.clone(), table.name.clone(), missing.join(", ")));
                }
            }
        }
    }
    best.map(|(_, dialect, table, missing)| (dialect, table, missing))
}
