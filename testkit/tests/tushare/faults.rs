//! Every fault looks as it does at the service, comes from the seed, and passes when it should.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use sqep_testkit::tushare::{FakeTushare, Faults, Outcome, TOKEN, World};

use crate::{
    http::{Reply, ask, ask_fields, body, column, items, send, texts},
    protocol::small,
};

async fn started(faults: Faults) -> FakeTushare {
    FakeTushare::start(small(), faults).await.unwrap()
}

async fn daily(fake: &FakeTushare) -> std::io::Result<Reply> {
    send(fake, "POST", "/", &body(TOKEN, "daily", &json!({}), "")).await
}

fn last(fake: &FakeTushare) -> Outcome {
    fake.calls().last().unwrap().outcome.clone()
}

#[tokio::test]
async fn a_proxy_in_the_way_answers_with_html() {
    let fake = started(Faults { too_many_requests: 1.0, ..Faults::default() }).await;
    let reply = daily(&fake).await.unwrap();
    assert_eq!((reply.status, last(&fake)), (429, Outcome::Status(429)));
    fake.set_faults(Faults { unavailable: 1.0, ..Faults::default() });
    let reply = daily(&fake).await.unwrap();
    assert!(reply.status == 503 && reply.body.starts_with("<html>") && reply.head.contains("text/html"));
    fake.set_faults(Faults { html: 1.0, ..Faults::default() });
    let reply = daily(&fake).await.unwrap();
    assert!(reply.status == 200 && reply.body.starts_with("<html>"));
    assert_eq!(last(&fake), Outcome::Html);
}

#[tokio::test]
async fn a_body_ends_in_the_middle_with_and_without_a_broken_connection() {
    let fake = started(Faults { truncates: 1.0, ..Faults::default() }).await;
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let reply = daily(&fake).await.unwrap();
        assert_eq!((reply.status, last(&fake)), (200, Outcome::Truncated));
        assert!(serde_json::from_str::<Value>(&reply.body).is_err());
        seen.insert(reply.is_whole());
    }
    assert_eq!(seen.len(), 2, "as many bytes as promised, and fewer");
}

