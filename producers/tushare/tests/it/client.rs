//! The client against a fake service: whole tables or a reason, whatever the service does.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    future::Future,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use sqep_testkit::tushare::{self as fake, FakeTushare, Faults, Outcome, Rates, Refusal, Span, TOKEN, World};
use sqep_tushare::client::{
    Api, ApiError, Ask, Cell, Client, ClientSettings, Keep, Misfit, Reach, Table, Token, UrlForm, api,
};
use tokio_util::sync::CancellationToken;

/// APIs by day of which the generated market has rows.
const BY_DAY: [&str; 7] =
    ["daily", "adj_factor", "stk_limit", "stock_st", "suspend_d", "fund_daily", "fund_adj"];
const LISTS: [&str; 3] = ["namechange", "bse_mapping", "trade_cal"];

fn world() -> World {
    World::generated(7, 60, "2026-03-02".parse().unwrap(), "2026-04-30".parse().unwrap())
}

/// Settings for a service whose minute is short, and that is not waited for long.
fn settings(fake: &FakeTushare) -> ClientSettings {
    ClientSettings {
        base_url: fake.url(),
        token: vec![Token::from(TOKEN)],
        points: 15_000,
        minute_ms: 40,
        pause_first_ms: 1,
        pause_ms_max: 4,
        cache_dir: "".into(),
        ..ClientSettings::default()
    }
}

fn client(settings: ClientSettings) -> Client {
    Client::new(settings, CancellationToken::new()).unwrap()
}

fn all(name: &str) -> Ask {
    let params = vec![("start_date", "20260101".to_owned()), ("end_date", "20261231".to_owned())];
    Ask { api: api(name), params: if BY_DAY.contains(&name) { params } else { Vec::new() } }
}

/// Minutes of one security.
fn minutes() -> Ask {
    let code = world().table("daily")[0].code().to_owned();
    let (from, to) = ("2026-03-02 09:00:00".to_owned(), "2026-04-30 16:00:00".to_owned());
    let params = vec![("ts_code", code), ("freq", "1min".to_owned()), ("start_date", from), ("end_date", to)];
    Ask { api: api("stk_mins"), params }
}

fn plain(number: Option<f64>, text: &str) -> String {
    number.or_else(|| text.parse().ok()).map_or_else(|| text.to_owned(), |number| number.to_string())
}

/// The rows of a table as text, in the order of the API's columns and sorted.
fn rows(table: &Table, api: &Api) -> Vec<Vec<String>> {
    let columns: Vec<_> = api.fields.iter().map(|field| table.column(field)).collect();
    let cell = |row: usize, column: &Option<usize>| match table.cell(row, *column) {
        Cell::Number(number) => plain(Some(*number), ""),
        Cell::Text(text) => plain(None, text),
        Cell::Null => String::new(),
    };
    let rows = 0..table.rows.len();
    let mut rows: Vec<Vec<String>> =
        rows.map(|row| columns.iter().map(|at| cell(row, at)).collect()).collect();
    rows.sort();
    rows
}

/// The rows the service has; of calendars it gives that of Shanghai unless asked for another.
fn wanted(world: &World, api: &Api) -> Vec<Vec<String>> {
    let line =
        |row: &fake::Row| api.fields.iter().map(|name| plain(row.number(name), row.text(name))).collect();
    let asked = |row: &&fake::Row| api.name != "trade_cal" || row.text("exchange") == "SSE";
    let mut rows: Vec<Vec<String>> = world.table(api.name).iter().filter(asked).map(line).collect();
    rows.sort();
    rows
}

/// Compares, and shows the first row that differs rather than all.
fn assert_same(left: &[Vec<String>], right: &[Vec<String>], what: &str) {
    let differs = left.iter().zip(right).find(|(left, right)| left != right);
    assert_eq!(differs, None, "{what}");
    assert_eq!(left.len(), right.len(), "{what}");
}

