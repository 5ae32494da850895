//! What goes wrong, and when. Knows switches, probabilities and the draw; must not know how a fault looks on the wire.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::texts::Refusal;
use crate::market::rng::Rng;

/// Questions remembered; beyond, their history begins anew.
const QUESTIONS_MAX: usize = 1_000_000;

/// Calls an account has for one API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Calls within any minute.
    pub per_minute: Option<u32>,
    /// Calls within any hour.
    pub per_hour: Option<u32>,
    /// Calls within any day.
    pub per_day: Option<u32>,
}

/// What goes wrong. By default nothing does, and the account has every permission and no limits.
///
/// Fields of type `f64` are probabilities, drawn for each call from the seed, the question and how often it was asked
/// before: neither order nor concurrency changes them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Everything random comes from it.
    pub seed: u64,
    /// Faults befall these APIs only; empty: all. Account and caps hold for all in any case.
    pub apis: Vec<String>,
    /// After so many troubled replies in a row a question gets a sound one.
    pub in_a_row_max: Option<u32>,

    /// Further tokens that are accepted beside [`TOKEN`](super::TOKEN); each has limits of its own.
    pub tokens: Vec<String>,
    /// Points of the account: APIs that need more are refused, and those that are bought separately too. None: all are
    /// allowed.
    pub points: Option<u32>,
    /// APIs bought separately, such as `stk_mins`; they matter only where `points` is given.
    pub bought: Vec<String>,
    /// Calls of each token to each API.
    pub rates: Rates,
    /// The same for one API, instead of `rates`.
    pub rates_of: BTreeMap<String, Rates>,
    /// How long a minute of `rates` lasts (an hour sixty times as long, a day 1,440 times); by default 60 s.
    pub minute: Option<Duration>,
    /// Refuses rates and permissions in the older texts.
    pub old_texts: bool,
    /// An API that always refuses, and how; `*` stands for every API.
    pub refuse: BTreeMap<String, Refusal>,
    /// Rows of one call instead of the documented ones.
    pub caps: BTreeMap<String, usize>,

    /// APIs that answer every question without a row the first time it is asked.
    pub empty_once: Vec<String>,

    /// Probability that `offset` is ignored: the first page again.
    pub ignores_offset: f64,
    /// Probability that `count` is 0 whatever there is.
    pub count_lies: f64,
    /// Probability that `has_more` says the opposite.
    pub has_more_lies: f64,
    /// Probability that a page behind the first is empty and claims that there is more.
    pub empty_pages: f64,

    /// Probability that numbers and `is_open` come as text.
    pub strings: f64,
    /// Probability that the columns come in another order.
    pub shuffles_fields: f64,
    /// Probability that a reply lacks one of its columns, other than code and time.
    pub drops_fields: f64,
    /// Share of turnovers (`amount`) that the service does not have: the same rows in every reply.
    pub nulls: f64,
    /// APIs whose rows come oldest first, as those of `trade_cal` once did.
    pub oldest_first: Vec<String>,

    /// Probability of status 429.
    pub too_many_requests: f64,
    /// Probability of status 503 with a page of HTML.
    pub unavailable: f64,
    /// Probability of a page of HTML with status 200.
    pub html: f64,
    /// Probability of a body that stalls half-way.
    pub stalls: f64,
    /// How long it stalls; by default 60 s.
    pub stall: Option<Duration>,
    /// Probability of JSON that ends in the middle, every other time with a broken connection.
    pub truncates: f64,
    /// Probability that the connection is reset instead of an answer.
    pub resets: f64,
    /// Probability of 服务器内部错误.
    pub server_errors: f64,
    /// Probability of being told that the rate is exceeded.
    pub rate_refusals: f64,
}

impl Faults {
    /// Every fault that passes when the question is asked again, each in a few of a hundred calls, and never more than
    /// three in a row.
    pub fn passing(seed: u64) -> Faults {
        const FEW: f64 = 0.03;
        Faults {
            seed,
            in_a_row_max: Some(3),
            ignores_offset: FEW,
            count_lies: 0.5,
            has_more_lies: FEW,
            empty_pages: FEW,
            strings: 0.2,
            shuffles_fields: 0.2,
            drops_fields: FEW,
            too_many_requests: FEW,
            unavailable: FEW,
            html: FEW,
            stalls: FEW,
            stall: Some(Duration::from_secs(5)),
            truncates: FEW,
            resets: FEW,
            server_errors: FEW,
            rate_refusals: FEW,
            ..Faults::default()
        }
    }

    /// All that, and an account that is odd for good, by the seed: answers of about ten rows, some of them oldest first,
    /// turnovers that are not there, the older texts.
    pub fn everything(seed: u64) -> Faults {
        let tables = [
            "daily",
            "adj_factor",
            "stk_limit",
            "stock_st",
            "suspend_d",
            "fund_daily",
            "fund_adj",
            "index_daily",
        ];
        let mut rng = Rng::of(&[seed, 32]);
        let caps = tables.map(|name| (name.to_owned(), 7 + usize::try_from(rng.below(7)).unwrap_or(0)));
        let all = tables.iter().chain(&["trade_cal", "namechange"]);
        let oldest_first = all.filter(|_| rng.once_in(2)).map(|&name| name.to_owned()).collect();
        let (old_texts, caps) = (rng.once_in(2), caps.into());
        Faults { oldest_first, caps, nulls: 0.1, old_texts, ..Faults::passing(seed) }
    }

