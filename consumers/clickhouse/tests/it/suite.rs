//! A database under the suite that every sink must pass.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use sqep::{DayBar, Kind};
use sqep_clickhouse::{ClickHouseSink, Config, Store};
use sqep_testkit::{
    TestClickHouse,
    suite::sink::{self, Held, Rig},
};

use crate::common;

/// A server that can be killed, and how it is loaded.
struct Server {
    server: TestClickHouse,
    config: Config,
}

impl Server {
    fn new(change: impl Fn(Config) -> Config) -> anyhow::Result<Server> {
        let server = TestClickHouse::front(&[])?;
        let config = change(common::config(&server));
        Ok(Server { server, config })
    }
}

impl Rig for Server {
    type Sink = ClickHouseSink<DayBar>;

    async fn open(&mut self) -> anyhow::Result<Self::Sink> {
        Ok(ClickHouseSink::new(Store::new(self.config.clone())?, common::key(Kind::BarDay))?)
    }

    async fn held(&mut self) -> anyhow::Result<Held> {
        common::held(&self.server, Kind::BarDay)
    }

    async fn take_down(&mut self) -> anyhow::Result<()> {
        self.server.kill()
    }

    async fn bring_back(&mut self) -> anyhow::Result<()> {
        self.server.restart()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_keeps_every_promise_of_a_sink() -> anyhow::Result<()> {
    sink::sink(|| async { Server::new(|config| config) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_compressed_and_without_validation() -> anyhow::Result<()> {
    let plain = |config| Config { validate: false, compression: sqep_clickhouse::Compression::Lz4, ..config };
    sink::sink(|| async { Server::new(plain) }).await
}
