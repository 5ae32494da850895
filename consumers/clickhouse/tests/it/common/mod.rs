//! What the tests share: a sink of a database of the test's own, and rows read back by another way than the sink's.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

pub(crate) mod stream;

use std::{collections::BTreeMap, sync::Arc};

use chrono::NaiveDateTime;
use sqep::{
    Batch, EntryId, Kind, Record, Row, Sink, Symbol, WriteError,
    record::{Cell, Field, Type},
};
use sqep_clickhouse::{ClickHouseSink, Config, Key, Store};
use sqep_testkit::TestClickHouse;

/// How a sink of this database is configured.
pub(crate) fn config(server: &TestClickHouse) -> Config {
    let (user, password) = server.user();
    let config = Config {
        url: server.url(),
        database: server.database().to_owned(),
        cluster: server.cluster().to_owned(),
        timeout_s_max: 20,
        ..Config::default()
    };
    if user.is_empty() {
        config
    } else {
        Config { user: user.to_owned(), password: password.into(), ..config }
    }
}

/// The reader of a program that is told nothing else.
pub(crate) fn key(kind: Kind) -> Key {
    Key { kind, prefix: "sqep".to_owned(), group: "clickhouse".to_owned() }
}

pub(crate) fn sink<R: Record>(server: &TestClickHouse, kind: Kind) -> ClickHouseSink<R> {
    sink_of(config(server), key(kind))
}

pub(crate) fn sink_of<R: Record>(config: Config, key: Key) -> ClickHouseSink<R> {
    ClickHouseSink::new(Store::new(config).unwrap(), key).unwrap()
}

/// Writes records as one batch; each with its version.
pub(crate) async fn write<R: Record>(
    sink: &mut ClickHouseSink<R>,
    records: &[(R, u64)],
) -> Result<(), WriteError> {
    let rows: Vec<_> = records.iter().map(|&(record, version)| Row { record, version, source: 0 }).collect();
    let sources = [Arc::from("test")];
    let (first, last) = (EntryId::ZERO, EntryId::ZERO);
    sink.write(&Batch { partition: 0, first, last, rows: &rows, sources: &sources }).await
}

/// The current row of each key with its version; a key that has two is a broken promise.
pub(crate) fn held<R: Record>(
    server: &TestClickHouse,
    kind: Kind,
) -> anyhow::Result<BTreeMap<(Symbol, i64), (u64, R)>> {
    let names: Vec<_> = R::FIELDS.iter().map(|field| field.name).collect();
    let sql =
        format!("SELECT {}, version FROM {}_current FORMAT TabSeparated", names.join(", "), kind.table());
    let mut held = BTreeMap::new();
    for line in server.ask(&sql)?.lines() {
        let mut cells = line.split('\t');
        let mut record = R::blank();
        for (at, (field, text)) in R::FIELDS.iter().zip(&mut cells).enumerate() {
            record.set(at, cell(field, text));
        }
        let version = cells.next().unwrap().parse().unwrap();
        assert!(held.insert(record.key(), (version, record)).is_none(), "key twice: {line}");
    }
    Ok(held)
}

fn cell(field: &Field, text: &str) -> Cell {
    if text == "\\N" {
        return Cell::Null;
    }
    match field.kind {
        Type::Symbol => Cell::Symbol(Symbol::from_i32(text.parse().unwrap()).unwrap()),
        Type::Date => Cell::Date(text.parse().unwrap()),
        Type::Minute => Cell::Minute(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()),
        Type::Float => Cell::Float(text.parse().unwrap()),
        Type::Bool => Cell::Bool(text.parse().unwrap()),
        Type::Integer => Cell::Integer(text.parse().unwrap()),
    }
}
