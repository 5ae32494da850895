//! The 45 features of a bar: a pure kernel, one bar in, one row out, the same bits in a batch, live and in a replay.
//!
//! The kernel knows formulas, days and minutes; it neither does I/O nor asks the time. [`list`] says what the features are,
//! [`Kernel`] computes them of traded bars, [`DayFeatures`] and [`MinuteFeatures`] feed it with what lies on a stream. Around
//! it stands the program: [`run`] puts the loops together, a desk a partition keeps state, snapshot and stream in step.
//!
//! ```
//! use sqep::{Calendar, DayBar, Record};
//! use sqep_features::DayFeatures;
//!
//! let mut features = DayFeatures::new("600000.SH".parse().unwrap());
//! let (open, high, low, close) = (10.0, 10.2, 9.9, 10.1);
//! let bar = DayBar {
//!     symbol: features.symbol(),
//!     frame: "2024-03-01".parse().unwrap(),
//!     vol: 1000.0,
//!     adjust: Some(1.0),
//!     ..DayBar { open, high, low, close, ..DayBar::blank() }
//! };
//! let row = features.push(&bar, &Calendar::published()).unwrap().unwrap();
//! assert_eq!(row.by_name("ret_1"), None);
//! assert!((row.by_name("close_pos").unwrap() - 2.0 / 3.0).abs() < 1e-12);
//! ```

mod average;
mod bar;
mod candle;
pub mod config;
mod day;
mod desk;
pub mod engine;
mod hash;
mod history;
mod kernel;
pub mod list;
mod ln;
mod minute;
mod oscillator;
pub mod outbox;
mod past;
mod ring;
mod row;
pub mod run;
mod save;
mod security;
mod series;
mod sink;
mod snapshot;
mod spread;
mod store;
mod table;
mod trend;
pub mod verify;
mod volume;
mod window;

pub use bar::{
    AMOUNT_YUAN_MAX, FACTOR_MAX, FACTOR_MIN, PRICE_YUAN_MAX, PRICE_YUAN_MIN, Refused, Rules, Traded,
    Turnover, VOL_SHARES_MAX, VOL_SHARES_MIN,
};
pub use day::DayFeatures;
pub use kernel::Kernel;
pub use list::{Feature, Length};
pub use minute::{MinuteFeatures, MinuteRow};
pub use row::Row;
pub use save::SnapshotError;
pub use series::{Facts, PushError};
