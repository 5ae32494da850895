//! `sqep fake-tushare` as a program: says where it is and which token it takes, answers, and ends when asked to.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

/// A service at work; killed when dropped.
struct Service {
    child: Child,
    host: String,
    token: String,
}

impl Service {
    fn start(arguments: &[&str]) -> Service {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sqep"))
            .args(["fake-tushare", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (url, token) = line.trim().split_once(" token ").unwrap();
        let host = url.strip_prefix("http://").unwrap().to_owned();
        Service { child, host, token: token.to_owned() }
    }

    fn ask(&self, api: &str, params: &Value) -> Value {
        let body = json!({"api_name": api, "token": self.token, "params": params, "fields": ""}).to_string();
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head = format!("POST /dataapi/{api} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host);
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn rows(&self, api: &str, params: &Value) -> Vec<Value> {
        let answer = self.ask(api, params);
        answer["data"]["items"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn output(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sqep")).arg("fake-tushare").args(arguments).env_clear().output().unwrap()
}

#[test]
fn a_made_up_market_is_served_until_somebody_ends_it() {
    let mut service = Service::start(&["--symbols", "20", "--days", "10", "--to", "2026-06-30"]);
    assert_eq!(service.rows("daily", &json!({"ts_code": "000001.SZ"})).len(), 10);
    assert_eq!(
        service.rows("trade_cal", &json!({"start_date": "20260630"}))[184],
        json!(["SSE", "20260630", 1, "20260629"])
    );
    let pid = service.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

#[test]
fn account_clock_and_seed_are_arguments() {
    let market = ["--symbols", "20", "--days", "10", "--seed", "3"];
    let arguments =
        [&market[..], &["--points", "2000", "--per-minute", "2", "--now", "2026-06-30T09:00:00"]].concat();
    let service = Service::start(&arguments);
    let today = json!({"trade_date": "20260630"});
    assert_eq!(service.rows("daily", &today).len(), 0);
    assert!(!service.rows("stk_limit", &today).is_empty());
    assert_eq!(service.ask("stock_st", &today)["code"], 40203);
    service.rows("daily", &today);
    let refused = service.ask("daily", &today);
    assert!(refused["msg"].as_str().unwrap().contains("频率超限(2次/分钟)"), "{refused}");
    let other = Service::start(&["--symbols", "20", "--days", "10", "--seed", "4"]);
    let again = Service::start(&market);
    let past = json!({"end_date": "20260629"});
    assert_eq!(service.rows("adj_factor", &past), again.rows("adj_factor", &past));
    assert_ne!(service.rows("adj_factor", &past), other.rows("adj_factor", &past));
}

#[test]
fn files_are_served_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let row = "ts_code,trade_date,open,high,low,close,vol,amount\n000001.SZ,20180718,8.75,8.85,8.69,8.7,525152.77,460697.377\n";
    std::fs::write(folder.path().join("daily_2018.csv"), row).unwrap();
    let service = Service::start(&["--data", folder.path().to_str().unwrap()]);
    let rows = service.rows("daily", &json!({"trade_date": "20180718"}));
    assert_eq!(rows[0].as_array().unwrap()[9..], [json!(525_152.77), json!(460_697.377)]);
}

#[test]
fn what_cannot_be_served_is_wrong_usage_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").display().to_string();
    let cases = [
        (vec!["--symbols", "0"], "a market has 1 to 10000"),
        (vec!["--days", "0"], "--days 0"),
        (vec!["--days", "100000"], "the calendar goes from 1990-12-19"),
        (vec!["--to", "2099-01-01"], "--to 2099-01-01"),
        (vec!["--data", folder.path().to_str().unwrap()], "holds no table: name files API_*.csv"),
        (vec!["--data", &missing], "cannot read folder"),
        (vec!["--symbols", "5", "--days", "2", "--listen", "nonsense"], "cannot listen on \"nonsense\""),
    ];
    for (arguments, why) in cases {
        let output = output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let checked = output(&["--check", "--symbols", "5", "--days", "2", "--listen", "nonsense"]);
    assert!(checked.status.success() && checked.stdout.is_empty(), "a check listens nowhere");
}