#[tokio::test]
async fn every_table_is_whole_whatever_the_service_cuts_off_in_silence() {
    for cap in [97, 100, 6_000] {
        let faults = Faults {
            caps: BY_DAY.iter().chain(&LISTS).map(|&name| (name.to_owned(), cap)).collect(),
            count_lies: 0.5,
            ..Faults::default()
        };
        let fake = FakeTushare::start(world(), faults).await.unwrap();
        let client = client(ClientSettings { url_form: UrlForm::Dataapi, ..settings(&fake) });
        for name in BY_DAY.iter().chain(&LISTS) {
            let table = client.table(&all(name), Keep::No).await.unwrap();
            let wanted = wanted(&fake.world(), api(name));
            assert!(!wanted.is_empty(), "the market has no {name}");
            assert_same(&rows(&table, api(name)), &wanted, &format!("{name}, {cap} rows a call"));
        }
        let (sent, calls) = (client.spent().values().sum::<u64>(), fake.calls().len());
        assert_eq!(usize::try_from(sent).unwrap(), calls);
        assert!(fake.calls().iter().all(|call| call.params.contains_key("limit")));
    }
}

#[tokio::test]
async fn whatever_passes_is_survived_and_changes_nothing() {
    let sound = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let sound = client(settings(&sound));
    let mut asks: Vec<Ask> = BY_DAY.iter().chain(&LISTS).map(|name| all(name)).collect();
    asks.push(minutes());
    for seed in 0..12 {
        let faults = Faults {
            caps: [("daily".to_owned(), 150), ("adj_factor".to_owned(), 150)].into(),
            stall: Some(Duration::from_millis(20)),
            ..Faults::passing(seed)
        };
        let fake = FakeTushare::start(world(), faults).await.unwrap();
        let client = client(ClientSettings { misfit_tries_max: 30, ..settings(&fake) });
        for ask in &asks {
            let table = client.table(ask, Keep::No).await.unwrap_or_else(|error| panic!("{seed}: {error}"));
            let wanted = sound.table(ask, Keep::No).await.unwrap();
            assert_same(&rows(&table, ask.api), &rows(&wanted, ask.api), &format!("seed {seed}, {ask}"));
        }
    }
}

#[tokio::test]
async fn every_refusal_is_one_line_with_the_vendors_words_and_what_to_do() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    for (refusal, reach, says) in [
        (Refusal::Token, Reach::Account, "check SQEP__TUSHARE__TOKEN"),
        (Refusal::ApiName, Reach::Api, "check tushare.base_url"),
        (Refusal::PermissionNew, Reach::Api, "it needs 3000 points"),
        (Refusal::PermissionOld, Reach::Api, "it needs 3000 points"),
        (Refusal::Points, Reach::Api, "it needs 3000 points"),
        (Refusal::Addresses(3), Reach::Account, "stop the other programs"),
        (Refusal::Request, Reach::Ask, "start_date=20260101"),
        (Refusal::Required("ts_code".to_owned()), Reach::Ask, "start_date=20260101"),
        (Refusal::RateOld(8_000, Span::Day), Reach::Api, "00:00:00 Asia/Shanghai"),
        (Refusal::RateNew(5, Span::Day), Reach::Api, "00:00:00 Asia/Shanghai"),
        (Refusal::RateOld(60, Span::Hour), Reach::Api, "quota used up until"),
        (Refusal::RateNew(5, Span::Hour), Reach::Api, "quota used up until"),
        (Refusal::RateOld(20, Span::Minute), Reach::Api, "refused 4 times in a row"),
        (Refusal::RateNew(1, Span::Minute), Reach::Api, "refused 4 times in a row"),
        (Refusal::Server, Reach::Moment, "failed 8 times in a row"),
        (Refusal::Other(12_345, "某事".to_owned()), Reach::Moment, "code 12345"),
        (Refusal::Other(40_203, "某事".to_owned()), Reach::Moment, "code 40203"),
    ] {
        fake.set_faults(Faults { refuse: [("*".to_owned(), refusal.clone())].into(), ..Faults::default() });
        let client = client(ClientSettings { rate_refusals_max: 3, ..settings(&fake) });
        let error = client.table(&all("stock_st"), Keep::No).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.reach(), reach, "{refusal:?}");
        assert!(text.starts_with("stock_st: ") && text.contains(says), "{refusal:?}: {text}");
        assert!(text.contains(&refusal.text("stock_st")) && !text.contains('\n'), "{refusal:?}: {text}");
    }
}

