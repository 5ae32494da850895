//! The agent that is shipped, beside a stand-in for QMT: real processes, a market that runs sixty times as fast. A program of
//! its own, so that nothing else takes of its time.

#[path = "../it/common/mod.rs"]
mod common;
mod days;
mod file;
mod looks;
mod minutes;
mod once;
mod program;
mod scene;
mod standin;
mod tls;
