//! The agent protocol, version 1: one JSON object a line. Knows what each line says (`schemas/qmt-agent.md`); must not
//! know connections nor bars of a stream.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqep::{Kind, kind::Grid};

pub use crate::row::{Odd, Row, Rows};
use crate::units::VolUnit;

/// The version this program speaks.
pub const VERSION: u64 = 1;

/// Length of a bar as QMT names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    /// One minute.
    #[serde(rename = "1m")]
    M1,
    /// Five minutes.
    #[serde(rename = "5m")]
    M5,
    /// A day.
    #[serde(rename = "1d")]
    Day,
}

impl Period {
    /// The period of a stream's bars; `None`: QMT has none.
    pub const fn of(kind: Kind) -> Option<Period> {
        match kind {
            Kind::BarMinute(Grid::M1) => Some(Period::M1),
            Kind::BarMinute(Grid::M5) => Some(Period::M5),
            Kind::BarDay => Some(Period::Day),
            _ => None,
        }
    }

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Period::M1 => "1m",
            Period::M5 => "5m",
            Period::Day => "1d",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A line of an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Who it is.
    Hello(Hello),
    /// Bars.
    Bars(Bars),
    /// Today's limits and name of a security.
    Instrument(Instrument),
    /// Ex-days of a security.
    Divid(Divid),
    /// It is alive.
    Beat(Beat),
    /// A request is answered.
    Done(Done),
    /// A request failed.
    Failed(Failed),
    /// Codes it can give, in place of those of the hello.
    Codes(Codes),
    /// A type of a later version.
    Unknown(String),
    /// A line that is JSON, but not what its type says.
    Odd {
        /// Why it does not read.
        why: String,
        /// Its beginning.
        raw: String,
    },
}

/// `hello`: the first line.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub v: u64,
    /// Name of the agent; one of a name at a time.
    pub agent: String,
    /// Made up anew for each connection.
    #[serde(default)]
    pub session: String,
    /// The secret.
    #[serde(default)]
    pub token: String,
    /// What it reads from: `xtdata`, `xtdc`, `bigqmt`, `replay`.
    #[serde(default)]
    pub api: String,
    /// Units of its rows.
    #[serde(default)]
    pub unit: Units,
    /// Codes it can give; asked for where the configuration names none.
    #[serde(default)]
    pub codes: Vec<String>,
}

impl fmt::Debug for Hello {
    /// Never shows the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes = self.codes.len();
        f.debug_struct("Hello").field("agent", &self.agent).field("codes", &codes).finish_non_exhaustive()
    }
}

/// Units that an agent declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Units {
    /// Of volume: `lot` or `share`.
    pub volume: Option<VolUnit>,
}

/// Whether bars are as they come or as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Pushed or polled during the session.
    Live,
    /// The answer to a request.
    History,
}

/// `bars`: rows of one security.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bars {
    /// Number of the line, if it is numbered.
    #[serde(default)]
    pub seq: u64,
    /// Length of the bars.
    pub period: Period,
    /// Where they come from.
    pub src: From,
    /// The request they answer.
    #[serde(default)]
    pub req: Option<u64>,
    /// Such as `000001.SZ`.
    pub code: String,
    /// The rows, in QMT's words.
    pub rows: Rows,
}

/// `instrument`: what is known of a security today.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Instrument {
    /// `YYYYMMDD`.
    #[serde(default, deserialize_with = "text")]
    pub day: String,
    /// Such as `000001.SZ`.
    pub code: String,
    /// Name, with `ST` in it.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Upper limit, yuan.
    #[serde(default)]
    pub up: Option<f64>,
    /// Lower limit, yuan.
    #[serde(default)]
    pub down: Option<f64>,
    /// Reference price, yuan.
    #[serde(default, rename = "preClose")]
    pub pre_close: Option<f64>,
}

/// `divid`: ex-days of a security.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Divid {
    /// Such as `000001.SZ`.
    pub code: String,
    /// The days, in any order.
    pub rows: Vec<ExDay>,
}

/// An ex-day.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct ExDay {
    /// Milliseconds since 1970-01-01 UTC: 00:00 of the day in Beijing.
    pub time: i64,
    /// What a price before that day is divided by.
    #[serde(default)]
    pub dr: Option<f64>,
}

/// `hb`: every second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Beat {
    /// Number of the line, if it is numbered.
    #[serde(default)]
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC, by the clock of its machine.
    pub now: i64,
    /// Whether QMT is connected to its servers, as far as the agent can tell.
    #[serde(default = "yes")]
    pub connected: bool,
    /// The last `ack` that had come when the last look at all securities began.
    #[serde(default)]
    pub swept: Option<u64>,
}

