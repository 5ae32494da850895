//! The source on a trading day of many securities with everything that happens to it; the clock is ours, so that a day takes
//! a moment.

mod again;
mod bench;
mod day;
mod looks;
mod pc;
mod silence;
