//! Every promise of `sqep-tushare` in one program, so that it is linked once; speed and the evening, whose clock
//! stands while there is work, have programs of their own.

mod backfill;
mod client;
mod codes;
mod common;
mod daemon;
mod distrust;
mod gaps;
mod live;
mod outlives;
mod plan;
mod real_data;
mod refusals;
mod sixty;
mod streams;
mod units;
mod whole;
mod withheld;
