//! The newest record of each security, as a hash that a program asks for by name. Knows names and texts of fields; must not
//! know what they mean.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use redis::Pipeline;

use super::{Connection, Server, keys::Keys};
use crate::{Kind, Record, publish::partition_of, record::Cell, transport::TransportError};

/// Keeps the newest record of each security on the server.
#[derive(Debug)]
pub struct Latest {
    server: Server,
    prefix: String,
    kind: Kind,
    partitions: u16,
    expires: Duration,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// Times of what is kept, by security.
    times: Mutex<HashMap<i32, i64>>,
}

/// The field that orders records: [`Record::time`].
const TIME: &str = "time";

impl Latest {
    /// For records of this kind, which go `expires` after they were kept.
    pub fn new(server: Server, prefix: &str, kind: Kind, partitions: u16, expires: Duration) -> Latest {
        let (prefix, connection) = (prefix.to_owned(), tokio::sync::Mutex::new(None));
        Latest { server, prefix, kind, partitions, expires, connection, times: Mutex::default() }
    }

    /// Keeps those of these records that are not older than what is kept.
    pub async fn keep<R: Record>(&self, records: &[R]) -> Result<(), TransportError> {
        self.put(records, false).await
    }

    /// Keeps these records, whatever is kept: what was the newest of a security may not be any more.
    pub async fn replace<R: Record>(&self, records: &[R]) -> Result<(), TransportError> {
        self.put(records, true).await
    }

    /// Forgets the securities of these records, unless something newer than the record is kept of one.
    pub async fn forget<R: Record>(&self, records: &[R]) -> Result<(), TransportError> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        let mut gone: HashMap<i32, &R> =
            records.iter().map(|record| (record.symbol().get(), record)).collect();
        self.learn(&mut connection, &gone).await?;
        gone.retain(|symbol, record| self.known(*symbol).is_some_and(|known| known <= record.time()));
        if !gone.is_empty() {
            let mut delete = redis::pipe();
            for record in gone.values() {
                delete.cmd("DEL").arg(self.key(*record)).ignore();
            }
            connection.ask_all::<redis::Value>(&delete).await?;
        }
        if let Ok(mut times) = self.times.lock() {
            times.retain(|symbol, _| !gone.contains_key(symbol));
        }
        *held = Some(connection);
        Ok(())
    }

    async fn put<R: Record>(&self, records: &[R], whatever_is_kept: bool) -> Result<(), TransportError> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        let mut newest: HashMap<i32, &R> = HashMap::new();
        for record in records {
            let best = newest.entry(record.symbol().get()).or_insert(record);
            if record.time() >= best.time() {
                *best = record;
            }
        }
        if !whatever_is_kept {
            self.learn(&mut connection, &newest).await?;
            newest.retain(|symbol, record| self.known(*symbol).is_none_or(|known| record.time() >= known));
        }
        let mut set = redis::pipe();
        set.atomic();
        for record in newest.values() {
            self.add(&mut set, *record);
        }
        if !newest.is_empty() {
            connection.ask_all::<redis::Value>(&set).await?;
        }
        if let Ok(mut times) = self.times.lock() {
            times.extend(newest.iter().map(|(symbol, record)| (*symbol, record.time())));
        }
        *held = Some(connection);
        Ok(())
    }

    fn known(&self, symbol: i32) -> Option<i64> {
        self.times.lock().ok()?.get(&symbol).copied()
    }

    /// Asks what is kept of securities not met before.
    async fn learn<R: Record>(
        &self,
        connection: &mut Connection,
        newest: &HashMap<i32, &R>,
    ) -> Result<(), TransportError> {
        let unknown: Vec<&R> = newest
            .iter()
            .filter(|(symbol, _)| self.known(**symbol).is_none())
            .map(|(_, record)| *record)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut get = redis::pipe();
        for record in &unknown {
            get.cmd("HGET").arg(self.key(*record)).arg(TIME);
        }
        let times: Vec<Option<i64>> = connection.ask_all(&get).await?;
        if let Ok(mut known) = self.times.lock() {
            let told = unknown.iter().zip(times);
            known.extend(told.filter_map(|(record, time)| Some((record.symbol().get(), time?))));
        }
        Ok(())
    }

    fn key<R: Record>(&self, record: &R) -> String {
        let partition = partition_of(record.symbol(), self.partitions);
        Keys::new(&self.prefix, self.kind, partition).latest(record.symbol())
    }

    fn add<R: Record>(&self, set: &mut Pipeline, record: &R) {
        let key = self.key(record);
        set.cmd("DEL").arg(&key).ignore();
        let command = set.cmd("HSET").arg(&key).arg(TIME).arg(record.time());
        for (at, field) in R::FIELDS.iter().enumerate() {
            if let Some(text) = text(record.get(at)) {
                command.arg(field.name).arg(text);
            }
        }
        command.ignore();
        set.cmd("EXPIRE").arg(&key).arg(self.expires.as_secs().max(1)).ignore();
    }
}

/// A cell as text; a null has no field.
fn text(cell: Cell) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Symbol(symbol) => symbol.get().to_string(),
        Cell::Date(date) => date.to_string(),
        Cell::Minute(wall) => wall.format("%Y-%m-%d %H:%M:%S").to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Bool(value) => u8::from(value).to_string(),
        Cell::Integer(value) => value.to_string(),
    })
}
