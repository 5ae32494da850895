//! Whether an account may ask now: permissions and calls within a minute, an hour, a day. Knows tokens and windows; must
//! not know rows.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    api::{Api, Needs},
    faults::Faults,
    texts::{Refusal, Span},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Calls of a token to an API remembered; more than any rate.
const CALLS_MAX: usize = 200_000;

/// The calls of each token to each API that were let through.
#[derive(Debug, Default)]
pub(super) struct Account {
    calls: HashMap<(String, &'static str), VecDeque<Instant>>,
}

/// Whether the points or what was bought reach for this API.
pub(super) fn permit(faults: &Faults, api: &Api) -> Result<(), Refusal> {
    let Some(points) = faults.points else { return Ok(()) };
    let denied = if faults.old_texts { Refusal::PermissionOld } else { Refusal::PermissionNew };
    match api.needs {
        _ if faults.bought.iter().any(|name| name == api.name) => Ok(()),
        Needs::Points(needed) if needed <= points => Ok(()),
        Needs::Points(_) | Needs::Purchase => Err(denied),
    }
}

impl Account {
    /// Counts a call, or refuses it because there were too many; a refused one does not count.
    pub(super) fn admit(
        &mut self,
        faults: &Faults,
        token: &str,
        api: &'static str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let minute = faults.minute.unwrap_or(MINUTE);
        let rates = faults.rates_for(api);
        let calls = self.calls.entry((token.to_owned(), api)).or_default();
        let windows = [
            (rates.per_day, minute * 1_440, Span::Day),
            (rates.per_hour, minute * 60, Span::Hour),
            (rates.per_minute, minute, Span::Minute),
        ];
        for (most, window, span) in windows {
            let Some(most) = most else { continue };
            let recent = calls.iter().rev().take_while(|&&call| now.duration_since(call) < window).count();
            if recent >= usize::try_from(most).unwrap_or(usize::MAX) {
                return Err(too_many(faults, most, span));
            }
        }
        if calls.len() >= CALLS_MAX {
            calls.pop_front();
        }
        calls.push_back(now);
        Ok(())
    }
}

/// The refusal of a rate.
pub(super) fn too_many(faults: &Faults, most: u32, span: Span) -> Refusal {
    if faults.old_texts { Refusal::RateOld(most, span) } else { Refusal::RateNew(most, span) }
}
