//! What can go wrong with loading, and whose fault it is: the rows', the configuration's or the world's.
//!
//! Knows ClickHouse's exception codes; must not know what is being done. In doubt it is the world's, and the world changes.

use sqep::WriteError;

/// Codes of ClickHouse that say: these rows, whatever else is done.
///
/// A constraint that somebody put on the table is violated. Nothing else a server says is: a body cut short looks like bad
/// rows (27, 33, 131, 321) and is the network's; a null (349) or a type (53) that does not fit is the table's, since rows are
/// held against its columns before they go.
const ROWS: [u32; 1] = [469];
/// Who we are.
const WHO: [u32; 5] = [516, 192, 193, 194, 195];
/// What we may; a user who may only read (164) and one whom statements are forbidden (392) lack a right too.
const MAY: [u32; 4] = [497, 291, 164, 392];
/// A statement took too long; on a cluster: servers of it did not answer in time.
pub(crate) const TIMEOUT: u32 = 159;
/// What passes by itself: time (159) and sockets (209, 210), too many queries (202), memory (241), a disk that is full (243) or
/// fails (75), a table that is read-only for now (242), too many parts (252), its keeper (225, 999), a server that goes down
/// (236), and what replicas and shards lack: connections (203, 279), replicas (285, 286), an answer (319).
const PASSES: [u32; 17] =
    [TIMEOUT, 202, 209, 210, 241, 242, 252, 999, 243, 75, 225, 236, 203, 279, 285, 286, 319];
const UNKNOWN_DATABASE: u32 = 81;
/// No such table.
pub(crate) const UNKNOWN_TABLE: u32 = 60;
/// The server does not know a setting.
pub(crate) const UNKNOWN_SETTING: u32 = 115;

