//! Bars from Tushare Pro.
//!
//! A bar's way: [`plan`] lists pieces of work, a trade date or a code and a range of days; [`desk`] says which are due,
//! and [`source`] does them in order, as its [`errand`] has it, each as a [`job`], some ahead. [`client`] asks the service,
//! within the limits of the account and page by page; [`tables`] says what for. [`market`] asks for the tables of a trade
//! date and [`merge`] joins them, [`codes`] takes a code's, [`live`] the minute that has just ended; [`parse`] brings rows
//! into the protocol's units, [`judge`] looks at them together. [`complete`] counts who is missing of a day, and [`weigh`]
//! which days are of a code, but for [`halts`]; [`state`] tells news from what was published, [`range`] which days of a
//! code are done, and [`gaps`] keeps the ledger.

pub mod client;
pub mod codes;
pub mod complete;
pub mod config;
pub mod desk;
pub mod errand;
pub mod gaps;
pub mod halts;
pub mod job;
pub mod judge;
pub mod known;
pub mod live;
pub mod market;
pub mod merge;
pub mod parse;
pub mod plan;
pub mod range;
mod sheet;
pub mod source;
pub mod state;
pub mod summary;
pub mod symbols;
pub mod tables;
pub mod universe;
pub mod weigh;
