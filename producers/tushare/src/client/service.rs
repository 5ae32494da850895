//! Asks the service for tables: complete, within its limits, again after what passes. Knows the order of things; the
//! parts know themselves.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use sqep::shanghai;
use tokio::{sync::Mutex as Turn, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    apis::{APIS, Api, Empty},
    cache::Cache,
    clock::{Clock, wall_clock},
    error::{ApiError, Misfit, Refusal, Span},
    http::{Fault, Http},
    limiter::Limiter,
    pages::{After, Cap, Pages},
    reply::Page,
    retry::Jitter,
    settings::ClientSettings,
    table::Table,
    token,
};

/// A token that was refused is tried again after this long: points are bought, addresses go.
const REFUSED_FOR: TimeDelta = TimeDelta::hours(1);

/// A question: an API and its parameters, but for `limit` and `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub api: &'static Api,
    /// What, by the names of the service's documents.
    pub params: Vec<(&'static str, String)>,
}

impl Ask {
    /// Whether there may be no row that answers it.
    pub fn may_be_empty(&self) -> bool {
        match self.api.empty {
            Empty::Never => false,
            Empty::Holds => true,
            Empty::HoldsWhere(name, values) => {
                self.params.iter().any(|(of, value)| *of == name && values.contains(&value.as_str()))
            }
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api.name)?;
        self.params.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// What the cache has to do with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The answer does not change any more: an answer kept is taken, if it was asked for at or after `since_ms` (since
    /// 1970), when the past in question was settled; else the service is asked and the answer kept.
    Settled {
        /// From when on an answer counts.
        since_ms: i64,
    },
    /// The service is asked, and the answer kept.
    Fresh,
    /// The service is asked.
    No,
}

/// The service. Cheap to clone; clones share limits, cache and connections.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) settings: ClientSettings,
    http: Http,
    pub(super) tokens: usize,
    pub(super) limiter: Limiter,
    cache: Option<Cache>,
    caps: Mutex<HashMap<&'static str, Cap>>,
    /// Held by the first question of each API, from which the others learn where an answer ends.
    firsts: BTreeMap<&'static str, Turn<bool>>,
    spent: Mutex<BTreeMap<&'static str, u64>>,
    jitter: Jitter,
    clock: Clock,
    stop: CancellationToken,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the settings and finds the tokens; asks nothing yet.
    pub fn new(settings: ClientSettings, stop: CancellationToken) -> anyhow::Result<Client> {
        Client::by_clock(settings, wall_clock(), stop)
    }

    /// The same, at the time of this clock.
    pub fn by_clock(
        settings: ClientSettings,
        clock: Clock,
        stop: CancellationToken,
    ) -> anyhow::Result<Client> {
        settings.check()?;
        let tokens = token::find(&settings.token, settings.token_file.as_deref())?;
        let (count, dir) = (tokens.len(), &settings.cache_dir);
        let cache = (!dir.as_os_str().is_empty())
            .then(|| Cache::new(&dir.join(settings.place()), settings.cache_bytes_max));
        Ok(Client(Arc::new(Inner {
            http: Http::new(&settings, tokens)?,
            tokens: count,
            limiter: Limiter::new(count, &settings, Arc::clone(&clock)),
            cache,
            caps: Mutex::default(),
            firsts: APIS.iter().map(|api| (api.name, Turn::new(false))).collect(),
            spent: Mutex::default(),
            jitter: Jitter::new(),
            clock,
            stop,
            settings,
        })))
    }

