//! Bars from Tushare Pro.
//!
//! A bar's way: [`plan`] lists pieces of work, a trade date or a code and a range of days; [`desk`] says which are due,
//! and [`source`] does them in order, as its [`errand`] has it, each as a [`job`], some ahead. [`client`] asks the
//! service, within the limits of the account and page by page; [`tables`] says what for. [`market`] asks for the tables
//! of a trade date and [`merge`] joins them, [`codes`] takes a code's, [`live`] the minute that has just ended;
//! [`parse`] brings rows into the protocol's units, [`judge`] looks at them together. [`complete`] counts who is
//! missing of a day, and [`weigh`] which days are of a code, but for [`halts`]; [`handed`] holds what was handed over,
//! [`state`] tells news from it, [`range`] which days of a code are done, and [`gaps`] and [`code_gaps`] keep the
//! ledger, of which [`lost`] misses nothing and [`shown`] tells. [`cost`] counts calls before they are made.

pub mod client;
pub mod code_gaps;
pub mod codes;
pub mod complete;
pub mod config;
pub mod cost;
pub mod desk;
pub mod errand;
pub mod gaps;
pub mod halts;
pub mod handed;
pub mod job;
pub mod judge;
pub mod known;
mod later;
mod lesser;
pub mod live;
pub mod lost;
pub mod market;
pub mod merge;
pub mod parse;
pub mod plan;
pub mod range;
mod report;
mod sheet;
pub mod shown;
pub mod source;
pub mod state;
pub mod summary;
pub mod symbols;
pub mod tables;
mod trouble;
pub mod universe;
pub mod weigh;
