//! A ClickHouse of one's own: the real engine (chDB) behind an HTTP front, or a database of its own on the server that
//! `SQEP_CLICKHOUSE_URL` names, on all servers of the cluster `SQEP_CLICKHOUSE_CLUSTER` if that is set. Ready means it answers. Knows how it starts, fails and ends; must not know a table.
//!
//! `SQEP_PYTHON` is the interpreter that has chDB (`testkit/setup.sh test` makes one).

mod ask;
mod front;

use std::{env, path::Path};

use anyhow::{Context, bail};
use serde::Serialize;

use self::{ask::Place, front::Front};

/// What goes wrong with a statement, asked of the front.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// Which statements, a regular expression.
    #[serde(rename = "match")]
    statements: String,
    /// How many of them.
    times: u32,
    #[serde(flatten)]
    mishap: Mishap,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Mishap {
    /// The connection is closed and nothing done.
    Drop,
    /// The statement is done and its answer lost.
    Lose,
    /// The statement waits before it is done.
    Delay {
        /// Milliseconds, unless faults are asked for anew.
        ms: u64,
    },
    /// An exception of that code instead.
    Code {
        /// ClickHouse's number.
        code: u32,
    },
    /// The connection is closed in the middle of an insert; the engine does with what came what the insert's settings say.
    Break {
        /// Bytes that came through.
        bytes: u64,
    },
    /// The connection is closed in the middle of an insert, and some of its rows are there: a server that cut them into
    /// blocks, whatever it was told.
    Cut {
        /// Rows that are there.
        rows: u64,
    },
    /// The server dies in the middle of an insert, and some of its rows are there.
    Die {
        /// Rows that are there.
        rows: u64,
    },
    /// The server says nothing in the middle of an insert, and some of its rows are there. See [`TestClickHouse::held`].
    Hold {
        /// Rows that are there.
        rows: u64,
        /// Milliseconds until it closes the connection, unless faults are asked for anew.
        ms: u64,
    },
}

impl Mishap {
    /// Befalls the next `times` statements that match.
    pub fn befalls(self, times: u32, statements: &str) -> Fault {
        Fault { statements: statements.to_owned(), times, mishap: self }
    }
}

/// A database for one test.
#[derive(Debug)]
pub struct TestClickHouse {
    place: Place,
    database: String,
    /// Empty: one server.
    cluster: String,
    front: Option<Front>,
}

impl TestClickHouse {
    /// A database on the server of the environment, else on a front of its own.
    pub fn start() -> anyhow::Result<TestClickHouse> {
        match env::var("SQEP_CLICKHOUSE_URL") {
            Ok(url) if !url.is_empty() => TestClickHouse::on(&url),
            _ => TestClickHouse::front(&[]),
        }
    }

    /// A front of its own, whatever the environment names: it can be killed and made to fail. `options`: its variables,
    /// such as `("FRONT_USER", "sqep")`.
    pub fn front(options: &[(&str, &str)]) -> anyhow::Result<TestClickHouse> {
        let front = Front::start(options)?;
        let option = |name| options.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
        let place = Place {
            host: format!("127.0.0.1:{}", front.port()),
            user: option("FRONT_USER").to_owned(),
            password: option("FRONT_PASSWORD").to_owned(),
        };
        TestClickHouse::found(place, String::new(), Some(front))
    }

