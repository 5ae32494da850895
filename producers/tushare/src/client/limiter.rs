//! Who may ask now: calls a minute of each token and API, and what the service has said about them.
//!
//! Knows numbers and pauses; must not know HTTP nor the service's words. Waiting is fair: first come, first served, an
//! API at a time; a slow API holds up no other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Turn, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::{
    apis::{APIS, Api},
    error::ApiError,
    settings::ClientSettings,
};

/// A call may be longer under way than the one a minute before it: that much more room is left.
const SLACK: Duration = Duration::from_millis(500);

/// The right to one call, given back when dropped.
#[derive(Debug)]
pub(super) struct Grant {
    /// Which token it is for, from 0.
    pub(super) token: usize,
    _slot: OwnedSemaphorePermit,
}

/// What one token may do at one API.
#[derive(Debug)]
struct Meter {
    per_min: u32,
    /// When it was asked within the last minute.
    asked: VecDeque<Instant>,
    /// Not before.
    pause: Option<Instant>,
    /// Refused for long: until when, and what a caller is told.
    refused: Option<(Instant, ApiError)>,
}

/// All tokens at one API.
#[derive(Debug)]
struct Lane {
    turn: Turn<()>,
    meters: Mutex<Vec<Meter>>,
}

/// When the next call may go.
enum Next {
    Now(usize),
    At(Instant),
    Never(ApiError),
}

/// The limits of all tokens and APIs.
#[derive(Debug)]
pub(super) struct Limiter {
    window: Duration,
    slots: Arc<Semaphore>,
    lanes: BTreeMap<&'static str, Lane>,
}

impl Limiter {
    pub(super) fn new(tokens: usize, settings: &ClientSettings) -> Limiter {
        let minute = Duration::from_millis(settings.minute_ms);
        Limiter {
            window: minute + SLACK.min(minute / 20),
            slots: Arc::new(Semaphore::new(settings.calls_max)),
            lanes: APIS.iter().map(|api| (api.name, Lane::new(tokens, settings.pace(api).per_min))).collect(),
        }
    }

    /// Waits until a call may go, with the token that can go first.
    pub(super) async fn enter(&self, api: &'static Api) -> Result<Grant, ApiError> {
        let unlisted =
            || ApiError::UnknownApi { api: api.name, said: "it is not in the list of APIs".to_owned() };
        let lane = self.lanes.get(api.name).ok_or_else(unlisted)?;
        let _turn = lane.turn.lock().await;
        loop {
            match lane.next(self.window) {
                Next::Never(error) => return Err(error),
                Next::At(then) => sleep_until(then).await,
                Next::Now(_) => {
                    // Closed is what the slots never are.
                    let Ok(slot) = self.slots.clone().acquire_owned().await else {
                        return Err(ApiError::Stopped);
                    };
                    // It may have taken long, and the service may have spoken meanwhile.
                    if let Next::Now(token) = lane.next(self.window) {
                        self.change(api, token, |meter| meter.asked.push_back(Instant::now()));
                        return Ok(Grant { token, _slot: slot });
                    }
                }
            }
        }
    }

    /// The service says that it was asked too often; `per_min`: the number that it names. Nothing goes for a minute.
    pub(super) fn slow_down(&self, api: &'static Api, token: usize, per_min: Option<u32>) {
        let then = Instant::now() + self.window;
        self.change(api, token, |meter| {
            meter.per_min = per_min.unwrap_or(meter.per_min).min(meter.per_min);
            meter.pause = Some(then);
        });
    }

    /// The service refuses this token at this API for a while.
    pub(super) fn refuse(&self, api: &'static Api, token: usize, span: Duration, error: ApiError) {
        let then = Instant::now() + span;
        self.change(api, token, |meter| meter.refused = Some((then, error)));
    }

    /// Calls a minute of all tokens together, as far as known by now.
    pub(super) fn per_min(&self, api: &'static Api) -> u64 {
        let meters = self.lanes.get(api.name).map(Lane::meters);
        meters.map_or(0, |meters| meters.iter().map(|meter| u64::from(meter.per_min)).sum())
    }

    fn change(&self, api: &'static Api, token: usize, change: impl FnOnce(&mut Meter)) {
        if let Some(meter) =
            self.lanes.get(api.name).map(Lane::meters).as_mut().and_then(|all| all.get_mut(token))
        {
            change(meter);
        }
    }
}

impl Lane {
    fn new(tokens: usize, per_min: u32) -> Lane {
        let meter = || Meter { per_min, asked: VecDeque::new(), pause: None, refused: None };
        Lane { turn: Turn::new(()), meters: Mutex::new((0..tokens).map(|_| meter()).collect()) }
    }