#[tokio::test]
async fn a_reset_connection_is_an_error_of_the_connection() {
    let fake = started(Faults { resets: 1.0, ..Faults::default() }).await;
    let error = daily(&fake).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(last(&fake), Outcome::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_body_stalls_half_way_and_is_whole_to_whoever_waits() {
    let stall = Some(Duration::from_secs(600));
    let fake = started(Faults { stalls: 1.0, stall, ..Faults::default() }).await;
    let begun = tokio::time::Instant::now();
    let reply = daily(&fake).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(600));
    assert!(reply.is_whole());
    let rows = fake.world().table("daily").len();
    assert_eq!((items(&reply.json()).len(), last(&fake)), (rows, Outcome::Stalled));
}

#[tokio::test]
async fn pages_repeat_come_empty_and_lie_about_what_is_left() {
    let page = json!({"offset": "50", "limit": "50"});
    let fake = started(Faults::default()).await;
    let (first, second) =
        (ask(&fake, "daily", json!({"limit": "50"})).await, ask(&fake, "daily", page.clone()).await);
    assert_ne!(items(&first), items(&second));
    fake.set_faults(Faults { ignores_offset: 1.0, ..Faults::default() });
    assert_eq!(items(&ask(&fake, "daily", page.clone()).await), items(&first), "the same page again");
    fake.set_faults(Faults { empty_pages: 1.0, ..Faults::default() });
    let empty = ask(&fake, "daily", page.clone()).await;
    assert_eq!((items(&empty).len(), &empty["data"]["has_more"]), (0, &json!(true)));
    assert_eq!(items(&ask(&fake, "daily", json!({"limit": "50"})).await).len(), 50, "never the first page");
    fake.set_faults(Faults { count_lies: 1.0, has_more_lies: 1.0, ..Faults::default() });
    let lies = ask(&fake, "daily", page).await;
    assert_eq!(items(&lies), items(&second));
    assert_eq!((&lies["data"]["count"], &lies["data"]["has_more"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn cells_come_as_text_and_columns_in_another_order_or_not_at_all() {
    let params = json!({"ts_code": "000001.SZ"});
    let fake = started(Faults::default()).await;
    let sound = ask(&fake, "daily", params.clone()).await;
    fake.set_faults(Faults { strings: 1.0, ..Faults::default() });
    let quoted = ask(&fake, "daily", params.clone()).await;
    let read: Vec<f64> = texts(&quoted, "amount").iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(column(&sound, "amount"), read.into_iter().map(Value::from).collect::<Vec<_>>());
    assert_eq!(texts(&ask(&fake, "trade_cal", json!({"limit": 1})).await, "is_open"), ["1"]);

    fake.set_faults(Faults { shuffles_fields: 1.0, ..Faults::default() });
    let shuffled = ask(&fake, "daily", params.clone()).await;
    assert_ne!(shuffled["data"]["fields"], sound["data"]["fields"]);
    for name in ["ts_code", "trade_date", "open", "vol", "amount"] {
        assert_eq!(column(&shuffled, name), column(&sound, name));
    }
    fake.set_faults(Faults { drops_fields: 1.0, ..Faults::default() });
    let asked = ask_fields(&fake, "daily", params, "amount,ts_code,trade_date").await;
    assert_eq!(asked["data"]["fields"], json!(["ts_code", "trade_date"]), "never the key");
}

#[tokio::test]
async fn a_turnover_that_the_service_has_not_is_missing_every_time() {
    let fake = started(Faults { nulls: 0.1, ..Faults::default() }).await;
    let first = column(&ask(&fake, "daily", json!({})).await, "amount");
    let second = column(&ask(&fake, "daily", json!({})).await, "amount");
    let missing = first.iter().filter(|cell| cell.is_null()).count();
    assert!(missing > first.len() / 20 && missing < first.len() / 5, "{missing} of {}", first.len());
    assert_eq!(first, second);
}

/// What came of asking for each day of a month once, in this order of days.
async fn month(faults: Faults, backwards: bool) -> Vec<(String, Outcome)> {
    let fake = started(faults).await;
    let mut days: Vec<String> = (1..=30).map(|day| format!("202606{day:02}")).collect();
    if backwards {
        days.reverse();
    }
    for day in &days {
        // Resets are among the faults.
        drop(send(&fake, "POST", "/", &body(TOKEN, "daily", &json!({"trade_date": day}), "")).await);
    }
    let mut outcomes: Vec<_> =
        fake.calls().into_iter().map(|call| (call.params["trade_date"].clone(), call.outcome)).collect();
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    outcomes
}

#[tokio::test(start_paused = true)]
async fn the_seed_alone_decides_what_goes_wrong_with_which_question() {
    let faults =
        |seed| Faults { server_errors: 0.2, too_many_requests: 0.2, resets: 0.2, ..Faults::passing(seed) };
    let first = month(faults(1), false).await;
    assert_eq!(first, month(faults(1), true).await, "whatever the order of questions");
    assert_ne!(first, month(faults(2), false).await);
    let kinds: BTreeSet<String> = first.iter().map(|(_, outcome)| format!("{outcome:?}")).collect();
    assert!(kinds.len() > 3, "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_has_an_answer_after_so_many_troubles_in_a_row() {
    let faults = Faults { server_errors: 1.0, in_a_row_max: Some(2), ..Faults::default() };
    let fake = started(faults).await;
    let rows = World::clone(&fake.world()).table("daily").len();
    let mut outcomes = vec![];
    for _ in 0..6 {
        daily(&fake).await.unwrap();
        outcomes.push(last(&fake) == Outcome::Rows(rows));
    }
    assert_eq!(outcomes, [false, false, true, false, false, true]);
    fake.set_faults(Faults { server_errors: 1.0, apis: vec!["adj_factor".to_owned()], ..Faults::default() });
    assert_eq!(items(&daily(&fake).await.unwrap().json()).len(), rows, "only the named api");
}
