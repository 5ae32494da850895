//! How long calls take. Knows the limits of the account; must not know what is asked.

use std::{collections::BTreeMap, time::Duration};

use super::{Client, apis::Api};

const MINUTE: Duration = Duration::from_secs(60);
/// What a call takes.
const CALL: Duration = Duration::from_millis(300);

impl Client {
    /// How long so many calls take under the limits of the account, if nobody else uses it.
    pub fn estimate(&self, calls: &[(&'static Api, u64)]) -> Duration {
        let mut each: BTreeMap<&str, (&'static Api, u64)> = BTreeMap::new();
        for &(api, count) in calls {
            each.entry(api.name).or_insert((api, 0)).1 += count;
        }
        let all: u64 = each.values().map(|(_, count)| count).sum();
        let slots = u64::try_from(self.0.settings.calls_max).unwrap_or(u64::MAX);
        let busy = CALL.saturating_mul(u32::try_from(all.div_ceil(slots)).unwrap_or(u32::MAX));
        each.values().map(|&(api, count)| self.bound(api, count)).fold(busy, Duration::max)
    }

    /// The time that the limits of one API ask for.
    fn bound(&self, api: &'static Api, count: u64) -> Duration {
        let per_min = self.0.limiter.per_min(api);
        let per_day = self.0.settings.pace(api).per_day.unwrap_or(u64::MAX);
        let per_day = per_day.saturating_mul(u64::try_from(self.0.tokens).unwrap_or(u64::MAX)).max(1);
        let waits =
            |count: u64, of: u64| u32::try_from(count.saturating_sub(1) / of.max(1)).unwrap_or(u32::MAX);
        let days = waits(count, per_day);
        let left = count - u64::from(days).saturating_mul(per_day).min(count);
        MINUTE.saturating_mul(1_440).saturating_mul(days) + MINUTE.saturating_mul(waits(left, per_min))
    }
}
