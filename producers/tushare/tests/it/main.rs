//! Every promise of `sqep-tushare` in one program, so that it is linked once; speed has a program of its own.

mod backfill;
mod client;
mod codes;
mod common;
mod daemon;
mod distrust;
mod evening;
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
