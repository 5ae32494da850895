//! Records of any kind as lines of JSON: the sink and its configuration.
//!
//! Knows files; must not know streams, vendors or when to try again: that is [`sqep::deliver`].
//!
//! ```text
//! ROOT/bar_1d/p0_1709258400000-0_1709258400005-3_9f86d081884c7d65.jsonl   one batch
//! ROOT/bar_1d/mark-0.json                                                 up to where everything is there
//! ```

pub mod config;
pub mod sink;
