//! One agent's connection as a sequence of lines: who may speak, and what is passed on. Knows the protocol's order; must
//! not know sockets. Time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    protocol::{Hello, Message, VERSION, parse},
    secret::Token,
    units::VolUnit,
};

/// Seconds over which the rate of lines is taken, so that an answer may come in a burst.
const BURST_S: u64 = 10;
/// Bytes of an agent's name.
const NAME_BYTES_MAX: usize = 64;

/// Characters of an odd line that are kept.
const ODD_CHARS_MAX: usize = 1_000;

/// Who is let in.
#[derive(Debug, Clone)]
pub struct Door {
    /// The secret.
    pub token: Token,
    /// The unit of volume that the configuration insists on.
    pub unit: Option<VolUnit>,
}

/// Why a connection ends; the words are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bye {
    /// The first line is no hello.
    #[error("hello")]
    Hello,
    /// Another version of the protocol.
    #[error("version")]
    Version,
    /// Not the token.
    #[error("token")]
    Token,
    /// A name that is empty, too long, or not of letters, digits, `-`, `_` and `.`.
    #[error("name")]
    Name,
    /// An agent of this name is connected.
    #[error("taken")]
    Taken,
    /// The agent's unit is not the configured one.
    #[error("unit")]
    Unit,
    /// A line that is no JSON.
    #[error("json")]
    Json,
    /// A line that is too long.
    #[error("line")]
    Line,
    /// Too many lines.
    #[error("rate")]
    Rate,
    /// No whole line for too long.
    #[error("silence")]
    Silence,
    /// Too many connections.
    #[error("full")]
    Full,
    /// No securities are named, neither by the configuration nor by the agent.
    #[error("codes")]
    Codes,
    /// The producer ends.
    #[error("stop")]
    Stop,
}

/// What a line was.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The hello, and it is in order.
    Enter(Hello),
    /// A line of an agent that is in.
    Pass(Message),
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    door: Door,
    entered: bool,
    rate: Rate,
}

/// A bucket of lines.
#[derive(Debug)]
struct Rate {
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    fn take(&mut self, now: Instant) -> bool {
        let burst = self.per_s * Duration::from_secs(BURST_S).as_secs_f64();
        self.left = (self.left + self.per_s * now.duration_since(self.at).as_secs_f64()).min(burst);
        self.at = now;
        self.left -= 1.0;
        self.left >= 0.0
    }
}

impl Session {
    /// A connection that has said nothing yet.
    pub fn new(door: Door, lines_per_s_max: u64, now: Instant) -> Session {
        let per_s = f64::from(u32::try_from(lines_per_s_max).unwrap_or(u32::MAX));
        let left = per_s * Duration::from_secs(BURST_S).as_secs_f64();
        Session { door, entered: false, rate: Rate { per_s, left, at: now } }
    }

    /// Takes a line.
    pub fn take(&mut self, line: &[u8], now: Instant) -> Result<Step, Bye> {
        if !self.rate.take(now) {
            return Err(Bye::Rate);
        }
        let message = match parse(line) {
            Ok(message) => message,
            // What is whole JSON leaves no doubt where the next line begins.
            Err(error) if self.entered && error.is_json() => {
                let raw = String::from_utf8_lossy(line).chars().take(ODD_CHARS_MAX).collect();
                Message::Odd { why: error.why(), raw }
            }
            Err(_) => return Err(if self.entered { Bye::Json } else { Bye::Hello }),
        };
        match message {
            Message::Hello(_) if self.entered => Err(Bye::Hello),
            Message::Hello(hello) => {
                self.judge(&hello)?;
                self.entered = true;
                Ok(Step::Enter(hello))
            }
            message if self.entered => Ok(Step::Pass(message)),
            _ => Err(Bye::Hello),
        }
    }

    /// The token first: who does not know it learns nothing else.
    fn judge(&self, hello: &Hello) -> Result<(), Bye> {
        if !self.door.token.is(&hello.token) {
            return Err(Bye::Token);
        }
        if hello.v != VERSION {
            return Err(Bye::Version);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if hello.agent.is_empty() || hello.agent.len() > NAME_BYTES_MAX || !hello.agent.chars().all(plain) {
            return Err(Bye::Name);
        }
        match (self.door.unit, hello.unit.volume) {
            (Some(wanted), Some(declared)) if wanted != declared => Err(Bye::Unit),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn session(unit: Option<VolUnit>) -> Session {
        let door = Door { token: Token::from(TOKEN), unit };
        Session::new(door, 100, Instant::now())
    }

    fn hello(more: &str) -> String {
        format!(r#"{{"t":"hello","v":1,"agent":"pc1","token":"{TOKEN}"{more}}}"#)
    }

    #[test]
    fn nothing_is_taken_before_a_good_hello() {
        let now = Instant::now();
        let hb = r#"{"t":"hb","now":1}"#;
        for (line, bye) in [
            (hb.to_owned(), Bye::Hello),
            ("GET / HTTP/1.1".to_owned(), Bye::Hello),
            (hello("").replace(TOKEN, "0123456789abcdee"), Bye::Token),
            (hello("").replace(TOKEN, ""), Bye::Token),
            (hello("").replace("\"v\":1", "\"v\":2"), Bye::Version),
            (hello("").replace("pc1", ""), Bye::Name),
            (hello("").replace("pc1", "a\\nb"), Bye::Name),
            (hello(r#","unit":{"volume":"share"}"#), Bye::Unit),
        ] {
            assert_eq!(session(Some(VolUnit::Lots)).take(line.as_bytes(), now).unwrap_err(), bye, "{line}");
        }
        let mut session = session(None);
        assert!(matches!(session.take(hello("").as_bytes(), now), Ok(Step::Enter(_))));
        assert!(matches!(session.take(hb.as_bytes(), now), Ok(Step::Pass(Message::Beat(_)))));
        assert_eq!(session.take(hello("").as_bytes(), now).unwrap_err(), Bye::Hello, "once");
        let odd = session.take(br#"{"t":"bars","period":"15m"}"#, now).unwrap();
        assert!(
            matches!(odd, Step::Pass(Message::Odd { .. })),
            "an odd line costs itself, not the connection"
        );
        assert_eq!(session.take(b"{", now).unwrap_err(), Bye::Json);
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut session = session(None);
        assert!(session.take(hello("").as_bytes(), start).is_ok());
        let passed = (0..5_000).take_while(|_| session.take(br#"{"t":"x"}"#, start).is_ok()).count();
        assert_eq!(passed, 999, "ten seconds of lines, the hello among them");
        let later = start + Duration::from_secs(2);
        assert!(session.take(br#"{"t":"x"}"#, later).is_ok());
    }
}