/// Why ClickHouse cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// The server refuses, with a code of its own.
    #[error("clickhouse at {place}: {doing}: {text}")]
    Refused {
        /// Where it is.
        place: String,
        /// What was being done.
        doing: String,
        /// Its exception code.
        code: u32,
        /// Its words.
        text: String,
    },
    /// No answer, or none that could be read.
    #[error("clickhouse at {place}: {doing}")]
    Away {
        /// Where it is.
        place: String,
        /// What was being done.
        doing: String,
        /// Why.
        source: clickhouse::error::Error,
    },
    /// User or password.
    #[error(
        "clickhouse at {place} refuses user {user:?}: check clickhouse.user and the password (clickhouse.password_file, or \
         SQEP__CLICKHOUSE__PASSWORD)"
    )]
    Who {
        /// Where it is.
        place: String,
        /// Who we said we are.
        user: String,
    },
    /// No such database.
    #[error(
        "clickhouse at {place} has no database {database:?}: create it (CREATE DATABASE {database}) or set \
         clickhouse.database"
    )]
    Database {
        /// Where it is.
        place: String,
        /// Its name.
        database: String,
    },
    /// A server that cannot hold the schema.
    #[error(
        "clickhouse at {place} is version {found}, this program needs {needed} or newer: upgrade the server"
    )]
    Old {
        /// Where it is.
        place: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
    /// Not the database it was.
    #[error(
        "database {database:?} of clickhouse at {place} is not what it was: rows up to {known} were in it, and its mark is \
         {found}; its place is looked for again"
    )]
    Changed {
        /// Where it is.
        place: String,
        /// The database.
        database: String,
        /// The mark that it held.
        known: String,
        /// The mark there is.
        found: String,
    },
    /// A right is missing.
    #[error(
        "clickhouse at {place} does not let user {user:?} {doing}: grant it the right, on all of clickhouse.database: {text}"
    )]
    Right {
        /// Where it is.
        place: String,
        /// Who asks.
        user: String,
        /// What for.
        doing: String,
        /// The server's words.
        text: String,
    },
    /// A table that is not as this program knows it.
    #[error(
        "table {table} of clickhouse at {place}: column {column:?} is {found}, expected {expected}; was \
         it made by hand? rename it, and the program makes its own at the next start"
    )]
    Table {
        /// Where it is.
        place: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type there.
        found: String,
        /// Its type here.
        expected: String,
    },
    /// A schema from the future.
    #[error(
        "database {database:?} of clickhouse at {place} has schema {found}, this program knows {known}: run the newer program"
    )]
    Newer {
        /// Where it is.
        place: String,
        /// The database.
        database: String,
        /// Its number there.
        found: u32,
        /// Its number here.
        known: u32,
    },
    /// A row that no table of this kind can hold.
    #[error("row {row} of the batch (symbol {symbol}): {field:?} is {value}, expected {rule}")]
    Row {
        /// Position in the batch, from 1.
        row: usize,
        /// The security.
        symbol: String,
        /// The field.
        field: &'static str,
        /// As found.
        value: String,
        /// As allowed.
        rule: &'static str,
    },
    /// A record on a stream of another kind.
    #[error("records of type {record} do not go into table {table}")]
    Kind {
        /// The record's type.
        record: &'static str,
        /// The table.
        table: String,
    },
    /// A mark that is none.
    #[error(
        "table sqep_mark of clickhouse at {place} holds {text:?} as the mark of {kind} partition {partition}"
    )]
    Mark {
        /// Where it is.
        place: String,
        /// As found.
        text: String,
        /// The kind.
        kind: String,
        /// The partition.
        partition: u16,
    },
    /// A setting that cannot be meant.
    #[error("clickhouse.{key} is {value:?}, expected {rule}")]
    Config {
        /// The key.
        key: &'static str,
        /// As found.
        value: String,
        /// As allowed.
        rule: &'static str,
    },
    /// A file of the configuration.
    #[error("clickhouse: {0:#}")]
    File(anyhow::Error),
    /// A list of securities that cannot be read.
    #[error("{path}: line {line}: {why}")]
    Securities {
        /// The file.
        path: String,
        /// The line.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

impl ClickHouseError {
    /// What the server or the way to it said.
    pub(crate) fn of(
        who: &crate::client::Who,
        doing: impl Into<String>,
        source: clickhouse::error::Error,
    ) -> ClickHouseError {
        let (place, user, doing) = (who.place.clone(), who.user.clone(), doing.into());
        let Some((code, text)) = said(&source) else { return ClickHouseError::Away { place, doing, source } };
        match code {
            _ if WHO.contains(&code) => ClickHouseError::Who { place, user },
            _ if MAY.contains(&code) => ClickHouseError::Right { place, user, doing, text },
            UNKNOWN_DATABASE => ClickHouseError::Database { place, database: who.database.clone() },
            _ => ClickHouseError::Refused { place, doing, code, text },
        }
    }

    /// The server's exception code, where it is one that has no meaning of its own here.
    pub(crate) fn code(&self) -> Option<u32> {
        match self {
            ClickHouseError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether somebody must change the configuration, the rights or the program before a start can succeed.
    pub fn is_usage(&self) -> bool {
        use ClickHouseError::{Away, Changed, Refused};
        !matches!(self, Refused { .. } | Away { .. } | Changed { .. })
    }

    /// Whether it passes by itself: a server that is away or busy is waited for.
    pub fn passes(&self) -> bool {
        match self {
            ClickHouseError::Away { .. } => true,
            ClickHouseError::Refused { code, .. } => PASSES.contains(code),
            _ => false,
        }
    }

    /// Whether the server, or what it holds, may be another than before.
    pub(crate) fn casts_doubt(&self) -> bool {
        match self {
            ClickHouseError::Refused { code, .. } => [UNKNOWN_TABLE, UNKNOWN_SETTING].contains(code),
            ClickHouseError::Row { .. } => false,
            _ => true,
        }
    }

    /// Only what the rows themselves cause is for ever.
    pub(crate) fn judged(self) -> WriteError {
        let rows = match &self {
            ClickHouseError::Row { .. } => true,
            ClickHouseError::Refused { code, .. } => ROWS.contains(code),
            _ => false,
        };
        if rows { WriteError::Never(self.into()) } else { WriteError::Later(self.into()) }
    }
}

/// Code and words of an exception, on one line.
fn said(error: &clickhouse::error::Error) -> Option<(u32, String)> {
    let clickhouse::error::Error::BadResponse(text) = error else { return None };
    let digits = text.split_once("Code: ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let line = text.lines().next().unwrap_or_default();
    Some((digits[..end].parse().ok()?, line.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use clickhouse::error::Error;

    use super::*;
    use crate::client::Who;

    fn error(text: &str) -> ClickHouseError {
        let who = Who { place: "h:8123".into(), user: "sqep".into(), database: "bars".into() };
        ClickHouseError::of(&who, "inserting into bar_1d", Error::BadResponse(text.to_owned()))
    }

    fn is_never(text: &str) -> bool {
        matches!(error(text).judged(), WriteError::Never(_))
    }

    #[test]
    fn only_what_the_rows_cause_is_never_and_everything_else_is_later() {
        assert!(is_never(
            "Code: 469. DB::Exception: Constraint `c` is violated at row 1. (VIOLATED_CONSTRAINT)"
        ));
        let others = [33, 27, 131, 321, 349, 53, 60, 81, 516, 999_999];
        for world in PASSES.into_iter().chain(MAY).chain(others) {
            assert!(!is_never(&format!("Code: {world}. DB::Exception: …")), "{world}");
        }
        assert!(!is_never("502 Bad Gateway"), "a proxy's word is no exception");
        let away = ClickHouseError::of(
            &Who { place: String::new(), user: String::new(), database: String::new() },
            "",
            Error::TimedOut,
        );
        assert!(matches!(away.judged(), WriteError::Later(_)));
    }

    #[test]
    fn a_server_that_was_away_or_lacks_something_is_asked_anew() {
        for code in [60, 81, 115] {
            assert!(error(&format!("Code: {code}. DB::Exception: …")).casts_doubt(), "{code}");
        }
        assert!(error("a proxy's word").casts_doubt());
        assert!(!error("Code: 252. DB::Exception: Too many parts").casts_doubt());
    }

    #[test]
    fn what_passes_is_waited_for() {
        for code in PASSES {
            assert!(error(&format!("Code: {code}. DB::Exception: …")).passes(), "{code}");
        }
        assert!(error("a proxy's word").passes());
        for code in [60, 62, 81, 164, 392, 497, 516] {
            assert!(!error(&format!("Code: {code}. DB::Exception: …")).passes(), "{code}");
        }
    }

    #[test]
    fn what_somebody_must_mend_is_told_in_one_line() {
        let told = |text: &str| {
            let error = error(text);
            assert!(error.is_usage());
            let told = error.to_string();
            assert!(!told.contains('\n'), "{told}");
            told
        };
        assert!(told("Code: 516. DB::Exception: sqep: Authentication failed").contains("password_file"));
        assert!(
            told("Code: 81. DB::Exception: Database bars does not exist.").contains("CREATE DATABASE bars")
        );
        assert!(
            told("Code: 164. DB::Exception: Cannot execute query in readonly mode").contains("does not let")
        );
        assert!(told("Code: 392. DB::Exception: DDL queries are prohibited").contains("does not let"));
        let right = told("Code: 497. DB::Exception: sqep: Not enough privileges. To execute…\nstack\ntrace");
        assert!(right.contains("inserting into bar_1d") && right.contains("privileges"), "{right}");
        assert!(!error("Code: 252. DB::Exception: Too many parts").is_usage());
    }
}
