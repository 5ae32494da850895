//! What time it is where the exchanges are. Knows the wall clock of Shanghai; must not know what happens when.

use std::sync::Arc;

use chrono::NaiveDateTime;
use sqep::shanghai;

/// What time it is in Shanghai.
pub type Clock = Arc<dyn Fn() -> NaiveDateTime + Send + Sync>;

/// The clock of this host.
pub fn wall_clock() -> Clock {
    Arc::new(|| shanghai::wall(chrono::Utc::now().timestamp_millis()).unwrap_or_default())
}