    fn on(url: &str) -> anyhow::Result<TestClickHouse> {
        let rest = url
            .strip_prefix("http://")
            .context("SQEP_CLICKHOUSE_URL is not http://[user:password@]host:port")?;
        let (who, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let host = host.trim_end_matches('/').to_owned();
        let place = Place { host, user: user.to_owned(), password: password.to_owned() };
        TestClickHouse::found(place, env::var("SQEP_CLICKHOUSE_CLUSTER").unwrap_or_default(), None)
    }

    fn found(place: Place, cluster: String, front: Option<Front>) -> anyhow::Result<TestClickHouse> {
        let database = format!(
            "sqep_test_{:012x}",
            std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 16
        );
        let server = TestClickHouse { place, database, cluster, front };
        server.everywhere("CREATE DATABASE")?;
        Ok(server)
    }

    /// Makes or drops its database, on every server there is.
    fn everywhere(&self, what: &str) -> anyhow::Result<()> {
        let on_cluster = match self.cluster.as_str() {
            "" => String::new(),
            cluster => format!(" ON CLUSTER '{cluster}'"),
        };
        self.place.ask("default", &format!("{what} {}{on_cluster}", self.database), &[]).map(drop)
    }

    /// Its URL without user and password, for programs.
    pub fn url(&self) -> String {
        format!("http://{}", self.place.host)
    }

    /// Its URL with TLS: a front with the option `FRONT_TLS`.
    pub fn tls_url(&self) -> anyhow::Result<String> {
        let port = self.front.as_ref().and_then(Front::tls_port).context("the front has no FRONT_TLS")?;
        Ok(format!("https://localhost:{port}"))
    }

    /// Its database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The cluster it is on every server of; empty: one server.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// User and password, empty where the server asks for none.
    pub fn user(&self) -> (&str, &str) {
        (&self.place.user, &self.place.password)
    }

    /// What programs are to be told of it: settings of the section `clickhouse`.
    pub fn settings(&self) -> Vec<String> {
        let mut settings =
            vec![format!("clickhouse.url={}", self.url()), format!("clickhouse.database={}", self.database)];
        if !self.cluster.is_empty() {
            settings.push(format!("clickhouse.cluster={}", self.cluster));
        }
        if !self.place.user.is_empty() {
            settings.push(format!("clickhouse.user={}", self.place.user));
        }
        settings
    }

    /// Asks it, by another way than any program; the answer as tab-separated text.
    pub fn ask(&self, sql: &str) -> anyhow::Result<String> {
        self.place.ask(&self.database, sql, &[])
    }

    /// Asks with parameters, `{name:Type}` in the statement.
    pub fn ask_with(&self, sql: &str, parameters: &[(&str, &str)]) -> anyhow::Result<String> {
        self.place.ask(&self.database, sql, parameters)
    }

    /// Empties its database of everything.
    pub fn clear(&self) -> anyhow::Result<()> {
        self.everywhere("DROP DATABASE")?;
        self.everywhere("CREATE DATABASE")
    }

    /// Makes statements fail, from now on; an empty list mends it.
    pub fn fail(&self, faults: &[Fault]) -> anyhow::Result<()> {
        self.front.as_ref().context("only a front can be made to fail")?;
        self.place.post("/faults", &serde_json::to_vec(faults)?).map(drop)
    }

    /// How many statements it was given that `pattern` is found in; behind each stands ` WITH ` and its settings.
    pub fn said(&self, pattern: &str) -> anyhow::Result<u64> {
        Ok(self.place.post("/said", pattern.as_bytes())?.parse()?)
    }

    /// How many inserts are held in their middle.
    pub fn held(&self) -> anyhow::Result<u64> {
        Ok(self.place.post("/held", b"")?.parse()?)
    }

    /// Kills it without a word.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.front.as_mut().context("only a front can be killed")?.kill()
    }

    /// Whether it is dead, or dies within a few seconds.
    pub fn is_dead(&mut self) -> anyhow::Result<bool> {
        self.front.as_mut().context("only a front can be dead")?.is_dead()
    }

    /// Starts it again where it was, with what it had on disk.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let front = self.front.as_mut().context("only a front can be started again")?;
        front.kill()?;
        front.launch()
    }

    /// As [`TestClickHouse::restart`], as a server of other options.
    pub fn restart_as(&mut self, options: &[(&str, &str)]) -> anyhow::Result<()> {
        self.front.as_mut().context("only a front can be started again")?.options(options);
        self.restart()
    }

    /// The folder of a front.
    pub fn folder(&self) -> anyhow::Result<&Path> {
        match &self.front {
            Some(front) => Ok(front.folder()),
            None => bail!("only a front has a folder"),
        }
    }
}

impl Drop for TestClickHouse {
    fn drop(&mut self) {
        if self.front.is_none() {
            drop(self.everywhere("DROP DATABASE IF EXISTS"));
        }
    }
}