#[tokio::test]
async fn a_refusal_for_long_is_not_asked_again() {
    let quota = ("daily".to_owned(), Refusal::RateNew(5, Span::Day));
    let faults = Faults { refuse: [quota].into(), ..Faults::default() };
    let fake = FakeTushare::start(world(), faults).await.unwrap();
    let client = client(settings(&fake));
    let first = client.table(&all("daily"), Keep::No).await.unwrap_err();
    assert_eq!(client.table(&all("daily"), Keep::No).await.unwrap_err(), first);
    assert!(client.table(&all("adj_factor"), Keep::No).await.is_ok(), "other APIs go on");
    assert_eq!(client.spent()["daily"], 1);
}

#[tokio::test]
async fn an_api_beyond_the_points_is_not_even_asked() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let client = client(ClientSettings { points: 2_000, ..settings(&fake) });
    let error = client.table(&all("stock_st"), Keep::No).await.unwrap_err();
    assert!(matches!(error, ApiError::Permission { points: 3_000, .. }), "{error}");
    assert!(error.to_string().contains("tushare.points is 2000"), "{error}");
    assert!(fake.calls().is_empty() && !client.allows(api("stock_st")) && client.allows(api("stk_mins")));
}

#[tokio::test]
async fn no_whole_answer_is_an_error_and_never_an_empty_table() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let stall = Some(Duration::from_secs(5_000));
    for (faults, says) in [
        (Faults { too_many_requests: 1.0, ..Faults::default() }, "HTTP 429"),
        (Faults { unavailable: 1.0, ..Faults::default() }, "HTTP 503"),
        (Faults { html: 1.0, ..Faults::default() }, "<html>"),
        (Faults { truncates: 1.0, ..Faults::default() }, ""),
        (Faults { resets: 1.0, ..Faults::default() }, ""),
        (Faults { stalls: 1.0, stall, ..Faults::default() }, "timed out"),
    ] {
        fake.set_faults(faults.clone());
        let client = client(ClientSettings { tries_max: 2, stall_timeout_s_max: 1, ..settings(&fake) });
        let error = client.table(&all("daily"), Keep::No).await.unwrap_err();
        assert!(matches!(error, ApiError::Transport { tries: 2, .. }), "{faults:?}: {error}");
        assert!(error.to_string().contains(says), "{says} is not in {error}");
        assert_eq!((error.reach(), client.spent()["daily"]), (Reach::Moment, 2));
    }
    let gone = ClientSettings { base_url: "http://127.0.0.1:1".to_owned(), tries_max: 2, ..settings(&fake) };
    let error = client(gone).table(&all("daily"), Keep::No).await.unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    fake.set_faults(Faults::default());
    let small = ClientSettings { answer_bytes_max: 1_000, tries_max: 1, ..settings(&fake) };
    let error = client(small).table(&all("daily"), Keep::No).await.unwrap_err();
    assert!(error.to_string().contains("tushare.answer_bytes_max, 1000"), "{error}");
}

/// Tells one misfit from the others.
type Is<'a> = &'a dyn Fn(&Misfit) -> bool;

#[tokio::test]
async fn pages_that_do_not_fit_are_asked_again_and_then_refused() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let caps = || [("daily".to_owned(), 100)].into();
    let repeated = |why: &Misfit| matches!(why, Misfit::RepeatedPage { .. });
    let empty = |why: &Misfit| matches!(why, Misfit::EmptyClaimsMore { .. });
    let column = |why: &Misfit| matches!(why, Misfit::NoColumn { .. });
    let cases: [(Faults, Is); 3] = [
        (Faults { caps: caps(), ignores_offset: 1.0, ..Faults::default() }, &repeated),
        (Faults { caps: caps(), empty_pages: 1.0, ..Faults::default() }, &empty),
        (Faults { drops_fields: 1.0, ..Faults::default() }, &column),
    ];
    for (faults, is_it) in cases {
        fake.set_faults(faults);
        let client = client(ClientSettings { misfit_tries_max: 3, ..settings(&fake) });
        let error = client.table(&all("daily"), Keep::No).await.unwrap_err();
        assert!(matches!(&error, ApiError::Incomplete { why, .. } if is_it(why)), "{error}");
        assert!(client.spent()["daily"] >= 3);
    }
}

