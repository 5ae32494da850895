//! Keeps a reader's meter told how far its group is behind, and who reads in its place, by a connection of its own: also
//! while the reader itself waits for its sink or for the lease. Must not know how that is found out.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::{meter::Meter, redis::behind::Lookout};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);

/// Looks again and again, for as long as it is let.
pub(super) async fn watch(mut lookout: Lookout, meter: Arc<Meter>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match lookout.look().await {
            Ok(seen) => {
                meter.behind(seen.behind);
                if let Some(holder) = seen.holder {
                    meter.standby(&holder);
                }
            }
            Err(error) => {
                debug!("cannot tell how far the group is behind: {error}");
                meter.behind(None);
            }
        }
    }
}
