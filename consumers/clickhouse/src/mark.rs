//! The mark: how far the database holds everything, a row for each reader of a stream. Knows its table; must not know when it
//! moves.

use sqep::{EntryId, Kind, Mark};

use crate::{ClickHouseError, Store, error::UNKNOWN_TABLE, store::quoted};

/// Which reader a mark is of; the partition comes beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What the stream holds.
    pub kind: Kind,
    /// First word of the stream's keys.
    pub prefix: String,
    /// The group.
    pub group: String,
}

impl Key {
    /// The table of its rows.
    pub(crate) fn table(&self) -> String {
        self.kind.table()
    }

    /// The rows of its mark in a partition.
    fn is_own(&self, partition: u16) -> String {
        let Key { kind, prefix, group } = self;
        let [kind, prefix, group] = [kind.name(), prefix, group].map(quoted);
        format!("kind = {kind} AND partition = {partition} AND prefix = {prefix} AND reader = {group}")
    }
}

/// The columns of a row; `saved` is the server's.
const INTO: &str = "INSERT INTO sqep_mark (kind, partition, prefix, reader, seq, born, id, before, filled)";

/// Keeps a mark. The highest `seq` of a key is the current row, so that the last one kept counts, whatever its id. `filled`:
/// its table is known to hold rows; what was known before stays so.
pub(crate) async fn save(
    store: &Store,
    key: &Key,
    partition: u16,
    mark: &Mark,
    filled: bool,
) -> Result<(), ClickHouseError> {
    let Key { kind, prefix, group } = key;
    let [kind, prefix, group, born] = [kind.name(), prefix, group, &mark.born].map(quoted);
    let sql = format!(
        "{INTO} SELECT {kind}, {partition}, {prefix}, {group}, max(seq) + 1, {born}, '{}', '{}', {filled} OR argMax(filled, \
         seq) FROM sqep_mark WHERE {}",
        mark.id,
        mark.before,
        key.is_own(partition)
    );
    store.run(&sql, "keeping the mark").await
}

/// Adds to the mark there is that its table holds rows, unless it says so: a mark of a past is kept before the first of them,
/// and not moved until the last.
pub(crate) async fn note_rows(store: &Store, key: &Key, partition: u16) -> Result<(), ClickHouseError> {
    let sql = format!(
        "{INTO} SELECT kind, partition, prefix, reader, max(seq) + 1, argMax(born, seq), argMax(id, seq), argMax(before, seq), \
         true FROM sqep_mark WHERE {} GROUP BY kind, partition, prefix, reader HAVING argMax(id, seq) != '' AND NOT \
         argMax(filled, seq)",
        key.is_own(partition)
    );
    store.run(&sql, "keeping that there are rows").await
}

/// The mark kept last; without one of its own that of before marks had readers. Without a table there is none.
pub(crate) async fn load(store: &Store, key: &Key, partition: u16) -> Result<Option<Mark>, ClickHouseError> {
    let old = Key { prefix: String::new(), group: String::new(), ..key.clone() };
    let sql = format!(
        "SELECT born, id, before FROM sqep_mark WHERE ({}) OR ({}) ORDER BY reader != '' DESC, seq DESC LIMIT 1",
        key.is_own(partition),
        old.is_own(partition)
    );
    let text = match store.ask(&sql, "asking for the mark").await {
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => return Ok(None),
        text => text?,
    };
    let Some(line) = text.lines().next().filter(|line| *line != FORGOTTEN) else { return Ok(None) };
    let place = store.who().place.clone();
    let kind = key.kind.to_string();
    parse(line).map(Some).ok_or(ClickHouseError::Mark { place, text: line.to_owned(), kind, partition })
}

/// A row that says: no mark any more.
const FORGOTTEN: &str = "\t\t";

/// Whether a table holds any row. On a cluster every shard must answer.
pub(crate) async fn is_filled(store: &Store, table: &str) -> Result<bool, ClickHouseError> {
    let sql = format!("SELECT {} > 0", rows_of(table));
    Ok(store.ask(&sql, &format!("asking {table} for a row")).await?.trim() != "0")
}

/// One row of a table, or none, counted.
fn rows_of(table: &str) -> String {
    format!("(SELECT count() FROM (SELECT 1 FROM {table} LIMIT 1 SETTINGS skip_unavailable_shards = 0))")
}

/// Takes back what the marks of a kind say of rows, once `table` holds none of them; one that never had rows stays. The
/// statement itself asks for rows: another program may have loaded some meanwhile.
pub(crate) async fn forget(store: &Store, key: &Key, table: &str) -> Result<(), ClickHouseError> {
    let of_rows = format!(
        "FROM sqep_mark WHERE kind = {} AND {} = 0 GROUP BY kind, partition, prefix, reader HAVING argMax(id, seq) != '' AND \
         argMax(filled, seq)",
        quoted(key.kind.name()),
        rows_of(table)
    );
    let sql = format!("SELECT count() FROM (SELECT 1 {of_rows})");
    let marks = store.ask(&sql, "asking for marks of rows that are gone").await?;
    let marks = marks.trim();
    if marks == "0" {
        return Ok(());
    }
    tracing::warn!(
        marks,
        "table {table} holds no row any more: the marks that speak of its rows are taken back"
    );
    let sql =
        format!("{INTO} SELECT kind, partition, prefix, reader, max(seq) + 1, '', '', '', false {of_rows}");
    store.run(&sql, "taking back the mark").await
}

/// Whether a database that held `known` and now holds `found` has lost something since.
pub(crate) fn is_less(known: &Mark, found: Option<&Mark>) -> bool {
    found.is_none_or(|found| found.born != known.born || found.id < known.id)
}

fn parse(line: &str) -> Option<Mark> {
    let words: Vec<_> = line.split('\t').collect();
    let [born, id, before] = words[..] else { return None };
    let id_of = |text: &str| text.parse::<EntryId>().ok();
    Some(Mark { born: born.to_owned(), id: id_of(id)?, before: id_of(before)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(born: &str, ms: u64) -> Mark {
        Mark { born: born.into(), id: EntryId::new(ms, 1), before: EntryId::new(5, 0) }
    }

    #[test]
    fn a_row_that_is_no_mark_is_none() {
        assert_eq!(parse("abc\t7-1\t5-0"), Some(mark("abc", 7)));
        assert_eq!(parse("abc\tx\t5-0"), None);
        assert_eq!(parse("abc"), None);
    }

    #[test]
    fn less_is_none_an_older_one_or_that_of_another_stream() {
        let known = mark("abc", 7);
        assert!(is_less(&known, None));
        assert!(is_less(&known, Some(&mark("abc", 6))));
        assert!(is_less(&known, Some(&mark("def", 8))));
        assert!(!is_less(&known, Some(&known)));
        assert!(!is_less(&known, Some(&mark("abc", 8))));
    }
}
