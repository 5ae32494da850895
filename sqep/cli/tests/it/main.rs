//! Every promise of `sqep` in one program, so that it is linked once.

mod audit;
mod compact;
mod demo;
mod doctor;
mod fake_tushare;
mod generate;
mod get;
mod look;
mod new;
mod operate;
