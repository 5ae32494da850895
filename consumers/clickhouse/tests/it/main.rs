//! Every promise of `sqep-clickhouse` in one program, so that it is linked once.

mod cluster;
mod common;
mod kill;
mod kinds;
mod program;
mod queries;
mod real;
mod replaced;
mod schema;
mod suite;
mod tls;
mod trouble;
mod views;
