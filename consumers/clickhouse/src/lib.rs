//! Loads ClickHouse: batches of any kind become rows of the table of that kind.
//!
//! A bar's way: [`ClickHouseSink`] makes sure of the database (`ready`), cuts a batch by partition (`split`), makes bytes of its
//! rows (`rows`) and sends them (`insert`, `store`); the mark follows (`mark`). What the tables look like stands in
//! `schemas/clickhouse`, is applied by `schema` and kept in mind by `ledger`. What an error of the server means is decided in `error`, once.

mod client;
mod cluster;
mod config;
mod error;
mod insert;
mod ledger;
mod mark;
mod ready;
mod rows;
mod schema;
mod securities;
mod sink;
mod split;
mod store;

pub use config::{Compression, Config};
pub use error::ClickHouseError;
pub use mark::Key;
pub use schema::{STATEMENTS, Script, administer, statements};
pub use securities::import;
pub use sink::ClickHouseSink;
pub use store::Store;