fn yes() -> bool {
    true
}

/// A text, or a number as one; null is empty.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a number")]
    enum Told {
        Text(String),
        Number(i64),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(Told::Text(text)) => text,
        Some(Told::Number(number)) => number.to_string(),
        None => String::new(),
    })
}

/// `done`: all rows of a request are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// The request.
    pub req: u64,
    /// Rows that were sent for it.
    pub rows: u64,
}

/// `err`: a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failed {
    /// The request.
    #[serde(default)]
    pub req: Option<u64>,
    /// The security that failed; the others of the request go on. Without it the request has failed.
    #[serde(default)]
    pub code: Option<String>,
    /// What QMT said.
    #[serde(default)]
    pub msg: String,
}

/// `codes`: what an agent can give now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Codes {
    /// In place of those of the hello; none: nothing changes.
    pub codes: Vec<String>,
}

/// A line of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Reply {
    /// Come in.
    Ok {
        /// Version of the protocol.
        v: u64,
        /// That of the hello.
        session: String,
    },
    /// The connection ends.
    Bye {
        /// Why, in one word or a few.
        reason: String,
    },
    /// Push or poll these from now on; replaces what was asked before.
    Sub {
        /// Securities.
        codes: Vec<String>,
        /// Length of the bars.
        period: Period,
        /// From when on the bars of these securities matter: midnight of today, `YYYYMMDDHHMMSS` in Shanghai.
        start: String,
    },
    /// Send what is kept.
    Hist {
        /// Comes back in rows and `done`.
        req: u64,
        /// Securities.
        codes: Vec<String>,
        /// Length of the bars.
        period: Period,
        /// First bar, `YYYYMMDDHHMMSS` in Shanghai.
        start: String,
        /// Last bar.
        end: String,
        /// Whether to download before reading.
        download: bool,
        /// Whether `instrument` and `divid` of each code are wanted, too.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        refs: bool,
    },
    /// Lines up to this number were read.
    Ack {
        /// The number.
        seq: u64,
    },
}

impl Reply {
    /// As a line, end included.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// The end, with a reason.
    pub fn bye(reason: &str) -> Reply {
        Reply::Bye { reason: reason.to_owned() }
    }
}

/// A line that does not read.
#[derive(Debug, thiserror::Error)]
#[error("a line of the agent does not read")]
pub struct ProtocolError(#[from] serde_json::Error);

impl ProtocolError {
    /// Whether it is JSON, so that the line after it can be told.
    pub fn is_json(&self) -> bool {
        self.0.is_data()
    }

    /// What is wrong with it.
    pub fn why(&self) -> String {
        self.0.to_string()
    }
}

/// Reads a line.
pub fn parse(line: &[u8]) -> Result<Message, ProtocolError> {
    #[derive(Deserialize)]
    struct Head {
        t: String,
    }
    let Head { t } = serde_json::from_slice(line)?;
    Ok(match t.as_str() {
        "hello" => Message::Hello(serde_json::from_slice(line)?),
        "bars" => Message::Bars(serde_json::from_slice(line)?),
        "instrument" => Message::Instrument(serde_json::from_slice(line)?),
        "divid" => Message::Divid(serde_json::from_slice(line)?),
        "hb" => Message::Beat(serde_json::from_slice(line)?),
        "done" => Message::Done(serde_json::from_slice(line)?),
        "err" => Message::Failed(serde_json::from_slice(line)?),
        "codes" => Message::Codes(serde_json::from_slice(line)?),
        _ => Message::Unknown(t.chars().take(32).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_nobody_knows_are_ignored_and_types_nobody_knows_are_named() {
        let hb = parse(br#"{"t":"hb","seq":3,"now":1735781460000,"connected":true,"subs":300,"later":[1]}"#)
            .unwrap();
        assert_eq!(hb, Message::Beat(Beat { seq: 3, now: 1_735_781_460_000, connected: true, swept: None }));
        assert_eq!(parse(br#"{"t":"orders","x":1}"#).unwrap(), Message::Unknown("orders".to_owned()));
        for wrong in ["", "{", "[]", "{\"t\":1}", "{\"t\":\"bars\"}", "{\"t\":\"bars\",\"period\":\"15m\"}"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hello_is_printed_without_its_token() {
        let line = br#"{"t":"hello","v":1,"agent":"pc1","token":"hunter2","unit":{"volume":"lot"}}"#;
        let Message::Hello(hello) = parse(line).unwrap() else { panic!() };
        assert_eq!(hello.unit.volume, Some(VolUnit::Lots));
        assert!(!format!("{hello:?}").contains("hunter2"));
    }
}
