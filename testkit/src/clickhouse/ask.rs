//! One question over HTTP, by hand: what a test sees does not go through what it tests.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, bail};

/// Nothing a test asks for takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A server and who asks it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Host and port.
    pub(super) host: String,
    /// User, empty: the server's default.
    pub(super) user: String,
    /// Password.
    pub(super) password: String,
}

impl Place {
    /// Does a statement in a database; parameters are names and numbers, or days.
    pub(super) fn ask(
        &self,
        database: &str,
        sql: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let mut path = format!("/?database={database}");
        for (name, value) in parameters {
            path.extend(["&param_", name, "=", value]);
        }
        let answer = self.post(&path, sql.as_bytes());
        answer.with_context(|| format!("asked: {sql}"))
    }

    /// Posts `body`; the body of a good answer.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let who = if self.user.is_empty() {
            String::new()
        } else {
            format!("X-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\n", self.user, self.password)
        };
        // HTTP/1.0: the answer is neither cut into chunks nor followed by another.
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\n{who}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
            return Ok(body.to_owned());
        }
        bail!("{}", body.trim())
    }
}