    fn meters(&self) -> MutexGuard<'_, Vec<Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that can go first; of several, the one that was used least.
    fn next(&self, window: Duration) -> Next {
        let now = Instant::now();
        let mut meters = self.meters();
        let mut first: Option<(Instant, usize, usize)> = None;
        for (token, meter) in meters.iter_mut().enumerate() {
            meter.forget(now, window);
            if meter.refused.is_none() {
                let candidate = (meter.room(now, window), meter.asked.len(), token);
                first = Some(first.map_or(candidate, |first| first.min(candidate)));
            }
        }
        match first {
            Some((then, _, token)) if then <= now => Next::Now(token),
            Some((then, ..)) => Next::At(then),
            None => {
                let refused = meters.iter().filter_map(|meter| meter.refused.as_ref());
                let soonest = refused.min_by_key(|(then, _)| *then);
                Next::Never(soonest.map_or(ApiError::Stopped, |(_, error)| error.clone()))
            }
        }
    }
}

impl Meter {
    /// Drops what lies back more than a minute.
    fn forget(&mut self, now: Instant, window: Duration) {
        while self.asked.front().is_some_and(|&then| then + window <= now) {
            self.asked.pop_front();
        }
        self.pause = self.pause.filter(|&then| then > now);
        self.refused = self.refused.take().filter(|(then, _)| *then > now);
    }

    /// When it may go.
    fn room(&self, now: Instant, window: Duration) -> Instant {
        let per_min = usize::try_from(self.per_min).unwrap_or(usize::MAX);
        // Of the calls within the last minute, as many as are allowed block; the first of those must be over.
        let blocking = self.asked.len().checked_sub(per_min).and_then(|at| self.asked.get(at));
        let free = blocking.map_or(now, |&then| then + window);
        self.pause.map_or(free, |pause| pause.max(free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limiter(tokens: usize, rates: &str, calls_max: usize) -> Arc<Limiter> {
        let settings: ClientSettings = toml::from_str(rates).unwrap();
        Arc::new(Limiter::new(tokens, &ClientSettings { calls_max, ..settings }))
    }

    /// When each of so many calls that come at once may go, in the order in which they came, and with which token.
    async fn rush(limiter: &Arc<Limiter>, calls: usize) -> Vec<(Duration, usize)> {
        let start = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..calls {
            let limiter = limiter.clone();
            tasks.push(tokio::spawn(async move {
                let grant = limiter.enter(api("daily")).await.unwrap();
                let went = start.elapsed();
                tokio::time::sleep(Duration::from_millis(200)).await;
                (went, grant.token)
            }));
            tokio::task::yield_now().await;
        }
        let mut went = Vec::new();
        for task in tasks {
            went.push(task.await.unwrap());
        }
        went
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_allowed_and_none_is_wasted() {
        let went = rush(&limiter(1, "rates.daily = 50", 8), 500).await;
        for pair in went.windows(51) {
            assert!(pair[50].0 > pair[0].0 + MINUTE, "{:?} {:?}", pair[0], pair[50]);
        }
        let last = went.last().unwrap().0;
        assert!(last < (MINUTE + SLACK) * 9 + Duration::from_secs(10), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_goes_first() {
        let went = rush(&limiter(1, "rates.daily = 7", 3), 60).await;
        assert!(went.is_sorted_by_key(|(then, _)| *then), "{went:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_tokens_go_twice_as_fast_and_share_alike() {
        let went = rush(&limiter(2, "rates.daily = 50", 8), 200).await;
        assert!(went.last().unwrap().0 < MINUTE * 2, "{went:?}");
        assert_eq!(went.iter().filter(|(_, token)| *token == 0).count(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_api_holds_up_no_other() {
        let limiter = limiter(1, "rates.daily = 1", 1);
        let (slow, start) = (limiter.clone(), Instant::now());
        drop(slow.enter(api("daily")).await.unwrap());
        let waits = tokio::spawn(async move { drop(slow.enter(api("daily")).await) });
        tokio::task::yield_now().await;
        drop(limiter.enter(api("adj_factor")).await.unwrap());
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        waits.await.unwrap();
        assert!(start.elapsed() > MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_stops_for_a_minute_and_teaches_its_number() {
        let limiter = limiter(1, "rates.daily = 500", 8);
        rush(&limiter, 100).await;
        limiter.slow_down(api("daily"), 0, Some(40));
        let went = rush(&limiter, 100).await;
        assert!(went[0].0 > MINUTE, "{:?}", went[0]);
        assert!(went.windows(41).all(|calls| calls[40].0 > calls[0].0 + MINUTE));
        limiter.slow_down(api("daily"), 0, Some(1_000));
        assert_eq!(limiter.per_min(api("daily")), 40, "what was configured or learned is not exceeded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_stops_one_token_at_one_api_until_its_end() {
        let limiter = limiter(2, "rates.daily = 500", 8);
        let used_up = |said: &str| ApiError::IpQuota { api: "daily", said: said.to_owned() };
        limiter.refuse(api("daily"), 0, MINUTE * 60, used_up("an hour"));
        assert!(rush(&limiter, 20).await.iter().all(|(_, token)| *token == 1));
        limiter.refuse(api("daily"), 1, MINUTE * 120, used_up("two hours"));
        assert_eq!(limiter.enter(api("daily")).await.unwrap_err(), used_up("an hour"));
        assert!(limiter.enter(api("adj_factor")).await.is_ok());
        tokio::time::advance(MINUTE * 60).await;
        assert_eq!(limiter.enter(api("daily")).await.unwrap().token, 0);
    }
}
