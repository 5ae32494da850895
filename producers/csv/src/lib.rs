//! Bars from CSV files of any known dialect.
//!
//! A file's way: [`files`] turns arguments into files, [`ledger`] says what is to be done with each, [`work`] reads it
//! on a thread of its own and [`enrich`] joins what side files know, [`source`] hands its rows to the publishing loop
//! in the order of the input, and [`report`] tells what became of them. In a daemon [`watch`] says when to look again.

pub mod files;
pub mod ledger;
pub mod pool;
pub mod report;
pub mod watch;
