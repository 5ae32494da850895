//! The wall clock of Shanghai, as somebody tells it: the program asks the system, a test says what it likes.

use std::{fmt, sync::Arc, time::Instant};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::shanghai;

/// A clock that shows the time in Shanghai.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> NaiveDateTime + Send + Sync>);

impl Clock {
    /// A clock that shows what `now` says.
    pub fn new(now: impl Fn() -> NaiveDateTime + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    /// The system's.
    pub fn system() -> Clock {
        Clock::new(|| shanghai::wall(chrono::Utc::now().timestamp_millis()).unwrap_or_default())
    }

    /// One that shows `start` now and runs `speed` times as fast as the system's.
    pub fn rehearsal(start: NaiveDateTime, speed: u32) -> Clock {
        let began = Instant::now();
        Clock::new(move || {
            start + TimeDelta::from_std(began.elapsed().saturating_mul(speed)).unwrap_or_default()
        })
    }

    /// What it shows.
    pub fn now(&self) -> NaiveDateTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
