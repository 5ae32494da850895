//! Servers a test owns, fakes, suites that every source and sink must pass, and a market to feed them.

pub mod clickhouse;
pub mod dice;
pub mod feed;
pub mod given;
pub mod market;
pub mod programs;
pub mod server;
pub mod sim;
pub mod suite;
pub mod tushare;

pub use clickhouse::TestClickHouse;
pub use server::TestRedis;
