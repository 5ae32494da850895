//! Asks the service for tables: complete, within its limits, again after what passes. Knows the order of things; the
//! parts know themselves.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{NaiveDateTime, NaiveTime, TimeDelta, Utc};
use sqep::shanghai;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    apis::Api,
    cache::Cache,
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
const REFUSED_FOR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// What a call takes, for estimates.
const CALL: Duration = Duration::from_millis(300);

/// A question: an API and its parameters, but for `limit` and `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub api: &'static Api,
    /// What, by the names of the service's documents.
    pub params: Vec<(&'static str, String)>,
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
pub struct Client(Arc<Inner>);

struct Inner {
    settings: ClientSettings,
    http: Http,
    tokens: usize,
    limiter: Limiter,
    cache: Option<Cache>,
    caps: Mutex<HashMap<&'static str, Cap>>,
    spent: Mutex<BTreeMap<&'static str, u64>>,
    jitter: Jitter,
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
        settings.check()?;
        let tokens = token::find(&settings.token, settings.token_file.as_deref())?;
        let (count, dir) = (tokens.len(), &settings.cache_dir);
        let cache = (!dir.as_os_str().is_empty())
            .then(|| Cache::new(&dir.join(settings.place()), settings.cache_bytes_max));
        Ok(Client(Arc::new(Inner {
            http: Http::new(&settings, tokens)?,
            tokens: count,
            limiter: Limiter::new(count, &settings),
            cache,
            caps: Mutex::default(),
            spent: Mutex::default(),
            jitter: Jitter::new(),
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

    /// Whether the points of the account are enough; what is bought apart, the service alone knows.
    pub fn allows(&self, api: &Api) -> bool {
        self.0.settings.allows(api)
    }

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

    /// Calls sent so far, by API.
    pub fn spent(&self) -> BTreeMap<&'static str, u64> {
        self.0.spent.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    async fn kept(&self, ask: &Ask, keep: Keep) -> Result<Table, ApiError> {
        if let Keep::Settled { since_ms } = keep
            && let Some(table) = self.in_cache(ask, since_ms).await
        {
            debug!("{ask}: {} rows from the cache", table.rows.len());
            return Ok(table);
        }
        let asked_ms = now_ms();
        let table = Arc::new(self.whole(ask).await?);
        if keep != Keep::No && self.0.cache.is_some() && !table.rows.is_empty() {
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

    /// All pages, asked again from the first when they do not fit together.
    async fn whole(&self, ask: &Ask) -> Result<Table, ApiError> {
        let (api, settings) = (ask.api, &self.0.settings);
        if !settings.allows(api) {
            let said = format!("tushare.points is {}; the service was not asked", settings.points);
            return Err(ApiError::Permission { api: api.name, points: api.points, said });
        }
        for tried in 1.. {
            let misfit = match self.pages(ask).await {
                Ok(table) => return Ok(table),
                Err(Broken::Api(error)) => return Err(error),
                Err(Broken::Misfit(misfit)) => misfit,
            };
            if tried >= settings.misfit_tries_max || matches!(misfit, Misfit::Full { .. }) {
                return Err(ApiError::Incomplete { api: api.name, asked: ask.to_string(), why: misfit });
            }
            warn!("{ask}: {misfit}: asked again");
            sleep(self.0.jitter.of(settings.pause_max(tried))).await;
        }
        Err(ApiError::Stopped)
    }

    async fn pages(&self, ask: &Ask) -> Result<Table, Broken> {
        let cap = self.cap(ask.api);
        if !ask.api.paged {
            let table = self.page(ask, None).await?.table;
            let rows = table.rows.len();
            return if rows < cap.limit { Ok(table) } else { Err(Broken::Misfit(Misfit::Full { rows })) };
        }
        let (mut pages, mut offset) = (Pages::new(cap), 0);
        loop {
            let page = self.page(ask, Some((pages.limit(), offset))).await?;
            match pages.take(page).map_err(Broken::Misfit)? {
                After::Ask(next) => offset = next,
                After::TooLarge => {
                    let (api, asked, rows) = (ask.api.name, ask.to_string(), pages.rows());
                    return Err(Broken::Api(ApiError::TooLarge { api, asked, rows }));
                }
                After::Whole => {
                    let (table, cap) = pages.finish();
                    self.learn(ask.api, cap);
                    return Ok(table);
                }
            }
        }
    }

    fn cap(&self, api: &'static Api) -> Cap {
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
        let (error, span) = match Refusal::of(code, &said) {
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
                let (until, span) = quota_end(now_ms(), span);
                (ApiError::Quota { api: name, until, said }, span)
            }
            Refusal::Permission => {
                (ApiError::Permission { api: name, points: api.points, said }, REFUSED_FOR)
            }
            Refusal::Auth => (ApiError::Auth { api: name, said }, REFUSED_FOR),
            Refusal::IpQuota => (ApiError::IpQuota { api: name, said }, REFUSED_FOR),
        };
        if self.0.tokens > 1 {
            warn!("token {} of {}: {error}", token + 1, self.0.tokens);
        }
        limiter.refuse(api, token, span, error);
        // Another token may do; if none is left, the limiter says why.
        Verdict::Again
    }
}

fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
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

/// When a quota is filled again: the wall clock in Shanghai, and how long that is from now. Days end at midnight; an hour
/// ends an hour from now at the latest.
fn quota_end(now_ms: i64, span: Span) -> (NaiveDateTime, Duration) {
    let now = shanghai::wall(now_ms).unwrap_or_default();
    let until = match span {
        Span::Hour => now + TimeDelta::hours(1),
        Span::Day => (now.date() + TimeDelta::days(1)).and_time(NaiveTime::MIN),
    };
    (until, (until - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn a_quota_of_a_day_ends_at_midnight_in_shanghai() {
        let day = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap();
        let now_ms = shanghai::instant_ms(day.and_hms_opt(23, 0, 0).unwrap()).unwrap();
        let midnight = day.succ_opt().unwrap().and_hms_opt(0, 0, 0).unwrap();
        assert_eq!(quota_end(now_ms, Span::Day), (midnight, Duration::from_secs(3_600)));
        assert_eq!(quota_end(now_ms, Span::Hour), (midnight, Duration::from_secs(3_600)));
    }
}
