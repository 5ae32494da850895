//! The fake Tushare keeps the service's word: its protocol, its tables and its faults, and the service's own client
//! takes it for the service.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod client;
mod faults;
mod http;
mod protocol;
mod samples;
mod world;
