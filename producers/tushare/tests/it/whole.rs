//! When a day of the market is whole, and which of its rows are news: asked directly, without a stream.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use chrono::NaiveDateTime;
use sqep::{Calendar, DayBar, Kind, Reason, Record, RefDay, Symbol, symbol::Class};
use sqep_testkit::tushare::{Api, Call, Cell, FakeTushare, Faults, Refusal, Row, TOKEN, World};
use sqep_tushare::{
    client::{Client, ClientSettings, Clock},
    config::{AliasChoice, FetchSettings},
    gaps::DayGaps,
    market::{Answer, Daily, Ground, Question, fetch},
    plan::Dataset,
    state::DayState,
    symbols::Symbols,
    tables::Tables,
};
use tokio_util::sync::CancellationToken;

use crate::common::{Rig, assert_same, day, day_bars, fill_tables};

const DAY: &str = "2026-03-03";
const COMPACT: &str = "20260303";

/// A service, and who asks it.
struct Place {
    fake: FakeTushare,
    tables: Tables,
    settings: FetchSettings,
    now: Arc<Mutex<NaiveDateTime>>,
}

impl Place {
    async fn open(world: World, faults: Faults, alias: AliasChoice) -> Place {
        let fake = FakeTushare::start(world, faults).await.unwrap();
        let settings = ClientSettings {
            base_url: fake.url(),
            token: vec![TOKEN.into()],
            points: 15_000,
            cache_dir: "".into(),
            ..ClientSettings::default()
        };
        let now = Arc::new(Mutex::new("2026-03-10T20:00:00".parse().unwrap()));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || *clock.lock().unwrap());
        let tables = Tables::new(Client::by_clock(settings, clock, CancellationToken::new()).unwrap(), alias);
        Place { fake, tables, settings: FetchSettings::default(), now }
    }

    async fn with_lists(world: World) -> Place {
        Place::open(world, Faults::default(), AliasChoice::Current).await
    }

    /// An account that may not see who is listed.
    async fn without_lists(world: World) -> Place {
        let refuse = [("stock_basic".to_owned(), Refusal::PermissionNew)].into();
        Place::open(world, Faults { refuse, ..Faults::default() }, AliasChoice::Current).await
    }

    async fn ask<R: Daily>(&self, question: Question) -> Answer<R> {
        let (universe, calendar) = (self.tables.universe().await.unwrap(), Calendar::published());
        let ground = Ground {
            tables: &self.tables,
            universe: &universe,
            settings: &self.settings,
            calendar: &calendar,
        };
        fetch(&ground, question).await.unwrap()
    }

    async fn expects(&self, symbol: &str, now: &str) -> bool {
        *self.now.lock().unwrap() = format!("2026-03-03T{now}:00").parse().unwrap();
        self.tables.universe().await.unwrap().is_listed(symbol.parse().unwrap(), day(DAY))
    }
}

/// One try at a day that is over.
fn about(dataset: Dataset, state: &DayState) -> Question {
    Question {
        dataset,
        day: day(DAY),
        state: state.clone(),
        before: Symbols::default(),
        tries: 1,
        over: true,
        fresh: true,
        again: false,
    }
}

fn stocks(state: &DayState) -> Question {
    about(Dataset::Stocks, state)
}

/// A market whose tables contradict each other nowhere.
fn whole() -> World {
    let mut world = World::generated(7, 40, day("2026-03-02"), day("2026-03-06"));
    fill_tables(&mut world);
    world
}

fn codes(world: &World, api: &str) -> Vec<String> {
    world.table(api).iter().filter(|row| row.time() == COMPACT).map(|row| row.code().to_owned()).collect()
}

fn without(world: &World, api: &str, codes: &[String]) -> World {
    let (mut world, codes) = (world.clone(), codes.to_vec());
    world.remove(api, move |row| row.time() == COMPACT && codes.iter().any(|code| code == row.code()));
    world
}

fn of<R: Record>(answer: &Answer<R>) -> BTreeSet<String> {
    answer.chunk.records.iter().map(|row| row.symbol().to_string()).collect()
}

fn set(codes: &[String]) -> BTreeSet<String> {
    codes.iter().cloned().collect()
}

fn is_first_page(call: &Call) -> bool {
    call.params.get("offset").is_none_or(|offset| offset == "0")
}

