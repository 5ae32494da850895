//! The mark: how far the database holds everything, a row a kind and partition of the stream. Knows its table; must not know
//! when it moves.

use sqep::{EntryId, Kind, Mark};

use crate::{ClickHouseError, Store, error::UNKNOWN_TABLE, store::quoted};

/// Keeps a mark. The highest `seq` of a key is the current row, so that the last one kept counts, whatever its id.
pub(crate) async fn save(
    store: &Store,
    kind: Kind,
    partition: u16,
    mark: &Mark,
) -> Result<(), ClickHouseError> {
    let (kind, born) = (quoted(kind.name()), quoted(&mark.born));
    let sql = format!(
        "INSERT INTO sqep_mark (kind, partition, seq, born, id, before) SELECT {kind}, {partition}, max(seq) + 1, {born}, \
         '{}', '{}' FROM sqep_mark WHERE kind = {kind} AND partition = {partition}",
        mark.id, mark.before
    );
    store.run(&sql, "keeping the mark").await
}

/// The mark kept last. Without a table there is none.
pub(crate) async fn load(store: &Store, kind: Kind, partition: u16) -> Result<Option<Mark>, ClickHouseError> {
    let sql = format!(
        "SELECT born, id, before FROM sqep_mark WHERE kind = {} AND partition = {partition} ORDER BY seq DESC LIMIT 1",
        quoted(kind.name())
    );
    let text = match store.ask(&sql, "asking for the mark").await {
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => return Ok(None),
        text => text?,
    };
    let Some(line) = text.lines().next() else { return Ok(None) };
    let place = store.who().place.clone();
    let kind = kind.to_string();
    parse(line).map(Some).ok_or(ClickHouseError::Mark { place, text: line.to_owned(), kind, partition })
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

    #[test]
    fn a_row_that_is_no_mark_is_none() {
        let mark = parse("abc\t7-1\t5-0").unwrap();
        assert_eq!(mark, Mark { born: "abc".into(), id: EntryId::new(7, 1), before: EntryId::new(5, 0) });
        assert_eq!(parse("abc\tx\t5-0"), None);
        assert_eq!(parse("abc"), None);
    }
}
