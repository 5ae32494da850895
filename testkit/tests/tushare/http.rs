//! Questions over plain TCP, so that a test sees what a client library would hide.

use serde_json::{Value, json};
use sqep_testkit::tushare::{FakeTushare, TOKEN};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// As many bytes as were promised.
    pub(crate) fn is_whole(&self) -> bool {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.unwrap().parse::<usize>().unwrap() == self.body.len()
    }
}

/// Sends a request and reads to the end of the connection.
pub(crate) async fn send(fake: &FakeTushare, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
    let url = fake.url();
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

pub(crate) fn body(token: &str, api: &str, params: &Value, fields: &str) -> String {
    json!({"api_name": api, "token": token, "params": params, "fields": fields}).to_string()
}

/// Asks with the accepted token for the default columns.
pub(crate) async fn ask(fake: &FakeTushare, api: &str, params: Value) -> Value {
    ask_fields(fake, api, params, "").await
}

pub(crate) async fn ask_fields(fake: &FakeTushare, api: &str, params: Value, fields: &str) -> Value {
    send(fake, "POST", "/", &body(TOKEN, api, &params, fields)).await.unwrap().json()
}

/// Code and text of an answer.
pub(crate) fn verdict(answer: &Value) -> (i64, &str) {
    (answer["code"].as_i64().unwrap(), answer["msg"].as_str().unwrap_or_default())
}

pub(crate) fn items(answer: &Value) -> &Vec<Value> {
    assert_eq!(answer["code"], 0, "{answer}");
    answer["data"]["items"].as_array().unwrap()
}

/// A column of an answer.
pub(crate) fn column(answer: &Value, name: &str) -> Vec<Value> {
    let fields = answer["data"]["fields"].as_array().unwrap();
    let at = fields.iter().position(|field| field == name).unwrap_or_else(|| panic!("no column {name}"));
    items(answer).iter().map(|row| row[at].clone()).collect()
}

/// A column of text.
pub(crate) fn texts(answer: &Value, name: &str) -> Vec<String> {
    column(answer, name).iter().map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
}

/// A column of numbers.
pub(crate) fn numbers(answer: &Value, name: &str) -> Vec<f64> {
    column(answer, name).iter().map(|cell| cell.as_f64().unwrap()).collect()
}