fn nulls(gaps: &DayGaps, field: &str) -> Vec<String> {
    gaps.nulls.get(field).map(|of| of.iter().map(|symbol| symbol.to_string()).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_takes_nothing_from_what_is_published_nor_from_the_ledger() {
    let world = whole();
    let all = codes(&world, "daily");
    let place = Place::with_lists(without(&world, "daily", &all[..1])).await;
    let first = place.ask::<DayBar>(Question { tries: 2, ..stocks(&DayState::default()) }).await;
    assert!(first.state.closed && first.gaps.missing() == 1);
    assert_eq!(of(&first), set(&all[1..]));

    place.fake.set_world(without(&world, "daily", &all));
    let empty = place.ask::<DayBar>(stocks(&first.state)).await;
    assert_eq!(of(&empty), BTreeSet::new());
    assert_eq!((empty.gaps.present, empty.gaps.missing()), (all.len() - 1, 1));
    assert_eq!((&empty.gaps.lacks, &empty.state.present), (&vec![], &first.state.present));

    // The rows are back, and the factors are gone: only the row that is new is published.
    place.fake.set_world(without(&world, "adj_factor", &codes(&world, "adj_factor")));
    let poor = place.ask::<DayBar>(stocks(&empty.state)).await;
    assert_eq!(of(&poor), set(&all[..1]));
    assert_eq!(poor.gaps.lacks, ["adjust"]);

    place.fake.set_world(world);
    let full = place.ask::<DayBar>(stocks(&poor.state)).await;
    assert_eq!(of(&full), set(&all[..1]), "it is published again with its factor");
    assert!(full.gaps.is_whole() && full.chunk.records.iter().all(|bar| bar.adjust.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_closed_day_is_news_though_it_was_suspended_or_on_no_list() {
    let mut world = whole();
    let all = codes(&world, "daily");
    let (halted, unlisted) = (all[0].clone(), all[1].clone());
    let gone = unlisted.clone();
    world.remove("stock_basic", move |row| row.code() == gone);
    let mut before = without(&world, "daily", &all[..2]);
    before.put(
        Row::new(Api::named("suspend_d").unwrap())
            .with("ts_code", halted.as_str())
            .with("trade_date", COMPACT)
            .with("suspend_type", "S"),
    );
    let place = Place::with_lists(before).await;
    let first = place.ask::<DayBar>(stocks(&DayState::default())).await;
    assert!(first.state.closed && first.gaps.is_whole(), "{}", first.gaps);

    place.fake.set_world(world);
    let late = place.ask::<DayBar>(stocks(&DayState::read(&first.state.text()).unwrap())).await;
    assert_eq!(of(&late), BTreeSet::from([halted, unlisted]));
    assert_eq!((late.gaps.present, first.gaps.present), (all.len(), all.len() - 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_a_day_is_complete_when_it_is_over_and_came_twice_the_same() {
    let world = whole();
    for (dataset, api) in [(Dataset::Stocks, "daily"), (Dataset::Funds, "fund_daily")] {
        let all = codes(&world, api);
        assert!(all.len() > 1, "{api}");
        let half = without(&world, api, &all[..all.len() / 2]);
        let place = Place::without_lists(half).await;
        let question = |state: &DayState| about(dataset, state);
        let evening = place.ask::<DayBar>(Question { over: false, ..question(&DayState::default()) }).await;
        let again = place.ask::<DayBar>(Question { over: false, ..question(&evening.state) }).await;
        for answer in [&evening, &again] {
            assert!(!answer.state.closed && answer.gaps.is_unconfirmed(), "{}", answer.gaps);
        }
        place.fake.set_world(world.clone());
        let more = place.ask::<DayBar>(question(&again.state)).await;
        assert_eq!(of(&more), set(&all[..all.len() / 2]));
        assert!(!more.state.closed, "it came with more than before: {}", more.gaps);
        let same = place.ask::<DayBar>(question(&more.state)).await;
        assert!(same.state.closed && same.gaps.is_whole(), "{}", same.gaps);

        // A run that ends asks for it twice itself.
        let twice = place.ask::<DayBar>(Question { tries: 2, ..question(&DayState::default()) }).await;
        assert!(twice.state.closed && twice.gaps.is_whole() && twice.gaps.tries == 2, "{}", twice.gaps);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_whoever_had_a_row_on_the_day_before_is_expected() {
    let world = whole();
    let all = codes(&world, "fund_daily");
    let place = Place::with_lists(without(&world, "fund_daily", &all[..1])).await;
    let before: Symbols = all.iter().map(|code| code.parse::<Symbol>().unwrap()).collect();
    let question = Question { before, tries: 2, ..about(Dataset::Funds, &DayState::default()) };
    let answer = place.ask::<DayBar>(question).await;
    assert!(answer.state.closed && answer.gaps.missing() == 1, "{}", answer.gaps);
    assert!(answer.gaps.to_string().contains(&format!("unexplained: {}", all[0])), "{}", answer.gaps);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_out_of_a_table_is_on_record_and_comes_again_in_full() {
    let world = whole();
    for (dataset, bars, api, word) in [
        (Dataset::Stocks, "daily", "stk_limit", "limits"),
        (Dataset::Stocks, "daily", "adj_factor", "adjust"),
        (Dataset::Funds, "fund_daily", "stk_limit", "limits"),
        (Dataset::Funds, "fund_daily", "fund_adj", "adjust"),
    ] {
        let one = &codes(&world, bars)[..1];
        let place = Place::with_lists(without(&world, api, one)).await;
        let part = place.ask::<DayBar>(Question { tries: 2, ..about(dataset, &DayState::default()) }).await;
        assert_eq!(nulls(&part.gaps, word), one, "{api}: {}", part.gaps);
        let asked = place.fake.calls().iter().filter(|call| call.api == api && is_first_page(call)).count();
        assert_eq!(asked, 2, "{api} was asked for again");

        place.fake.set_world(world.clone());
        let full = place.ask::<DayBar>(about(dataset, &part.state)).await;
        assert_eq!(of(&full), set(one), "{api}");
        assert!(full.gaps.is_whole(), "{}", full.gaps);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_without_limits_in_a_table_that_names_it_is_no_gap() {
    let mut world = whole();
    let code = codes(&world, "daily").remove(0);
    let named = |row: &Row| row.time() == COMPACT && row.code() == code;
    let changed = world.change("stk_limit", named, |row| {
        row.set("up_limit", Cell::Null);
        row.set("down_limit", Cell::Null);
    });
    assert_eq!(changed, 1);
    let answer = Place::with_lists(world).await.ask::<DayBar>(stocks(&DayState::default())).await;
    assert!(answer.gaps.is_whole(), "{}", answer.gaps);
    let bar = answer.chunk.records.iter().find(|bar| bar.symbol.to_string() == code).unwrap();
    assert_eq!((bar.buy_limit, bar.sell_limit), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn factors_of_funds_do_not_stand_for_those_of_stocks() {
    let world = whole();
    let mut place = Place::with_lists(without(&world, "adj_factor", &codes(&world, "adj_factor"))).await;
    place.settings.funds = true;
    let question = || about(Dataset::Ref, &DayState::default());
    let early = place.ask::<RefDay>(Question { over: false, ..question() }).await;
    assert_eq!(early.gaps.lacks, ["adjust"]);
    place.fake.set_world(world);
    let full = place.ask::<RefDay>(question()).await;
    assert!(full.gaps.is_whole(), "{}", full.gaps);
    let of = |class| full.chunk.records.iter().filter(move |row| row.symbol.class() == class);
    assert!(
        of(Class::Stock).all(|row| row.adjust.is_some()) && of(Class::Fund).any(|row| row.adjust.is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_number_is_known_by_what_tables_say_of_the_present_one() {
    let (from, to) = (day("2025-09-29"), day("2025-09-30"));
    let mut world = World::generated(7, 40, from, to);
    fill_tables(&mut world);
    let aliases = sqep::symbol::Aliases::published();
    let former =
        |row: &Row| row.code().parse::<Symbol>().is_ok_and(|symbol| aliases.current(symbol) != symbol);
    let question = |dataset| Question { day: from, ..about(dataset, &DayState::default()) };
    let given = Place::open(world.clone(), Faults::default(), AliasChoice::AsGiven).await;
    let wanted = given.ask::<DayBar>(question(Dataset::Stocks)).await.chunk.records;
    let known = given.ask::<RefDay>(question(Dataset::Ref)).await.chunk.records;
    let renumbered: Vec<&DayBar> =
        wanted.iter().filter(|bar| aliases.current(bar.symbol) != bar.symbol).collect();
    assert!(!renumbered.is_empty() && renumbered.iter().all(|bar| bar.adjust.is_some()));
    assert!(renumbered.iter().all(|bar| known.iter().any(|row| row.symbol == bar.symbol)));

    let mut changed = 0;
    for api in ["adj_factor", "stk_limit", "stock_st", "suspend_d"] {
        changed += world.change(api, former, |row| {
            let current = aliases.current(row.code().parse().unwrap()).to_string();
            row.set("ts_code", current.as_str());
        });
    }
    assert!(changed > 1);
    given.fake.set_world(world);
    assert_eq!(given.ask::<DayBar>(question(Dataset::Stocks)).await.chunk.records, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_that_is_listed_today_is_expected_today() {
    let place = Place::with_lists(whole()).await;
    let put = |code: &str| {
        let mut world = place.fake.world();
        let row = Row::new(Api::named("stock_basic").unwrap()).with("ts_code", code);
        world.put(row.with("list_status", "L").with("list_date", COMPACT));
        place.fake.set_world(world);
    };
    assert!(!place.expects("001399.SZ", "08:30").await);
    put("001399.SZ");
    put("001398.SZ");
    assert!(!place.expects("001399.SZ", "08:40").await, "lists are not read for every question");
    assert!(place.expects("001399.SZ", "08:45").await, "they are before the open");
    put("001397.SZ");
    assert!(!place.expects("001397.SZ", "15:59").await);
    assert!(place.expects("001397.SZ", "16:00").await, "and before the bars");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_without_volume_is_a_suspension_only_where_the_list_says_so() {
    let mut world = whole();
    let all = codes(&world, "daily");
    let (halted, open) = (all[0].as_str(), all[1].as_str());
    let silent = |row: &Row| row.time() == COMPACT && [halted, open].contains(&row.code());
    world.change("daily", silent, |row| {
        for price in ["open", "high", "low", "close"] {
            row.set(price, 8.7);
        }
        row.set("vol", Cell::Null);
        row.set("amount", Cell::Null);
    });
    world.put(
        Row::new(Api::named("suspend_d").unwrap())
            .with("ts_code", halted)
            .with("trade_date", COMPACT)
            .with("suspend_type", "S"),
    );
    let answer = Place::with_lists(world).await.ask::<DayBar>(stocks(&DayState::default())).await;
    assert_eq!(of(&answer), set(&all[2..]));
    assert_eq!(answer.chunk.skipped.get(&Reason::Suspended), Some(&1));
    let refused: Vec<&str> = answer.chunk.refused.iter().map(|refusal| &*refusal.symbol).collect();
    assert_eq!(refused, [open]);
    assert!(answer.gaps.to_string().contains(&format!("refused: {open}")), "{}", answer.gaps);
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_come_with_a_backfill_again_and_no_row_knows_less() {
    let (from, to) = ("2026-03-02", "2026-03-06");
    let rig = Rig::start(whole(), Faults::default()).await;
    rig.backfill(from, to, &[]).await.good();
    let before = rig.stream::<DayBar>(Kind::BarDay).await;

    let mut corrected = whole();
    let all = codes(&corrected, "daily");
    let (wrong, poor) = (all[0].clone(), all[1].clone());
    let is_wrong = |row: &Row| row.time() == COMPACT && row.code() == wrong;
    let twice = |row: &mut Row| {
        for column in ["vol", "amount"] {
            row.set(column, row.number(column).unwrap() * 2.0);
        }
    };
    assert_eq!(corrected.change("daily", is_wrong, twice), 1);
    let wanted = day_bars(&corrected, day(from), day(to));
    rig.fake.set_world(without(&corrected, "adj_factor", &[poor]));

    rig.backfill(from, to, &[]).await.good();
    rig.run(&["gaps", "--fill"]).await.good();
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, before.count, "what is done is not asked for");

    let run = rig.backfill(from, to, &["--again"]).await.good();
    let after = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_same(&after.rows, &wanted);
    assert_eq!(after.count, 2 * before.count - 1, "all but the row without its factor: {}", run.out);
    assert!(run.out.contains("days: 5 complete, 0 closed with gaps"), "{run:?}");
}
