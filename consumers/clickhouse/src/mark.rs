//! The mark: how far the database holds everything, a row for each reader of a stream. Knows its table; must not know when it
//! moves.

use sqep::{EntryId, Kind, Mark};

use crate::{ClickHouseError, Store, cluster::holder, error::UNKNOWN_TABLE, store::quoted};

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

/// Keeps a mark. The highest `seq` of a key is the current row, so that the last one kept counts, whatever its id.
pub(crate) async fn save(
    store: &Store,
    key: &Key,
    partition: u16,
    mark: &Mark,
) -> Result<(), ClickHouseError> {
    let Key { kind, prefix, group } = key;
    let [kind, prefix, group, born] = [kind.name(), prefix, group, &mark.born].map(quoted);
    let sql = format!(
        "INSERT INTO sqep_mark (kind, partition, prefix, reader, seq, born, id, before) SELECT {kind}, {partition}, \
         {prefix}, {group}, max(seq) + 1, {born}, '{}', '{}' FROM sqep_mark WHERE {}",
        mark.id,
        mark.before,
        key.is_own(partition)
    );
    store.run(&sql, "keeping the mark").await
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

/// Takes back what all marks of a kind say if its table is not there, and was not put aside either. The statement itself
/// asks for that: another program may have made the table meanwhile.
pub(crate) async fn forget(store: &Store, key: &Key) -> Result<(), ClickHouseError> {
    let has = "SELECT count() FROM system.tables WHERE database = 'system' AND name = 'detached_tables'";
    let has_detached = store.ask(has, "asking for its tables").await?.trim() != "0";
    let table = quoted(&holder(&key.table(), &store.config().cluster));
    let mut gone = not_in("tables", "name", &table);
    if has_detached {
        gone = format!("{gone} AND {}", not_in("detached_tables", "table", &table));
    }
    let sql = format!(
        "INSERT INTO sqep_mark (kind, partition, prefix, reader, seq, born, id, before) SELECT kind, partition, prefix, \
         reader, max(seq) + 1, '', '', '' FROM sqep_mark WHERE kind = {} AND {gone} GROUP BY kind, partition, prefix, reader HAVING \
         argMax(id, seq) != ''",
        quoted(key.kind.name())
    );
    store.run(&sql, "taking back the mark").await
}

/// That a list of the server's does not name a table of the database.
fn not_in(list: &str, column: &str, table: &str) -> String {
    format!(
        "(SELECT count() FROM system.{list} WHERE database = currentDatabase() AND {column} = {table}) = 0"
    )
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
