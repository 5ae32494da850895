//! Rows that the vendor publishes, and replies that others recorded, come back as they are.

use serde_json::{Value, json};
use sqep_testkit::{
    given,
    tushare::{Api, FakeTushare, Faults, Row, World},
};

use crate::http::{ask, ask_fields, items};

fn row(api: &str) -> Row {
    Row::new(Api::named(api).unwrap())
}

fn minute(api: &str, code: &str, time: &str, prices: [f64; 4], vol: i64, amount: f64) -> Row {
    let [close, open, high, low] = prices;
    row(api)
        .with("ts_code", code)
        .with("trade_time", time)
        .with("close", close)
        .with("open", open)
        .with("high", high)
        .with("low", low)
        .with("vol", vol)
        .with("amount", amount)
}

async fn serving(rows: Vec<Row>) -> FakeTushare {
    let mut world = World::default();
    for row in rows {
        world.put(row);
    }
    FakeTushare::start(world, Faults::default()).await.unwrap()
}

#[tokio::test]
async fn the_published_day_bar_comes_as_published() {
    let published = row("daily")
        .with("ts_code", "000001.SZ")
        .with("trade_date", "20180718")
        .with("open", 8.75)
        .with("high", 8.85)
        .with("low", 8.69)
        .with("close", 8.7)
        .with("pre_close", 8.72)
        .with("change", -0.02)
        .with("pct_chg", -0.23)
        .with("vol", 525_152.77)
        .with("amount", 460_697.377);
    let fake = serving(vec![published]).await;
    let answer = ask(
        &fake,
        "daily",
        json!({"ts_code": "000001.SZ", "start_date": "20180701", "end_date": "20180718"}),
    );
    let fields = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount";
    let data = &answer.await["data"];
    assert_eq!(data["fields"], json!(fields.split(',').collect::<Vec<_>>()));
    assert_eq!(
        data["items"],
        json!([[
            "000001.SZ",
            "20180718",
            8.75,
            8.85,
            8.69,
            8.7,
            8.72,
            -0.02,
            -0.23,
            525_152.77,
            460_697.377
        ]])
    );
}

#[tokio::test]
async fn the_published_minutes_come_newest_first_with_the_silent_ones_before_the_close() {
    let at = |time: &str| format!("2023-08-25 {time}:00");
    let flat = [7.05; 4];
    let fake = serving(vec![
        minute("stk_mins", "600000.SH", &at("14:57"), [7.05, 7.06, 7.06, 7.05], 51_800, 365_491.0),
        minute("stk_mins", "600000.SH", &at("14:58"), flat, 0, 0.0),
        minute("stk_mins", "600000.SH", &at("14:59"), flat, 0, 0.0),
        minute("stk_mins", "600000.SH", &at("15:00"), flat, 235_500, 1_660_275.0),
        minute(
            "idx_mins",
            "000001.SH",
            &at("15:00"),
            [3064.0747, 3064.0, 3065.25, 3063.5],
            315_294_700,
            3.375_271e9,
        ),
    ])
    .await;
    let range = |code: &str| json!({"ts_code": code, "freq": "1min", "start_date": "2023-08-25 09:00:00", "end_date": "2023-08-25 19:00:00"});
    let answer = ask(&fake, "stk_mins", range("600000.SH")).await;
    let fields = ["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"];
    assert_eq!(answer["data"]["fields"], json!(fields));
    let expected = json!([
        ["600000.SH", at("15:00"), 7.05, 7.05, 7.05, 7.05, 235_500, 1_660_275.0],
        ["600000.SH", at("14:59"), 7.05, 7.05, 7.05, 7.05, 0, 0.0],
        ["600000.SH", at("14:58"), 7.05, 7.05, 7.05, 7.05, 0, 0.0],
        ["600000.SH", at("14:57"), 7.05, 7.06, 7.06, 7.05, 51_800, 365_491.0],
    ]);
    assert_eq!(answer["data"]["items"], expected);
    let index = ask_fields(&fake, "idx_mins", range("000001.SH"), "amount,close").await;
    assert_eq!(items(&index), &vec![json!([3_375_271_000.0, 3064.0747])]);
}

#[tokio::test]
async fn turnovers_of_index_minutes_are_written_with_an_exponent() {
    let time = "2023-08-25 15:00:00";
    let fake = serving(vec![minute("idx_mins", "000001.SH", time, [3064.0747; 4], 1, 3.375_271e9)]).await;
    let question = crate::http::body(
        sqep_testkit::tushare::TOKEN,
        "idx_mins",
        &json!({"ts_code": "000001.SH", "freq": "1min"}),
        "amount",
    );
    let reply = crate::http::send(&fake, "POST", "/", &question).await.unwrap();
    assert!(reply.body.contains("[3.375271e9]"), "{}", reply.body);
}

/// The shape of a recorded reply: request id, code 0, an empty message, columns and rows.
#[tokio::test]
async fn a_recorded_reply_of_limits_has_the_fakes_shape() {
    let limits = row("stk_limit")
        .with("ts_code", "000001.SZ")
        .with("trade_date", "20190625")
        .with("pre_close", 13.69)
        .with("up_limit", 15.06)
        .with("down_limit", 12.32);
    let fake = serving(vec![limits]).await;
    let fields = "ts_code,trade_date,pre_close,up_limit,down_limit";
    let mut answer = ask_fields(&fake, "stk_limit", json!({"trade_date": "20190625"}), fields).await;
    if answer["msg"].is_null() {
        answer = ask_fields(&fake, "stk_limit", json!({"trade_date": "20190625"}), fields).await;
    }
    let recorded = recorded().unwrap_or_else(|| {
        json!({
            "request_id": "1cc2e89a-1e9f-4ad4-ae84-ed4390eff364", "code": 0, "msg": "",
            "data": {
                "fields": ["ts_code", "trade_date", "pre_close", "up_limit", "down_limit"],
                "items": [["000001.SZ", "20190625", 13.69, 15.06, 12.32]],
            },
        })
    });
    for key in recorded.as_object().unwrap().keys() {
        assert!(answer.get(key).is_some(), "no {key}");
    }
    let length = |answer: &Value| answer["request_id"].as_str().unwrap().len();
    assert_eq!(length(&answer), length(&recorded));
    assert_eq!((&answer["code"], &answer["msg"]), (&recorded["code"], &recorded["msg"]));
    assert_eq!(answer["data"]["fields"], recorded["data"]["fields"]);
    assert_eq!(answer["data"]["items"][0], recorded["data"]["items"][0]);
}

/// A reply of the service itself, where real data is given.
fn recorded() -> Option<Value> {
    let path = given::data()?.join("tushare/meta/stk_limit_response_20190625_excerpt.json");
    Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}
