//! Questions and answers as the service has them: forms, pages, refusals, rates, order.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use sqep_testkit::tushare::{FakeTushare, Faults, Outcome, Rates, Refusal, Row, Span, TOKEN, World};

use crate::http::{ask, ask_fields, body, column, items, send, texts, verdict};

const SAYS: &str = "https://tushare.pro/document/1?doc_id=108";

pub(crate) fn small() -> World {
    World::generated(7, 20, "2026-06-01".parse().unwrap(), "2026-06-30".parse().unwrap())
}

async fn started(faults: Faults) -> FakeTushare {
    FakeTushare::start(small(), faults).await.unwrap()
}

#[tokio::test]
async fn every_form_of_the_url_answers_alike_and_unknown_parameters_are_passed_over() {
    let fake = started(Faults::default()).await;
    let plain = body(TOKEN, "daily", &json!({"ts_code": "000001.SZ"}), "");
    let newer = json!({
        "api_name": "daily", "token": TOKEN, "fields": [],
        "params": {"ts_code": "000001.SZ", "ts_type_name": fake.url(), "offset": null, "trade_date": ""},
    });
    let nameless = json!({"token": TOKEN, "params": {"ts_code": "000001.SZ"}});
    let forms = [
        ("/", plain.clone()),
        ("/dataapi", plain),
        ("/dataapi/daily", newer.to_string()),
        ("/daily", nameless.to_string()),
    ];
    let mut answers = vec![];
    for (path, body) in forms {
        let reply = send(&fake, "POST", path, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{path}");
        answers.push(reply.json()["data"].clone());
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(answers[0]["items"].as_array().unwrap().len(), 21);
    assert_eq!(send(&fake, "GET", "/", "").await.unwrap().status, 405);
    assert_eq!(send(&fake, "POST", "/", "no json").await.unwrap().status, 400);
}

#[tokio::test]
async fn only_known_fields_come_and_hidden_ones_only_when_asked_for() {
    let fake = started(Faults::default()).await;
    let fields = |answer: &Value| answer["data"]["fields"].clone();
    let whole = ask(&fake, "stk_limit", json!({"ts_code": "000001.SZ"})).await;
    assert_eq!(fields(&whole), json!(["trade_date", "ts_code", "up_limit", "down_limit"]));
    let some = ask_fields(&fake, "stk_limit", json!({}), "pre_close,nonsense, ts_code").await;
    assert_eq!(fields(&some), json!(["pre_close", "ts_code"]));
    let listed = ask(&fake, "stock_basic", json!({})).await;
    assert!(!fields(&listed).as_array().unwrap().contains(&json!("delist_date")));
    let gone = ask_fields(&fake, "stock_basic", json!({"list_status": "D"}), "ts_code,delist_date").await;
    let all = ask(&fake, "stock_basic", json!({"list_status": "L,D,P,G"})).await;
    assert_eq!(items(&gone).len(), 2);
    assert_eq!(items(&all).len(), items(&listed).len() + 2, "without a status only the listed ones come");
    assert!(!texts(&listed, "ts_code").contains(&texts(&gone, "ts_code")[0]));
}

#[tokio::test]
async fn more_rows_than_the_cap_are_cut_off_without_a_word_and_pages_give_them_all() {
    let caps = BTreeMap::from([("daily".to_owned(), 100)]);
    let fake = started(Faults { caps, ..Faults::default() }).await;
    let world = fake.world();
    let kept: Vec<&str> = world.table("daily").iter().map(Row::code).collect();
    assert!(kept.len() > 300);
    let first = ask(&fake, "daily", json!({"limit": "100000"})).await;
    assert_eq!((verdict(&first), items(&first).len()), ((0, ""), 100));
    let mut codes = vec![];
    for page in 0.. {
        let params = json!({"offset": (page * 70).to_string(), "limit": "70"});
        let answer = ask(&fake, "daily", params).await;
        codes.extend(texts(&answer, "ts_code"));
        let more = codes.len() < kept.len();
        assert_eq!(answer["data"]["has_more"], more);
        if !more {
            break;
        }
    }
    assert_eq!(codes, kept);
    assert_eq!(items(&ask(&fake, "daily", json!({"offset": "100000"})).await).len(), 0);
    let beyond = ask(&fake, "daily", json!({"offset": "100001"})).await;
    assert_eq!(verdict(&beyond), (50101, "查询数据失败，请确认参数！可以反馈管理员协助您排查问题"));
}

#[tokio::test]
async fn a_day_wins_over_a_range_and_codes_come_as_a_list() {
    let fake = started(Faults::default()).await;
    let params = json!({"ts_code": "000001.SZ,605000.SH", "trade_date": "20260629", "start_date": "20260601", "end_date": "20260610"});
    let answer = ask(&fake, "daily", params).await;
    assert_eq!(texts(&answer, "ts_code"), ["000001.SZ", "605000.SH"]);
    assert_eq!(texts(&answer, "trade_date"), ["20260629"; 2]);
    let range = json!({"ts_code": "000001.SZ", "start_date": "20260605", "end_date": "20260609"});
    assert_eq!(texts(&ask(&fake, "daily", range).await, "trade_date"), ["20260609", "20260608", "20260605"]);
}

#[tokio::test]
async fn the_calendar_comes_either_way_round_and_says_of_every_day_whether_it_is_open() {
    let fake = started(Faults::default()).await;
    let params = json!({"start_date": "20260619", "end_date": "20260622"});
    let answer = ask(&fake, "trade_cal", params.clone()).await;
    assert_eq!(texts(&answer, "cal_date"), ["20260622", "20260621", "20260620", "20260619"]);
    assert_eq!(texts(&answer, "exchange"), ["SSE"; 4]);
    assert_eq!(column(&answer, "is_open"), [1, 0, 0, 0].map(Value::from));
    assert_eq!(texts(&answer, "pretrade_date"), ["20260618"; 4]);
    fake.set_faults(Faults { oldest_first: vec!["trade_cal".to_owned()], ..Faults::default() });
    let older = texts(&ask(&fake, "trade_cal", params).await, "cal_date");
    assert_eq!(older, ["20260619", "20260620", "20260621", "20260622"]);
    let open =
        ask(&fake, "trade_cal", json!({"start_date": "20260601", "end_date": "20260630", "is_open": "1"}));
    assert_eq!(items(&open.await).len(), 21);
}

#[tokio::test]
async fn every_refusal_has_the_services_code_and_text() {
    let always = |refusal: Refusal| Faults {
        refuse: BTreeMap::from([("daily".to_owned(), refusal)]),
        ..Faults::default()
    };
    let cases = [
        (
            Refusal::RateOld(500, Span::Minute),
            40203,
            format!("抱歉，您每分钟最多访问该接口500次，权限的具体详情访问：{SAYS}。"),
        ),
        (
            Refusal::RateOld(2, Span::Hour),
            40203,
            format!("抱歉，您每小时最多访问该接口2次，权限的具体详情访问：{SAYS}。"),
        ),
        (
            Refusal::RateOld(5, Span::Day),
            40203,
            format!("抱歉，您每天最多访问该接口5次，权限的具体详情访问：{SAYS}。"),
        ),
        (
            Refusal::RateNew(1, Span::Minute),
            40203,
            format!("抱歉，您访问接口(daily)频率超限(1次/分钟)，具体频次详情：{SAYS}。"),
        ),
        (
            Refusal::RateNew(2, Span::Hour),
            40203,
            format!("抱歉，您访问接口(daily)频率超限(2次/小时)，具体频次详情：{SAYS}。"),
        ),
        (
            Refusal::RateNew(5, Span::Day),
            40203,
            format!("抱歉，您访问接口(daily)频率超限(5次/天)，具体频次详情：{SAYS}。"),
        ),
        (
            Refusal::PermissionNew,
            40203,
            format!("抱歉，您没有接口(daily)访问权限，权限的具体详情访问：{SAYS}。"),
        ),
        (Refusal::PermissionOld, 40203, "抱歉，您没有访问该接口的权限".to_owned()),
        (Refusal::Addresses(2), 40204, "您的IP数量超限，最大数量为2个！".to_owned()),
        (Refusal::Request, 50101, "查询数据失败，请确认参数！可以反馈管理员协助您排查问题".to_owned()),
        (Refusal::Required("ts_code".to_owned()), 50101, "必填参数, ts_code".to_owned()),
        (Refusal::Other(2002, "权限不足".to_owned()), 2002, "权限不足".to_owned()),
    ];
    let fake = started(Faults::default()).await;
    for (refusal, code, text) in cases {
        fake.set_faults(always(refusal.clone()));
        let answer = ask(&fake, "daily", json!({})).await;
        assert_eq!(verdict(&answer), (code, text.as_str()));
        assert_eq!((&answer["message"], &answer["data"]), (&json!(text), &Value::Null));
        assert_eq!(fake.calls().last().unwrap().outcome, Outcome::Refused(refusal));
        assert_eq!(verdict(&ask(&fake, "adj_factor", json!({})).await).0, 0, "only this api refuses");
    }
    fake.set_faults(always(Refusal::Points));
    assert!(verdict(&ask(&fake, "daily", json!({})).await).1.contains("积分不足"));
    fake.set_faults(always(Refusal::Server));
    assert_eq!(verdict(&ask(&fake, "daily", json!({})).await).1, "服务器内部错误，请稍后重试");
}

#[tokio::test]
async fn a_wrong_token_a_wrong_name_and_a_missing_parameter_are_refused_in_this_order() {
    let fake = started(Faults::default()).await;
    let wrong = send(&fake, "POST", "/", &body("wrong", "nonsense", &json!({}), "")).await.unwrap();
    assert_eq!(verdict(&wrong.json()), (40101, "您的token不对，请确认。"));
    assert_eq!(verdict(&ask(&fake, "nonsense", json!({})).await), (40101, "请指定正确的接口名"));
    assert_eq!(verdict(&ask(&fake, "index_daily", json!({})).await), (50101, "必填参数, ts_code"));
    assert_eq!(
        verdict(&ask(&fake, "stk_mins", json!({"ts_code": "000001.SZ"})).await),
        (50101, "必填参数, freq")
    );
    for (api, freq) in [("stk_mins", "2min"), ("stk_mins", "1MIN"), ("rt_min", "1min")] {
        let answer = ask(&fake, api, json!({"ts_code": "000001.SZ", "freq": freq})).await;
        assert_eq!(verdict(&answer).0, 50101, "{api} {freq}");
    }
}

#[tokio::test]
async fn points_decide_what_may_be_asked_and_minutes_are_bought_apart() {
    let account = |points, bought: &[&str], old_texts| Faults {
        points: Some(points),
        bought: bought.iter().map(|&name| name.to_owned()).collect(),
        old_texts,
        ..Faults::default()
    };
    let fake = started(Faults::default()).await;
    let minutes = json!({"ts_code": "000001.SZ", "freq": "1min"});
    let allowed = [
        (account(120, &[], false), [true, false, false, false]),
        (account(2000, &[], false), [true, true, false, false]),
        (account(5000, &[], true), [true, true, true, false]),
        (account(2000, &["stk_mins"], false), [true, true, false, true]),
        (Faults::default(), [true; 4]),
    ];
    for (faults, expected) in allowed {
        fake.set_faults(faults.clone());
        for (api, may) in ["daily", "adj_factor", "stock_st", "stk_mins"].into_iter().zip(expected) {
            let answer = ask(&fake, api, if api == "stk_mins" { minutes.clone() } else { json!({}) }).await;
            let (code, text) = verdict(&answer);
            let denied = if faults.old_texts { "没有访问该接口的权限" } else { "访问权限" };
            assert_eq!(code == 0, may, "{api} with {:?} points", faults.points);
            assert!(may || code == 40203 && text.contains(denied), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_token_has_its_rate_for_each_api_and_gets_it_again_a_minute_later() {
    let rates = Rates { per_minute: Some(2), ..Rates::default() };
    let tokens = vec!["second".to_owned()];
    let fake = started(Faults { rates, tokens, ..Faults::default() }).await;
    let code = async |token: &str, api: &str| {
        let reply = send(&fake, "POST", "/", &body(token, api, &json!({"limit": "1"}), "")).await.unwrap();
        verdict(&reply.json()).0
    };
    assert_eq!(
        [code(TOKEN, "daily").await, code(TOKEN, "daily").await, code(TOKEN, "daily").await],
        [0, 0, 40203]
    );
    assert_eq!([code(TOKEN, "adj_factor").await, code("second", "daily").await], [0, 0]);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(code(TOKEN, "daily").await, 40203);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        [code(TOKEN, "daily").await, code(TOKEN, "daily").await, code(TOKEN, "daily").await],
        [0, 0, 40203]
    );
}

#[tokio::test(start_paused = true)]
async fn quotas_of_an_hour_and_a_day_hold_beside_the_rate_and_say_so() {
    let daily = Rates { per_minute: Some(10), per_hour: Some(2), per_day: Some(3) };
    let faults = Faults { rates_of: BTreeMap::from([("daily".to_owned(), daily)]), ..Faults::default() };
    let fake = started(faults).await;
    let text = async || {
        let answer = ask(&fake, "daily", json!({"limit": "1"})).await;
        verdict(&answer).1.to_owned()
    };
    assert_eq!([text().await, text().await], ["", ""]);
    assert!(text().await.contains("频率超限(2次/小时)"));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(text().await, "");
    assert!(text().await.contains("频率超限(3次/天)"));
    tokio::time::advance(Duration::from_secs(86_400)).await;
    assert_eq!(text().await, "");
}

#[tokio::test]
async fn the_service_remembers_what_it_was_asked() {
    let fake = started(Faults::default()).await;
    ask_fields(&fake, "daily", json!({"ts_code": "000001.SZ", "limit": 3, "offset": null}), "ts_code,close")
        .await;
    let calls = fake.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].api.as_str(), &calls[0].outcome), ("daily", &Outcome::Rows(3)));
    assert_eq!(
        calls[0].params.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["limit=3", "ts_code=000001.SZ"]
    );
    assert_eq!(calls[0].fields, ["ts_code", "close"]);
}
