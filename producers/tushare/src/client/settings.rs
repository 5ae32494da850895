//! Section `tushare` of the configuration: where the service is, who asks it and how hard.
//!
//! Knows keys, defaults and limits; must not know what is asked.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use anyhow::bail;
use serde::{Deserialize, Serialize, Serializer};
use sqep::redis::without_password;

use super::{
    apis::{self, Api, BOUGHT_RATE_PER_MIN},
    token::{self, Token},
};

/// Section `tushare`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSettings {
    /// Where the service is, without a path.
    #[serde(serialize_with = "shown")]
    pub base_url: String,
    /// How an API is named in the URL: `root` posts everything to `/`, `dataapi` to `/dataapi/NAME`.
    pub url_form: UrlForm,
    /// The token, or several: one a line, or a list. By the environment, `SQEP__TUSHARE__TOKEN`, rather than by file.
    #[serde(deserialize_with = "token::deserialize")]
    pub token: Vec<Token>,
    /// A file that holds the token, or several, one a line; a systemd credential `tushare_token` is found by itself.
    pub token_file: Option<PathBuf>,
    /// The CA that signed the server's certificate (PEM); by default those of the system.
    pub tls_ca_file: Option<PathBuf>,

    /// Points of the account: 120, 2000, 5000, 10000, 15000 or between. They set calls a minute and which APIs are
    /// asked.
    pub points: u32,
    /// Calls a minute and token, by API, above what the points give: `rates.daily = 500`.
    pub rates: BTreeMap<String, u32>,
    /// Calls a day (Asia/Shanghai) and token, by API, above what the points give (120: 8,000; from 2,000: 100,000; from
    /// 5,000, and what is bought apart: without end): `calls_day_max.daily = 8000`. A program counts its own calls.
    pub calls_day_max: BTreeMap<String, u64>,
    /// Rows a call at most, by API, above what is documented: `caps.daily = 6000`.
    pub caps: BTreeMap<String, usize>,
    /// Milliseconds of the minute over which the service counts calls; a fake service may have a shorter one.
    pub minute_ms: u64,
    /// Calls at the same time.
    pub calls_max: usize,

    /// Seconds a connection may take.
    pub connect_timeout_s_max: u64,
    /// Seconds without a byte of an answer.
    pub stall_timeout_s_max: u64,
    /// Seconds a whole answer may take.
    pub answer_timeout_s_max: u64,
    /// Bytes of one answer.
    pub answer_bytes_max: usize,
    /// Tries of one call while the service fails or does not answer.
    pub tries_max: u32,
    /// Pages of one question that do not fit to the others, each asked for again.
    pub misfit_tries_max: u32,
    /// Refusals in a row of one call for calls a minute, each waited out by a minute.
    pub rate_refusals_max: u32,
    /// Milliseconds of the first pause after a failure; it doubles from try to try, and a random part of it is taken.
    pub pause_first_ms: u64,
    /// Milliseconds of a pause at most.
    pub pause_ms_max: u64,

    /// Where answers are kept, a folder a service, so that an emptied stream is filled again without a call; empty:
    /// nowhere.
    pub cache_dir: PathBuf,
    /// Bytes of all kept answers; the oldest go first.
    pub cache_bytes_max: u64,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            base_url: "https://api.tushare.pro".to_owned(),
            url_form: UrlForm::Root,
            token: Vec::new(),
            token_file: None,
            tls_ca_file: None,
            points: 2_000,
            rates: BTreeMap::new(),
            calls_day_max: BTreeMap::new(),
            caps: BTreeMap::new(),
            minute_ms: 60_000,
            calls_max: 8,
            connect_timeout_s_max: 10,
            stall_timeout_s_max: 30,
            answer_timeout_s_max: 120,
            answer_bytes_max: 64 << 20,
            tries_max: 8,
            misfit_tries_max: 5,
            rate_refusals_max: 30,
            pause_first_ms: 500,
            pause_ms_max: 60_000,
            cache_dir: PathBuf::from("tushare-cache"),
            cache_bytes_max: 10_000_000_000,
        }
    }
}

impl fmt::Debug for ClientSettings {
    /// Shows neither a token nor a password in the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("base_url", &without_password(&self.base_url))
            .field("tokens", &self.token.len())
            .field("points", &self.points)
            .finish_non_exhaustive()
    }
}

/// Key `tushare.url_form`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "snake_case")]
pub enum UrlForm {
    /// `POST /`.
    #[default]
    Root,
    /// `POST /dataapi/NAME`.
    Dataapi,
}

impl TryFrom<String> for UrlForm {
    type Error = String;

    fn try_from(text: String) -> Result<UrlForm, String> {
        match text.as_str() {
            "root" => Ok(UrlForm::Root),
            "dataapi" => Ok(UrlForm::Dataapi),
            _ => Err(format!("{text:?} is not root or dataapi")),
        }
    }
}

fn shown<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(url))
}

/// What an account of some points gets: points from, calls a minute, calls a day and API.
const LEVELS: [(u32, u32, Option<u64>); 5] = [
    (120, 50, Some(8_000)),
    (2_000, 200, Some(100_000)),
    (5_000, 500, None),
    (10_000, 500, None),
    (15_000, 1_000, None),
];

/// A pace: what one token may ask of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) per_min: u32,
    pub(super) per_day: Option<u64>,
}