    /// Whether faults befall this API.
    fn befall(&self, api: &str) -> bool {
        self.apis.is_empty() || self.apis.iter().any(|name| name == api)
    }

    /// The rates of an API.
    pub(super) fn rates_for(&self, api: &str) -> Rates {
        self.rates_of.get(api).copied().unwrap_or(self.rates)
    }

    /// How an API always refuses.
    pub(super) fn refusal_of(&self, api: &str) -> Option<&Refusal> {
        self.refuse.get(api).or_else(|| self.refuse.get("*"))
    }

    /// Whether this row has lost its turnover.
    pub(super) fn forgets(&self, code: &str, time: &str) -> bool {
        self.nulls > 0.0 && Rng::of(&[self.seed, 31, name(code), name(time)]).chance(self.nulls)
    }
}

/// What happens to a reply on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    TooManyRequests,
    Unavailable,
    Html,
    Stall,
    Truncate { breaks: bool },
    Reset,
    ServerError,
    RateRefusal,
}

/// What is odd about a reply that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    IgnoresOffset,
    CountLies,
    HasMoreLies,
    EmptyPage,
    EmptyAnswer,
    Strings,
    ShufflesFields,
    DropsField,
}

impl Oddity {
    /// Whether it misleads whoever takes the reply as it is.
    fn harms(self) -> bool {
        !matches!(self, Oddity::CountLies | Oddity::Strings | Oddity::ShufflesFields)
    }
}

/// What befalls one call.
#[derive(Debug)]
pub(super) struct Luck {
    pub(super) trouble: Option<Trouble>,
    odd: Vec<Oddity>,
    /// For what is left to choose.
    pub(super) rng: Rng,
}

/// What was asked how often.
#[derive(Debug, Default)]
pub(super) struct History {
    asked: HashMap<u64, Asked>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    times: u64,
    troubled_in_a_row: u32,
}

impl History {
    /// Draws for a question of this API.
    pub(super) fn draw(&mut self, faults: &Faults, api: &str, question: &str) -> Luck {
        if self.asked.len() >= QUESTIONS_MAX {
            self.asked.clear();
        }
        let asked = self.asked.entry(name(question)).or_default();
        let mut luck = draw(faults, Rng::of(&[faults.seed, 30, name(question), asked.times]));
        let enough = faults.in_a_row_max.is_some_and(|most| asked.troubled_in_a_row >= most);
        if enough || !faults.befall(api) {
            luck.spare();
        }
        if asked.times == 0 && faults.empty_once.iter().any(|name| name == api) {
            luck.odd.push(Oddity::EmptyAnswer);
        }
        asked.times += 1;
        asked.troubled_in_a_row = if luck.harms() { asked.troubled_in_a_row + 1 } else { 0 };
        luck
    }
}

fn draw(faults: &Faults, mut rng: Rng) -> Luck {
    let breaks = rng.once_in(2);
    let troubles = [
        (faults.too_many_requests, Trouble::TooManyRequests),
        (faults.unavailable, Trouble::Unavailable),
        (faults.html, Trouble::Html),
        (faults.stalls, Trouble::Stall),
        (faults.truncates, Trouble::Truncate { breaks }),
        (faults.resets, Trouble::Reset),
        (faults.server_errors, Trouble::ServerError),
        (faults.rate_refusals, Trouble::RateRefusal),
    ];
    let oddities = [
        (faults.ignores_offset, Oddity::IgnoresOffset),
        (faults.count_lies, Oddity::CountLies),
        (faults.has_more_lies, Oddity::HasMoreLies),
        (faults.empty_pages, Oddity::EmptyPage),
        (faults.strings, Oddity::Strings),
        (faults.shuffles_fields, Oddity::ShufflesFields),
        (faults.drops_fields, Oddity::DropsField),
    ];
    let trouble = happened(&troubles, &mut rng).first().copied();
    let odd = happened(&oddities, &mut rng);
    Luck { trouble, odd, rng }
}

fn happened<T: Copy>(possible: &[(f64, T)], rng: &mut Rng) -> Vec<T> {
    let chance = |&(probability, what): &(f64, T)| rng.chance(probability).then_some(what);
    possible.iter().filter_map(chance).collect()
}

impl Luck {
    /// Whether this is odd about the reply.
    pub(super) fn is(&self, oddity: Oddity) -> bool {
        self.odd.contains(&oddity)
    }

    /// Takes away what harms; what is only strange stays.
    fn spare(&mut self) {
        self.trouble = None;
        self.odd.retain(|oddity| !oddity.harms());
    }

    fn harms(&self) -> bool {
        self.trouble.is_some() || self.odd.iter().any(|oddity| oddity.harms())
    }
}

/// A text as a number.
fn name(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
