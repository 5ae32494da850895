//! Where a question becomes an answer: token, name, permission, rate, parameters, rows, page, in the service's order.
//! Knows every part; must not know HTTP.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Call, Outcome, TOKEN,
    account::{self, Account},
    answer::{self, Rows},
    api::Api,
    ask::Question,
    faults::{Faults, History, Luck, Oddity, Trouble},
    texts::{Refusal, Span},
    world::World,
};

/// Calls remembered; the oldest go first.
const CALLS_MAX: usize = 200_000;
/// How long a body stalls.
const STALL: Duration = Duration::from_secs(60);
/// The number in a refusal of a rate that is not exceeded.
const RATE_SAID: u32 = 500;

/// What goes back over the wire.
#[derive(Debug)]
pub(super) enum Reply {
    /// A body of JSON.
    Json(String),
    /// A page of HTML with this status.
    Html(u16),
    /// A body whose second half comes after a while.
    Stalls(String, Duration),
    /// A connection that breaks within the body.
    Breaks(String),
    /// A connection that is reset.
    Reset,
}

#[derive(Debug, Default)]
struct State {
    world: Arc<World>,
    faults: Arc<Faults>,
    account: Account,
    history: History,
    calls: VecDeque<Call>,
    served: u64,
}

/// Everything the service is.
#[derive(Debug)]
pub(super) struct Desk {
    start: Instant,
    state: Mutex<State>,
}

impl Desk {
    pub(super) fn new(world: World, faults: Faults) -> Desk {
        let state = State { world: Arc::new(world), faults: Arc::new(faults), ..State::default() };
        Desk { start: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn set_world(&self, world: World) {
        self.lock().world = Arc::new(world);
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.lock().faults = Arc::new(faults);
    }

    pub(super) fn world(&self) -> World {
        World::clone(&self.lock().world)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lock().calls.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers, and remembers the call.
    pub(super) fn ask(&self, question: &Question) -> Reply {
        let at = self.start.elapsed();
        let (world, faults, luck, id) = {
            let mut state = self.lock();
            let faults = Arc::clone(&state.faults);
            let luck = state.history.draw(&faults, &question.api, &question.line());
            state.served += 1;
            (Arc::clone(&state.world), faults, luck, state.served)
        };
        let (reply, outcome) = self.reply(question, &world, &faults, luck, id);
        let (api, params) = (question.api.clone(), question.params.clone());
        let (token, fields) = (question.token.clone(), question.fields.clone());
        let mut state = self.lock();
        if state.calls.len() >= CALLS_MAX {
            state.calls.pop_front();
        }
        state.calls.push_back(Call { api, params, fields, token, at, outcome });
        reply
    }

    fn reply(
        &self,
        question: &Question,
        world: &World,
        faults: &Faults,
        mut luck: Luck,
        id: u64,
    ) -> (Reply, Outcome) {
        let refuse = |refusal: Refusal| {
            let text = answer::refused(&refusal, &question.api, id);
            (Reply::Json(text), Outcome::Refused(refusal))
        };
        match luck.trouble {
            Some(Trouble::TooManyRequests) => return (Reply::Html(429), Outcome::Status(429)),
            Some(Trouble::Unavailable) => return (Reply::Html(503), Outcome::Status(503)),
            Some(Trouble::Html) => return (Reply::Html(200), Outcome::Html),
            Some(Trouble::Reset) => return (Reply::Reset, Outcome::Reset),
            _ => {}
        }
        let api = match self.admit(question, faults, &luck) {
            Ok(api) => api,
            Err(refusal) => return refuse(refusal),
        };
        let found = match found(question, api, world, faults, &luck) {
            Ok(found) => found,
            Err(refusal) => return refuse(refusal),
        };
        let text = answer::rows(&found, api, question, faults, &mut luck, id);
        match luck.trouble {
            Some(Trouble::Stall) => (Reply::Stalls(text, faults.stall.unwrap_or(STALL)), Outcome::Stalled),
            Some(Trouble::Truncate { breaks: true }) => (Reply::Breaks(text), Outcome::Truncated),
            Some(Trouble::Truncate { breaks: false }) => (Reply::Json(half(&text)), Outcome::Truncated),
            _ => (Reply::Json(text), Outcome::Rows(found.rows.len())),
        }
    }

    /// Whether this account may ask this now.
    fn admit(&self, question: &Question, faults: &Faults, luck: &Luck) -> Result<&'static Api, Refusal> {
        if question.token != TOKEN && !faults.tokens.contains(&question.token) {
            return Err(Refusal::Token);
        }
        let api = Api::named(&question.api).ok_or(Refusal::ApiName)?;
        account::permit(faults, api)?;
        if let Some(refusal) = faults.refusal_of(api.name) {
            return Err(refusal.clone());
        }
        match luck.trouble {
            Some(Trouble::ServerError) => return Err(Refusal::Server),
            Some(Trouble::RateRefusal) => {
                let most = faults.rates_for(api.name).per_minute.unwrap_or(RATE_SAID);
                return Err(account::too_many(faults, most, Span::Minute));
            }
            _ => {}
        }
        self.lock().account.admit(faults, &question.token, api.name, Instant::now())?;
        Ok(api)
    }
}

/// The page that is asked for.
fn found(
    question: &Question,
    api: &'static Api,
    world: &World,
    faults: &Faults,
    luck: &Luck,
) -> Result<Rows, Refusal> {
    let wanted = question.wanted(api)?;
    let page = question.page()?;
    if luck.is(Oddity::EmptyAnswer) {
        return Ok(Rows { rows: vec![], has_more: false });
    }
    let cap = faults.caps.get(api.name).copied().or(api.rows_max).unwrap_or(usize::MAX);
    let limit = page.limit.unwrap_or(cap).min(cap);
    let offset = if luck.is(Oddity::IgnoresOffset) { 0 } else { page.offset };
    let oldest_first = faults.oldest_first.iter().any(|name| name == api.name);
    let most = if oldest_first { usize::MAX } else { offset.saturating_add(limit).saturating_add(1) };
    let mut rows = world.select(api, &wanted, most);
    if oldest_first {
        rows.reverse();
    }
    if luck.is(Oddity::EmptyPage) && page.offset > 0 {
        return Ok(Rows { rows: vec![], has_more: !luck.is(Oddity::HasMoreLies) });
    }
    let has_more = rows.len() > offset.saturating_add(limit);
    Ok(Rows { rows: rows.into_iter().skip(offset).take(limit).collect(), has_more })
}

/// The first half of a text.
pub(super) fn half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}
