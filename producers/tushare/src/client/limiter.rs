//! Who may ask now: calls a minute and a day of each token and API, and what the service has said about them.
//!
//! Knows numbers and pauses; must not know HTTP nor the service's words. Waiting is fair: first come, first served, an
//! API at a time; a slow API holds up no other. Minutes are measured, days are those of the exchanges; what is used up
//! is not waited for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime};
use tokio::{
    sync::{Mutex as Turn, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::{
    apis::{APIS, Api},
    clock::Clock,
    error::ApiError,
    settings::{ClientSettings, Pace},
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
    /// Calls of a day in Shanghai, and how many it may have.
    today: (NaiveDate, u64),
    per_day: u64,
    /// Refused for long: until when, wall clock of Shanghai, and what a caller is told.
    refused: Option<(NaiveDateTime, ApiError)>,
}

/// All tokens at one API.
#[derive(Debug)]
struct Lane {
    api: &'static Api,
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
pub(super) struct Limiter {
    window: Duration,
    clock: Clock,
    slots: Arc<Semaphore>,
    lanes: BTreeMap<&'static str, Lane>,
}

impl Limiter {
    pub(super) fn new(tokens: usize, settings: &ClientSettings, clock: Clock) -> Limiter {
        let minute = Duration::from_millis(settings.minute_ms);
        let lane = |api: &'static Api| (api.name, Lane::new(api, tokens, settings.pace(api)));
        Limiter {
            window: minute + SLACK.min(minute / 20),
            clock,
            slots: Arc::new(Semaphore::new(settings.calls_max)),
            lanes: APIS.iter().map(lane).collect(),
        }
    }

    /// Waits until a call may go, with the token that can go first.
    pub(super) async fn enter(&self, api: &'static Api) -> Result<Grant, ApiError> {
        let unlisted =
            || ApiError::UnknownApi { api: api.name, said: "it is not in the list of APIs".to_owned() };
        let lane = self.lanes.get(api.name).ok_or_else(unlisted)?;
        let _turn = lane.turn.lock().await;
        loop {
            match lane.next(self.window, (self.clock)()) {
                Next::Never(error) => return Err(error),
                Next::At(then) => sleep_until(then).await,
                Next::Now(_) => {
                    // Closed is what the slots never are.
                    let Ok(slot) = self.slots.clone().acquire_owned().await else {
                        return Err(ApiError::Stopped);
                    };
                    // It may have taken long, and the service may have spoken meanwhile.
                    let wall = (self.clock)();
                    if let Next::Now(token) = lane.next(self.window, wall) {
                        self.change(api, token, |meter| meter.count(wall.date()));
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

    /// The service refuses this token at this API until then, wall clock of Shanghai.
    pub(super) fn refuse(&self, api: &'static Api, token: usize, until: NaiveDateTime, error: ApiError) {
        self.change(api, token, |meter| meter.refused = Some((until, error)));
    }

    /// What keeps every token from this API for long, if anything does.
    pub(super) fn refusal(&self, api: &'static Api) -> Option<ApiError> {
        match self.lanes.get(api.name)?.next(self.window, (self.clock)()) {
            Next::Never(error) => Some(error),
            Next::Now(_) | Next::At(_) => None,
        }
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
    fn new(api: &'static Api, tokens: usize, pace: Pace) -> Lane {
        let meter = || Meter {
            per_min: pace.per_min,
            asked: VecDeque::new(),
            pause: None,
            today: (NaiveDate::MIN, 0),
            per_day: pace.per_day.unwrap_or(u64::MAX),
            refused: None,
        };
        Lane { api, turn: Turn::new(()), meters: Mutex::new((0..tokens).map(|_| meter()).collect()) }
    }

    fn meters(&self) -> MutexGuard<'_, Vec<Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that can go first; of several, the one that was used least.
    fn next(&self, window: Duration, wall: NaiveDateTime) -> Next {
        let now = Instant::now();
        let mut meters = self.meters();
        let mut first: Option<(Instant, usize, usize)> = None;
        for (token, meter) in meters.iter_mut().enumerate() {
            meter.forget(now, window, wall);
            if meter.is_used_up(wall.date()) {
                meter.refused = Some(used_up(self.api, meter.per_day, wall.date()));
            }
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
                let soonest = refused.min_by_key(|(until, _)| *until);
                Next::Never(soonest.map_or(ApiError::Stopped, |(_, error)| error.clone()))
            }
        }
    }
}

/// The calls of the day are gone: until when, and what a caller is told.
fn used_up(api: &Api, per_day: u64, today: NaiveDate) -> (NaiveDateTime, ApiError) {
    let until = (today + Days::new(1)).and_time(NaiveTime::MIN);
    let name = api.name;
    let said = format!("tushare.calls_day_max.{name} is {per_day}; the service was not asked");
    (until, ApiError::Quota { api: name, until, said })
}

impl Meter {
    /// Counts a call.
    fn count(&mut self, today: NaiveDate) {
        self.asked.push_back(Instant::now());
        let before = if self.today.0 == today { self.today.1 } else { 0 };
        self.today = (today, before + 1);
    }

    fn is_used_up(&self, today: NaiveDate) -> bool {
        self.refused.is_none() && self.today.0 == today && self.today.1 >= self.per_day
    }

    /// Drops what lies back more than a minute.
    fn forget(&mut self, now: Instant, window: Duration, wall: NaiveDateTime) {
        while self.asked.front().is_some_and(|&then| then + window <= now) {
            self.asked.pop_front();
        }
        self.pause = self.pause.filter(|&then| then > now);
        self.refused = self.refused.take().filter(|(until, _)| *until > wall);
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

    /// Noon in Shanghai, and what passes of it by the test's own time.
    fn wall(since: Instant) -> NaiveDateTime {
        let noon = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap().and_hms_opt(12, 0, 0).unwrap();
        noon + since.elapsed()
    }

    fn limiter(tokens: usize, rates: &str, calls_max: usize) -> Arc<Limiter> {
        let settings: ClientSettings = toml::from_str(rates).unwrap();
        let start = Instant::now();
        let clock: Clock = Arc::new(move || wall(start));
        Arc::new(Limiter::new(tokens, &ClientSettings { calls_max, ..settings }, clock))
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
        let after = |hours| wall(Instant::now()) + chrono::TimeDelta::hours(hours);
        limiter.refuse(api("daily"), 0, after(1), used_up("an hour"));
        assert!(rush(&limiter, 20).await.iter().all(|(_, token)| *token == 1));
        limiter.refuse(api("daily"), 1, after(2), used_up("two hours"));
        assert_eq!(limiter.refusal(api("daily")), Some(used_up("an hour")));
        assert_eq!(limiter.enter(api("daily")).await.unwrap_err(), used_up("an hour"));
        assert!(limiter.enter(api("adj_factor")).await.is_ok());
        tokio::time::advance(MINUTE * 60).await;
        assert_eq!(limiter.enter(api("daily")).await.unwrap().token, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_in_shanghai_has_no_more_calls_than_configured_and_the_next_has_them_anew() {
        let limiter = limiter(2, "rates.daily = 500\ncalls_day_max.daily = 3", 8);
        rush(&limiter, 6).await;
        let ApiError::Quota { until, said, .. } = limiter.enter(api("daily")).await.unwrap_err() else {
            panic!("no quota")
        };
        assert_eq!(until.to_string(), "2024-03-02 00:00:00");
        assert_eq!(said, "tushare.calls_day_max.daily is 3; the service was not asked");
        assert!(limiter.enter(api("adj_factor")).await.is_ok(), "every API has its own");
        tokio::time::advance(MINUTE * 60 * 12).await;
        rush(&limiter, 6).await;
        assert!(limiter.enter(api("daily")).await.is_err());
    }
}
