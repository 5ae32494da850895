//! Bars of QMT: from an agent beside QMT that dials out, and from the local data files of QMT and TDX.
//!
//! A file's way: [`files`] finds it, [`format`](mod@format) decodes its records ([`dat`], [`tdx`]), [`survey`](mod@survey)
//! judges them together, [`file`](mod@file) hands them out, [`folder`] brings files in order and [`ledger`] keeps how
//! far each got.
//!
//! A line's way: [`listen`](mod@listen) reads it from a connection that [`session`] lets in, or [`recording`] from a
//! file; [`protocol`] and [`row`] say what it is, [`board`] which bars are final, [`intake`] makes records of them, and
//! [`live`] hands them over. What is missing is found by [`daily`], kept by [`gaps`] and asked for by [`asks`]; [`sweeps`] says
//! since when everything was looked at. Days are made by [`desk`] of what is [`known`], and lie on a [`shelf`].

pub mod asks;
pub mod bar;
pub mod board;
pub mod clock;
pub mod config;
pub mod daily;
pub mod dat;
pub mod day;
pub mod desk;
pub mod file;
pub mod files;
pub mod folder;
pub mod format;
pub mod gaps;
pub mod intake;
pub mod known;
pub mod ledger;
mod line;
pub mod listen;
pub mod live;
mod order;
pub mod outcome;
pub mod protocol;
pub mod reading;
pub mod recording;
mod records;
pub mod row;
pub mod rules;
pub mod secret;
pub mod session;
pub mod shelf;
pub mod survey;
pub mod sweeps;
pub mod tdx;
pub mod tls;
pub mod units;
