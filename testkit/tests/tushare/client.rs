//! The service's own client for Python takes the fake for the service.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use sqep_testkit::tushare::{FakeTushare, Faults, Row, TOKEN, World};

use crate::protocol::small;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the client made of these questions: whom, and what.
async fn client(questions: Vec<(String, &str, Value)>) -> Vec<Value> {
    let in_words = |(url, token, question): (String, &str, Value)| {
        let mut words = vec![json!(url), json!(token)];
        words.extend(question.as_array().unwrap().iter().cloned());
        Value::Array(words)
    };
    let questions: Vec<Value> = questions.into_iter().map(in_words).collect();
    let run = move || {
        let python =
            std::env::var_os("SQEP_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
        let mut child = Command::new(&python)
            .arg(root().join("testkit/python/tushare_client.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; testkit/setup.sh test makes it", python.display()));
        child.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// A column of the client's table.
fn column(answer: &Value, name: &str) -> Vec<Value> {
    let columns = answer["columns"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let at = columns.iter().position(|column| column == name).unwrap();
    answer["rows"].as_array().unwrap().iter().map(|row| row[at].clone()).collect()
}

fn of_code<'a>(world: &'a World, api: &str, code: &str) -> Vec<&'a Row> {
    world.table(api).iter().filter(|row| row.code() == code).collect()
}

fn assert_equal(answer: &Value, rows: &[&Row], texts: &[&str], numbers: &[&str]) {
    for name in texts {
        let expected: Vec<Value> = rows.iter().map(|row| json!(row.text(name))).collect();
        assert_eq!(column(answer, name), expected, "{name}");
    }
    for name in numbers {
        let expected: Vec<Option<f64>> = rows.iter().map(|row| row.number(name)).collect();
        let read: Vec<Option<f64>> = column(answer, name).iter().map(Value::as_f64).collect();
        assert_eq!(read, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_reads_the_worlds_rows() {
    let world = small();
    let fake = FakeTushare::start(world.clone(), Faults::default()).await.unwrap();
    let code = "000001.SZ";
    let range = json!({"ts_code": code, "start_date": "20260601", "end_date": "20260630"});
    let questions = json!([
        ["query", "daily", "", range],
        ["call", "adj_factor", {"trade_date": "20260630"}],
        ["query", "trade_cal", "cal_date,is_open", {"start_date": "20260601", "end_date": "20260630"}],
        ["bar", {"ts_code": code, "start_date": "20260601", "end_date": "20260630"}],
        ["bar", {"ts_code": code, "start_date": "20260601", "end_date": "20260630", "adj": "hfq"}],
    ]);
    let questions = questions.as_array().unwrap();
    let both = [fake.url() + "/dataapi", fake.url()];
    let asked =
        both.iter().flat_map(|url| questions.iter().map(|it| (url.clone(), TOKEN, it.clone()))).collect();
    for answers in client(asked).await.chunks(questions.len()) {
        let bars = of_code(&world, "daily", code);
        let prices = ["open", "high", "low", "close", "vol", "amount"];
        assert_equal(&answers[0], &bars, &["ts_code", "trade_date"], &prices);
        assert_equal(&answers[0], &bars, &[], &["pre_close", "change", "pct_chg"]);
        assert_equal(&answers[3], &bars, &["ts_code", "trade_date"], &prices);

        let day: Vec<&Row> =
            world.table("adj_factor").iter().filter(|row| row.time() == "20260630").collect();
        assert!(day.len() > 10);
        assert_equal(&answers[1], &day, &["ts_code", "trade_date"], &["adj_factor"]);

        let in_june = |row: &&Row| row.text("exchange") == "SSE" && row.time().starts_with("202606");
        let calendar: Vec<&Row> = world.table("trade_cal").iter().filter(in_june).collect();
        assert_equal(&answers[2], &calendar, &["cal_date"], &["is_open"]);

        let factors = of_code(&world, "adj_factor", code);
        let adjusted = column(&answers[4], "close");
        assert_eq!(adjusted.len(), bars.len());
        for ((bar, factor), adjusted) in bars.iter().zip(factors).zip(adjusted) {
            let expected = bar.number("close").unwrap() * factor.number("adj_factor").unwrap();
            assert!((adjusted.as_f64().unwrap() - expected).abs() <= 0.005 + 1e-9, "{adjusted} {expected}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_reads_241_minutes_a_day_that_add_up_to_the_day() {
    let world = small();
    let fake = FakeTushare::start(world.clone(), Faults::default()).await.unwrap();
    let day = json!({
        "ts_code": "000001.SZ", "freq": "1min", "start_date": "2026-06-30 09:00:00", "end_date": "2026-06-30 15:00:00",
    });
    let questions = [json!(["query", "stk_mins", "", day]), json!(["bar", day])];
    let answers = client(questions.map(|it| (fake.url() + "/dataapi", TOKEN, it)).to_vec()).await;
    let bar = of_code(&world, "daily", "000001.SZ")[0];
    assert_eq!(bar.time(), "20260630");
    for answer in &answers {
        let times = column(answer, "trade_time");
        assert_eq!(
            (times.len(), &times[0], &times[240]),
            (241, &json!("2026-06-30 15:00:00"), &json!("2026-06-30 09:30:00"))
        );
        let sum = |name: &str| column(answer, name).iter().map(|cell| cell.as_f64().unwrap()).sum::<f64>();
        assert!((sum("vol") - bar.number("vol").unwrap() * 100.0).abs() < 0.5);
        assert!((sum("amount") - bar.number("amount").unwrap() * 1_000.0).abs() < 0.5);
        assert_eq!(column(answer, "close")[0].as_f64(), bar.number("close"));
        assert_eq!(column(answer, "open")[240].as_f64(), bar.number("open"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_takes_refusals_emptiness_and_errors_as_it_does_the_services() {
    let started = async |faults| FakeTushare::start(small(), faults).await.unwrap();
    let fakes = [
        started(Faults::default()).await,
        started(Faults::default()).await,
        started(Faults { unavailable: 1.0, ..Faults::default() }).await,
        started(Faults { truncates: 1.0, ..Faults::default() }).await,
    ];
    // A Sunday.
    let question = json!(["query", "daily", "", {"trade_date": "20260628"}]);
    let tokens = ["wrong", TOKEN, TOKEN, TOKEN];
    let asked = fakes.iter().zip(tokens);
    let asked = asked.map(|(fake, token)| (fake.url() + "/dataapi", token, question.clone())).collect();
    let answers = client(asked).await;
    assert_eq!(answers[0]["error"], "Exception: 您的token不对，请确认。");
    assert_eq!(answers[1]["rows"], json!([]));
    assert_eq!(answers[1]["columns"].as_array().unwrap().len(), 11, "no rows, but the columns");
    assert_eq!(answers[2], json!({"columns": [], "rows": []}), "what the client makes of any error of HTTP");
    assert!(answers[3]["error"].is_string());
}