    /// All rows that answer a question, or the reason why there are none. Never a part of them. Rows come in the
    /// service's order: sort them.
    pub async fn table(&self, ask: &Ask, keep: Keep) -> Result<Table, ApiError> {
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(ApiError::Stopped),
            table = self.kept(ask, keep) => table,
        }
    }

    /// What time it is in Shanghai.
    pub fn now(&self) -> NaiveDateTime {
        (self.0.clock)()
    }

    /// Whether a question costs no call: its answer is kept.
    pub fn is_kept(&self, ask: &Ask, keep: Keep) -> bool {
        let Keep::Settled { since_ms } = keep else { return false };
        self.0.cache.as_ref().is_some_and(|cache| cache.has(ask.api, &ask.params, since_ms))
    }

    /// Rows of a call at most, as far as known by now.
    pub fn cap_of(&self, api: &'static Api) -> usize {
        self.cap(api).limit
    }

    /// Whether nothing is known yet of where answers of an API end.
    pub fn is_new(&self, api: &'static Api) -> bool {
        self.0.firsts.get(api.name).is_some_and(|first| first.try_lock().is_ok_and(|is_past| !*is_past))
    }

    /// Whether answers are kept at all.
    pub fn keeps(&self) -> bool {
        self.0.cache.is_some()
    }

    /// The quota that is in the way of a question, if it is used up and the answer is not kept. Asks nothing.
    pub fn quota(&self, ask: &Ask, keep: Keep) -> Option<ApiError> {
        let refusal = self.0.limiter.refusal(ask.api)?;
        (matches!(refusal, ApiError::Quota { .. }) && !self.is_kept(ask, keep)).then_some(refusal)
    }

    /// Whether the points of the account are enough; what is bought apart, the service alone knows.
    pub fn allows(&self, api: &Api) -> bool {
        self.0.settings.allows(api)
    }

    /// Calls sent so far, by API.
    pub fn spent(&self) -> BTreeMap<&'static str, u64> {
        self.0.spent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn kept(&self, ask: &Ask, keep: Keep) -> Result<Table, ApiError> {
        if let Keep::Settled { since_ms } = keep
            && let Some(table) = self.in_cache(ask, since_ms).await
        {
            debug!("{ask}: {} rows from the cache", table.rows.len());
            return Ok(table);
        }
        let asked_ms = shanghai::instant_ms(self.now()).unwrap_or_default();
        let table = Arc::new(self.learned(ask).await?);
        let holds = ask.may_be_empty() || !table.rows.is_empty();
        if keep != Keep::No && self.0.cache.is_some() && holds {
            let (client, ask, table) = (self.clone(), ask.clone(), table.clone());
            let keeps =
                move || client.0.cache.iter().for_each(|c| c.keep(&table, ask.api, &ask.params, asked_ms));
            drop(tokio::task::spawn_blocking(keeps).await);
        }
        Ok(Arc::unwrap_or_clone(table))
    }

    async fn in_cache(&self, ask: &Ask, since_ms: i64) -> Option<Table> {
        self.0.cache.as_ref()?;
        let (client, ask) = (self.clone(), ask.clone());
        let find = move || client.0.cache.as_ref()?.find(ask.api, &ask.params, since_ms);
        tokio::task::spawn_blocking(find).await.ok().flatten()
    }

    /// All pages. The first question of an API goes alone: what it shows of the length of answers saves the others a
    /// page.
    async fn learned(&self, ask: &Ask) -> Result<Table, ApiError> {
        let Some(first) = self.0.firsts.get(ask.api.name) else { return self.whole(ask).await };
        let mut is_past = first.lock().await;
        if *is_past {
            drop(is_past);
            return self.whole(ask).await;
        }
        let table = self.whole(ask).await?;
        *is_past = true;
        Ok(table)
    }

    /// All pages, each asked again when it does not fit to those before it.
    async fn whole(&self, ask: &Ask) -> Result<Table, ApiError> {
        let (api, settings) = (ask.api, &self.0.settings);
        if !settings.allows(api) {
            let said = format!("tushare.points is {}; the service was not asked", settings.points);
            return Err(ApiError::Permission { api: api.name, points: api.points, said });
        }
        let (mut pages, mut offset, mut misfits) = (Pages::new(self.cap(api)), 0, 0);
        loop {
            let part = api.paged.then(|| (pages.limit(), offset));
            let taken = match self.page(ask, part).await {
                Ok(page) if api.paged => pages.take(page),
                Ok(page) => return self.unpaged(ask, page.table),
                Err(Broken::Misfit(misfit)) => Err(misfit),
                Err(Broken::Api(error)) => return Err(error),
            };
            match taken {
                Ok(After::Ask(next)) => offset = next,
                Ok(After::TooLarge) => {
                    let (asked, rows) = (ask.to_string(), pages.rows());
                    return Err(ApiError::TooLarge { api: api.name, asked, rows });
                }
                Ok(After::Whole) => {
                    let (table, cap) = pages.finish();
                    self.learn(api, cap);
                    return Ok(table);
                }
                Err(why) => {
                    misfits += 1;
                    if misfits >= settings.misfit_tries_max {
                        return Err(ApiError::Incomplete { api: api.name, asked: ask.to_string(), why });
                    }
                    debug!("{ask}: {why}: asked again");
                    sleep(self.0.jitter.of(settings.pause_max(misfits))).await;
                }
            }
        }
    }

    /// An answer that cannot be paged is whole if it is shorter than the most that one holds.
    fn unpaged(&self, ask: &Ask, table: Table) -> Result<Table, ApiError> {
        let rows = table.rows.len();
        if rows < self.cap(ask.api).limit {
            return Ok(table);
        }
        let (api, asked) = (ask.api.name, ask.to_string());
        Err(ApiError::Incomplete { api, asked, why: Misfit::Full { rows } })
    }

    fn cap(&self, api: &Api) -> Cap {
        let caps = self.0.caps.lock().unwrap_or_else(PoisonError::into_inner);
        caps.get(api.name).copied().unwrap_or_else(|| Cap::new(self.0.settings.cap(api)))
    }

    fn learn(&self, api: &'static Api, cap: Cap) {
        let mut caps = self.0.caps.lock().unwrap_or_else(PoisonError::into_inner);
        let known = caps.entry(api.name).or_insert_with(|| Cap::new(self.0.settings.cap(api)));
        if cap.limit < known.limit {
            let (name, limit) = (api.name, cap.limit);
            info!("{name} gives {limit} rows a call, not {}: set tushare.caps.{name} = {limit}", known.limit);
        }
        known.merge(cap);
    }

    /// One page, asked again while the service fails or is asked too often.
    async fn page(&self, ask: &Ask, part: Option<(usize, usize)>) -> Result<Page, Broken> {
        let (api, settings) = (ask.api, &self.0.settings);
        let (mut params, url) = (ask.params.clone(), settings.url(api));
        if let Some((limit, offset)) = part {
            params.extend([("limit", limit.to_string()), ("offset", offset.to_string())]);
        }
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let grant = self.0.limiter.enter(api).await.map_err(Broken::Api)?;
            *self.0.spent.lock().unwrap_or_else(PoisonError::into_inner).entry(api.name).or_default() += 1;
            let answered = self.0.http.post(api, &url, grant.token, &params).await;
            let token = grant.token;
            drop(grant);
            let (failed, wait) = match answered {
                Ok(page) => return Ok(page),
                Err(Fault::Misfit(misfit)) => return Err(Broken::Misfit(misfit)),
                Err(Fault::Transport { why, wait }) => {
                    (ApiError::Transport { api: api.name, tries: failures + 1, why }, wait)
                }
                Err(Fault::Said { code, said }) => match self.refused(ask, token, code, &said, &mut refusals)
                {
                    Verdict::Again => continue,
                    Verdict::Never(error) => return Err(Broken::Api(error)),
                    Verdict::Failed => {
                        (ApiError::Server { api: api.name, tries: failures + 1, code, said }, None)
                    }
                },
            };
            failures += 1;
            if failures >= settings.tries_max {
                return Err(Broken::Api(failed));
            }
            let pause = self.0.jitter.of(settings.pause_max(failures - 1));
            debug!("{failed}: again in {pause:?}");
            sleep(pause.max(wait.unwrap_or_default().min(settings.pause_max(u32::MAX)))).await;
        }
    }

    /// What a refusal means for this call; the limiter is told what it means for the next.
    fn refused(&self, ask: &Ask, token: usize, code: i64, said: &str, refusals: &mut u32) -> Verdict {
        let (api, settings, limiter) = (ask.api, &self.0.settings, &self.0.limiter);
        let (name, said) = (api.name, said.to_owned());
        let for_long = self.now() + REFUSED_FOR;
        let (error, until) = match Refusal::of(code, &said) {
            Refusal::Server => return Verdict::Failed,
            Refusal::Rate { per_min } => {
                limiter.slow_down(api, token, per_min);
                *refusals += 1;
                if *refusals > settings.rate_refusals_max {
                    return Verdict::Never(ApiError::Rate { api: name, refusals: *refusals, said });
                }
                info!("{name}: {said}: waiting a minute");
                return Verdict::Again;
            }
            Refusal::BadRequest => {
                return Verdict::Never(ApiError::BadRequest { api: name, asked: ask.to_string(), said });
            }
            Refusal::UnknownApi => return Verdict::Never(ApiError::UnknownApi { api: name, said }),
            Refusal::Quota(span) => {
                let until = quota_end(self.now(), span);
                (ApiError::Quota { api: name, until, said }, until)
            }
            Refusal::Permission => (ApiError::Permission { api: name, points: api.points, said }, for_long),
            Refusal::Auth => (ApiError::Auth { api: name, said }, for_long),
            Refusal::IpQuota => (ApiError::IpQuota { api: name, said }, for_long),
        };
        if self.0.tokens > 1 {
            warn!("token {} of {}: {error}", token + 1, self.0.tokens);
        }
        limiter.refuse(api, token, until, error);
        // Another token may do; if none is left, the limiter says why.
        Verdict::Again
    }
}

/// Why there is no page.
enum Broken {
    Api(ApiError),
    Misfit(Misfit),
}

/// What becomes of a call that was refused.
enum Verdict {
    Again,
    Failed,
    Never(ApiError),
}

/// When a quota is filled again, by the wall clock of Shanghai. Days end at midnight; an hour ends an hour from now at
/// the latest.
fn quota_end(now: NaiveDateTime, span: Span) -> NaiveDateTime {
    match span {
        Span::Hour => now + TimeDelta::hours(1),
        Span::Day => (now.date() + TimeDelta::days(1)).and_time(NaiveTime::MIN),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn a_quota_of_a_day_ends_at_midnight_in_shanghai() {
        let day = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap();
        let now = day.and_hms_opt(22, 30, 0).unwrap();
        let midnight = day.succ_opt().unwrap().and_hms_opt(0, 0, 0).unwrap();
        assert_eq!(quota_end(now, Span::Day), midnight);
        assert_eq!(quota_end(now, Span::Hour), day.and_hms_opt(23, 30, 0).unwrap());
    }
}
