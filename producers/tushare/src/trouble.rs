//! What becomes of a piece of work that failed, and of the run. Knows errors and how often they came; must not know the
//! service nor what the work is made of.
//!
//! A daemon outlives what passes, and goes on without what one API is closed to. A run that ends does first what it can: what failed in passing comes once more at the
//! end, what waits for a quota is left, and then it says why.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;

use crate::{
    client::{ApiError, Reach},
    plan::Work,
};

/// What becomes of a piece of work that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is asked for again, not before this time.
    At(NaiveDateTime),
    /// It is asked for again when all else is done.
    Last,
    /// It is left; the end of the run says why.
    Left,
    /// The service does not take the question: told, and left.
    Never,
    /// The account may not ask for anything of this kind: told once, and asked for again not before this time.
    Shut(NaiveDateTime),
    /// Nothing can be done any more.
    End(ApiError),
    /// A stop was asked for.
    Stop,
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Quotas that are used up, by API.
    quotas: BTreeMap<&'static str, ApiError>,
    /// Pieces of work that wait for one.
    left: BTreeSet<String>,
    /// How often a piece of work failed.
    failures: HashMap<String, u32>,
    in_a_row: usize,
}

/// How long a run holds out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Whether it is a daemon.
    pub(crate) endless: bool,
    /// When a daemon asks again.
    pub(crate) again_at: NaiveDateTime,
    /// When a daemon asks again for what the account may not ask for.
    pub(crate) shut_until: NaiveDateTime,
    /// How often a piece of work may fail.
    pub(crate) tries_max: u32,
    /// How many may fail one after the other.
    pub(crate) in_a_row_max: usize,
}

impl Trouble {
    /// Something came: the service is there.
    pub(crate) fn passed(&mut self) {
        self.in_a_row = 0;
    }

    /// What becomes of this work after this error.
    pub(crate) fn fate(&mut self, work: &Work, error: ApiError, patience: Patience) -> Fate {
        match error.reach() {
            Reach::Stop => Fate::Stop,
            Reach::Ask if !patience.endless => Fate::Never,
            Reach::Moment if !patience.endless => self.once_more(work, error, patience),
            _ => match error {
                ApiError::Quota { api, until, .. } => {
                    self.left.insert(work.to_string());
                    self.quota(api, error, patience.endless);
                    if patience.endless { Fate::At(until) } else { Fate::Left }
                }
                error if patience.endless && error.passes() => {
                    tracing::warn!("{work}: {error}");
                    Fate::At(patience.again_at)
                }
                error if patience.endless && error.is_denied() => Fate::Shut(patience.shut_until),
                error => Fate::End(error),
            },
        }
    }

    fn once_more(&mut self, work: &Work, error: ApiError, patience: Patience) -> Fate {
        let failures = self.failures.entry(work.to_string()).or_default();
        *failures += 1;
        self.in_a_row += 1;
        if *failures >= patience.tries_max.max(2) || self.in_a_row > patience.in_a_row_max {
            return Fate::End(error);
        }
        tracing::warn!("{work}: {error}: asked for once more at the end");
        Fate::Last
    }

    /// Says it once.
    fn quota(&mut self, api: &'static str, error: ApiError, endless: bool) {
        let known = self.quotas.get(api);
        if known.is_none_or(|known| endless && *known != error) {
            tracing::warn!("{error}; what does not need {api} goes on");
            self.quotas.insert(api, error);
        }
    }

    /// Why the run did not do everything, in one line.
    pub(crate) fn end(&mut self) -> Option<anyhow::Error> {
        let left = std::mem::take(&mut self.left).len();
        let mut quotas = std::mem::take(&mut self.quotas).into_values();
        let first = quotas.next()?;
        let told: Vec<String> = std::iter::once(format!("pieces of work left: {left}"))
            .chain(quotas.map(|error| error.to_string()))
            .collect();
        Some(anyhow::Error::new(first).context(told.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::plan::Dataset;

    fn work(of: u32) -> Work {
        Work::Day { dataset: Dataset::Stocks, day: NaiveDate::from_ymd_opt(2026, 3, of).unwrap() }
    }

    fn patience(endless: bool) -> Patience {
        let again_at = "2026-03-04T16:10:00".parse().unwrap();
        let shut_until = "2026-03-04T17:00:00".parse().unwrap();
        Patience { endless, again_at, shut_until, tries_max: 2, in_a_row_max: 3 }
    }

    fn errors() -> [ApiError; 6] {
        let (api, said, until) = ("daily", "x".to_owned(), "2026-03-05T00:00:00".parse().unwrap());
        [
            ApiError::Quota { api, until, said: said.clone() },
            ApiError::Rate { api, refusals: 30, said: said.clone() },
            ApiError::BadRequest { api, asked: said.clone(), said: said.clone() },
            ApiError::Transport { api, tries: 8, why: said.clone() },
            ApiError::Auth { api, said },
            ApiError::Stopped,
        ]
    }

    #[test]
    fn a_daemon_outlives_what_passes_and_nothing_else() {
        let mut trouble = Trouble::default();
        let fates = errors().map(|error| trouble.fate(&work(3), error, patience(true)));
        let at = |text: &str| Fate::At(text.parse().unwrap());
        let later = || at("2026-03-04T16:10:00");
        let [.., auth, _] = errors();
        assert_eq!(
            fates,
            [at("2026-03-05T00:00:00"), later(), later(), later(), Fate::End(auth), Fate::Stop]
        );
    }

    #[test]
    fn an_api_that_is_closed_ends_a_run_and_no_daemon() {
        let (api, said) = ("adj_factor", "x".to_owned());
        let denied = ApiError::Permission { api, points: 2_000, said: said.clone() };
        for error in [denied, ApiError::UnknownApi { api, said }] {
            let fate = |endless| Trouble::default().fate(&work(3), error.clone(), patience(endless));
            assert_eq!(fate(true), Fate::Shut(patience(true).shut_until));
            assert_eq!(fate(false), Fate::End(error.clone()));
        }
    }

    #[test]
    fn a_run_leaves_what_waits_for_a_quota_and_says_so_in_one_line() {
        let mut trouble = Trouble::default();
        let [quota, rate, bad, moment, ..] = errors();
        for of in [3, 4, 4] {
            assert_eq!(trouble.fate(&work(of), quota.clone(), patience(false)), Fate::Left);
        }
        assert_eq!(trouble.fate(&work(5), bad, patience(false)), Fate::Never);
        assert_eq!(trouble.fate(&work(5), moment.clone(), patience(false)), Fate::Last);
        assert_eq!(trouble.fate(&work(5), moment.clone(), patience(false)), Fate::End(moment));
        assert_eq!(trouble.fate(&work(5), rate.clone(), patience(false)), Fate::End(rate));
        let told = format!("{:#}", trouble.end().unwrap());
        assert!(
            told.starts_with("pieces of work left: 2: daily: quota used up until 2026-03-05 00:00:00"),
            "{told}"
        );
        assert!(trouble.end().is_none());
    }

    #[test]
    fn a_service_that_is_gone_ends_a_run_before_every_piece_was_tried() {
        let mut trouble = Trouble::default();
        let [_, _, _, moment, ..] = errors();
        let mut fates = (1..=4).map(|of| trouble.fate(&work(of), moment.clone(), patience(false)));
        assert!(fates.by_ref().take(3).all(|fate| fate == Fate::Last));
        assert_eq!(fates.next(), Some(Fate::End(moment.clone())));
    }
}