#[tokio::test]
async fn the_service_teaches_its_rate() {
    let rates = Rates { per_minute: Some(8), ..Rates::default() };
    for old_texts in [true, false] {
        let minute = Some(Duration::from_millis(600));
        let faults = Faults { rates, minute, old_texts, ..Faults::default() };
        let fake = FakeTushare::start(world(), faults).await.unwrap();
        let client = client(ClientSettings { minute_ms: 600, calls_max: 1, ..settings(&fake) });
        for _ in 0..40 {
            client.table(&all("daily"), Keep::No).await.unwrap();
        }
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        let refused = fake.calls().iter().filter(|call| refused(&call.outcome)).count();
        // 1,000 calls a minute were thought to be allowed; unlearned, each of five minutes would have its refusal.
        assert!((1..=2).contains(&refused), "{refused}");
    }
}

#[tokio::test]
async fn with_several_tokens_one_that_is_refused_stops_nothing() {
    let faults = Faults { tokens: vec!["second".to_owned()], ..Faults::default() };
    let fake = FakeTushare::start(world(), faults).await.unwrap();
    let token = ["wrong", TOKEN, "second"].map(Token::from).to_vec();
    let client = client(ClientSettings { token, ..settings(&fake) });
    for _ in 0..10 {
        client.table(&all("daily"), Keep::No).await.unwrap();
    }
    let asked = |token: &str| fake.calls().iter().filter(|call| call.token == token).count();
    assert_eq!(asked("wrong"), 1);
    assert!(asked(TOKEN) >= 4 && asked("second") >= 4, "{} {}", asked(TOKEN), asked("second"));
}

#[tokio::test]
async fn the_token_is_in_no_error_and_no_debug() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let echo = format!("您的token {TOKEN} 不对");
    let mut shown = vec![format!("{:?} {:?}", settings(&fake), client(settings(&fake)))];
    for code in [40101, 40203, 40204, 50101, 50000] {
        let refuse = [("*".to_owned(), Refusal::Other(code, echo.clone()))].into();
        fake.set_faults(Faults { refuse, ..Faults::default() });
        let error = client(settings(&fake)).table(&all("daily"), Keep::No).await.unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    let place = ClientSettings { base_url: format!("http://me:{TOKEN}@127.0.0.1:1"), ..settings(&fake) };
    shown.push(format!("{place:?} {}", toml::to_string(&place).unwrap()));
    let error = client(place).table(&all("daily"), Keep::No).await.unwrap_err();
    shown.push(format!("{error} {error:?}"));
    let shown = shown.join("\n");
    assert!(shown.contains("您的token … 不对") && !shown.contains(TOKEN), "{shown}");
    assert!(fake.calls().iter().all(|call| call.token == TOKEN), "it is sent all the same");
}

fn garble(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let one = |path: std::path::PathBuf| {
        if path.is_dir() { garble(&path) } else { std::fs::write(path, "garbled").map(|()| 1).unwrap() }
    };
    entries.map(one).sum()
}

#[tokio::test]
async fn a_settled_answer_is_asked_for_once_and_survives_the_program() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kept = || client(ClientSettings { cache_dir: dir.path().to_owned(), ..settings(&fake) });
    let settled = Keep::Settled { since_ms: 0 };
    let first = kept().table(&all("daily"), settled).await.unwrap();
    let asked = fake.calls().len();
    assert_eq!(kept().table(&all("daily"), settled).await.unwrap(), first);
    assert_eq!(fake.calls().len(), asked, "from the cache");

    kept().table(&all("daily"), Keep::Settled { since_ms: i64::MAX }).await.unwrap();
    assert!(fake.calls().len() > asked, "asked before the day was settled");
    let asked = fake.calls().len();
    kept().table(&all("daily"), Keep::Fresh).await.unwrap();
    assert!(fake.calls().len() > asked);

    assert_eq!(garble(dir.path()), 1);
    let asked = fake.calls().len();
    assert_eq!(kept().table(&all("daily"), settled).await.unwrap(), first);
    assert!(fake.calls().len() > asked, "a garbled file is none");
    fake.set_faults(Faults { unavailable: 1.0, ..Faults::default() });
    assert_eq!(kept().table(&all("daily"), settled).await.unwrap(), first, "and was replaced");
}