impl ClientSettings {
    /// Refuses what cannot work, and names the key.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.base_url.starts_with("https://") && !self.base_url.starts_with("http://") {
            bail!(
                "tushare.base_url {:?} begins neither with https:// nor http://",
                without_password(&self.base_url)
            );
        }
        if self.points < LEVELS[0].0 {
            bail!("tushare.points {} is below {}, what every account has", self.points, LEVELS[0].0);
        }
        let rates = self.rates.iter().map(|(name, &value)| ("rates", name, value == 0));
        let caps = self.caps.iter().map(|(name, &value)| ("caps", name, value == 0));
        let days = self.calls_day_max.iter().map(|(name, &value)| ("calls_day_max", name, value == 0));
        for (key, name, none) in rates.chain(days).chain(caps) {
            if apis::find(name).is_none() {
                bail!("tushare.{key}.{name}: no such API; there are {}", apis::names());
            }
            if none {
                bail!("tushare.{key}.{name} is 0: at least 1 is needed");
            }
        }
        for (key, none) in [
            ("minute_ms", self.minute_ms == 0),
            ("calls_max", self.calls_max == 0),
            ("tries_max", self.tries_max == 0),
            ("misfit_tries_max", self.misfit_tries_max == 0),
            ("answer_bytes_max", self.answer_bytes_max == 0),
        ] {
            if none {
                bail!("tushare.{key} is 0: at least 1 is needed");
            }
        }
        Ok(())
    }

    /// Rows a call.
    pub(super) fn cap(&self, api: &Api) -> usize {
        self.caps.get(api.name).copied().unwrap_or(api.cap)
    }

    /// Calls a minute and day of one token.
    pub(super) fn pace(&self, api: &Api) -> Pace {
        let level = LEVELS.iter().rev().find(|(points, ..)| *points <= self.points).unwrap_or(&LEVELS[0]);
        let (_, account, per_day) = *level;
        let usual = match (api.points, api.rate_per_min) {
            (0, _) => BOUGHT_RATE_PER_MIN,
            (_, 0) => account,
            (_, own) => own.min(account),
        };
        let per_min = self.rates.get(api.name).copied().unwrap_or(usual);
        let own = self.calls_day_max.get(api.name).copied();
        Pace { per_min, per_day: own.or(per_day.filter(|_| api.points > 0)) }
    }

    /// Whether the account has the points. What is bought apart, the service alone knows.
    pub(super) fn allows(&self, api: &Api) -> bool {
        api.points <= self.points
    }

    /// Where an API is posted to.
    pub(super) fn url(&self, api: &Api) -> String {
        let base = self.base_url.trim_end_matches('/');
        match self.url_form {
            UrlForm::Root => format!("{base}/"),
            UrlForm::Dataapi => format!("{base}/dataapi/{}", api.name),
        }
    }

    /// The service as a folder is named: its answers are no other service's.
    pub(super) fn place(&self) -> String {
        let host = self.base_url.split_once("//").map_or(self.base_url.as_str(), |(_, host)| host);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host).trim_end_matches('/');
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
    }

    /// A pause at most, at the `n`th failure from 0.
    pub(super) fn pause_max(&self, n: u32) -> Duration {
        Duration::from_millis(self.pause_first_ms.saturating_mul(1 << n.min(16)).min(self.pause_ms_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api;

    #[test]
    fn points_set_the_pace_and_a_key_overrides_it() {
        let settings = |points| ClientSettings { points, ..ClientSettings::default() };
        for (points, per_min) in [(120, 50), (2_000, 200), (3_000, 200), (5_000, 500), (15_000, 1_000)] {
            assert_eq!(settings(points).pace(api("daily")).per_min, per_min, "{points}");
        }
        assert_eq!(settings(5_000).pace(api("stock_basic")).per_min, 50);
        assert_eq!(settings(120).pace(api("stk_mins")), Pace { per_min: BOUGHT_RATE_PER_MIN, per_day: None });
        assert!(!settings(2_000).allows(api("stock_st")) && settings(3_000).allows(api("stock_st")));
        let own: ClientSettings =
            toml::from_str("points = 120\nrates.daily = 7\ncaps.daily = 9\ncalls_day_max.stk_mins = 5")
                .unwrap();
        assert_eq!(own.pace(api("daily")), Pace { per_min: 7, per_day: Some(8_000) });
        assert_eq!((own.pace(api("stk_mins")).per_day, own.cap(api("daily"))), (Some(5), 9));
    }

    #[test]
    fn a_key_that_cannot_work_is_named() {
        for (text, named) in [
            ("rates.dayly = 5", "tushare.rates.dayly: no such API; there are daily,"),
            ("caps.daily = 0", "tushare.caps.daily is 0"),
            ("calls_day_max.daily = 0", "tushare.calls_day_max.daily is 0"),
            ("points = 100", "tushare.points 100"),
            ("base_url = 'api.tushare.pro'", "tushare.base_url"),
            ("calls_max = 0", "tushare.calls_max"),
        ] {
            let settings: ClientSettings = toml::from_str(text).unwrap();
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
    }

    #[test]
    fn answers_of_two_services_never_lie_in_one_folder() {
        let place =
            |url: &str| toml::from_str::<ClientSettings>(&format!("base_url = '{url}'")).unwrap().place();
        assert_eq!(place("https://api.tushare.pro"), "api.tushare.pro");
        assert_eq!(place("http://u:p@127.0.0.1:8765/"), "127.0.0.1-8765");
    }

    #[test]
    fn both_forms_of_the_url_are_made() {
        let url = |text: &str| toml::from_str::<ClientSettings>(text).unwrap().url(api("daily"));
        assert_eq!(url("base_url = 'http://h:1/'"), "http://h:1/");
        assert_eq!(url("base_url = 'http://h:1'\nurl_form = 'dataapi'"), "http://h:1/dataapi/daily");
    }
}