#[tokio::test]
async fn a_stop_ends_every_wait_at_once() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let slow =
        ClientSettings { minute_ms: 3_600_000, rates: [("daily".to_owned(), 2)].into(), ..settings(&fake) };
    let down = ClientSettings {
        base_url: "http://127.0.0.1:1".to_owned(),
        pause_first_ms: 3_600_000,
        pause_ms_max: 3_600_000,
        ..settings(&fake)
    };
    for (settings, before) in [(slow, 1), (down, 0)] {
        let stop = CancellationToken::new();
        let client = Client::new(settings, stop.clone()).unwrap();
        for _ in 0..before {
            client.table(&all("daily"), Keep::No).await.unwrap();
        }
        let ask = all("daily");
        let mut waits = pin!(client.table(&ask, Keep::No));
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        stop.cancel();
        assert_eq!(waits.await.unwrap_err(), ApiError::Stopped);
    }
}

#[tokio::test]
async fn an_estimate_is_what_the_limits_ask_for() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let with = |points| client(ClientSettings { points, minute_ms: 60_000, ..settings(&fake) });
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let year = |count| [(api("daily"), count), (api("adj_factor"), count)];
    assert_eq!(with(2_000).estimate(&year(2_440)), minutes(12));
    assert_eq!(with(5_000).estimate(&year(2_440)), minutes(4));
    assert_eq!(with(15_000).estimate(&year(2_440)), Duration::from_secs(183));
    assert_eq!(with(120).estimate(&[(api("daily"), 8_050)]), minutes(1_440));
    assert_eq!(with(120).estimate(&[(api("daily"), 20), (api("daily"), 31)]), minutes(1));
    assert_eq!(with(120).estimate(&[]), Duration::ZERO);
}

/// A day of the whole market.
fn one_day(rows: usize) -> String {
    let row = |row: usize| {
        let code = format!("{row:06}.SZ");
        format!(r#"["{code}","20240102",10.{row},11.07,9.98,10.5,10.41,{row}5252.77,{row}60697.377]"#)
    };
    let items = (1..=rows).map(row).collect::<Vec<_>>().join(",");
    let fields = api("daily").fields.join(r#"",""#);
    format!(r#"{{"code":0,"msg":"","data":{{"fields":["{fields}"],"items":[{items}]}}}}"#)
}

/// A server that knows one answer.
fn answering(status: &str, body: &str) -> String {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut read, mut question) = ([0; 4_096], Vec::new());
        while let Ok(bytes @ 1..) = stream.read(&mut read) {
            question.extend_from_slice(&read[..bytes]);
            // Ours end with the brace of their JSON, and have no other one at the end of a piece.
            if question.ends_with(b"}") {
                question.clear();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    url
}

#[tokio::test]
async fn a_status_other_than_success_never_gives_rows_and_never_leads_elsewhere() {
    let fake = FakeTushare::start(world(), Faults::default()).await.unwrap();
    let refusal = r#"{"code":40101,"msg":"您的token不对，请确认。","data":null}"#;
    let elsewhere = format!("302 Found\r\nlocation: {}", fake.url());
    for (status, body, reach, says) in [
        ("401 Unauthorized", refusal, Reach::Account, "您的token不对"),
        ("503 Service Unavailable", refusal, Reach::Moment, "HTTP 503"),
        ("500 Internal Server Error", &one_day(7), Reach::Moment, "HTTP 500"),
        ("404 Not Found", "<html>", Reach::Moment, "check tushare.base_url"),
        (&elsewhere, "", Reach::Moment, "it points elsewhere"),
    ] {
        let place = ClientSettings { base_url: answering(status, body), tries_max: 2, ..settings(&fake) };
        let error = client(place).table(&all("daily"), Keep::No).await.unwrap_err();
        assert!(error.reach() == reach && error.to_string().contains(says), "{status}: {error}");
    }
    assert!(fake.calls().is_empty(), "a token follows nobody to another place");
}
