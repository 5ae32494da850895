//! A Redis of one's own: on a unix socket in a folder that goes away with it. Ready means it answers.

use std::path::Path;

use sqep::redis::{RedisSettings, Server, embedded::Embedded};
use tempfile::TempDir;

/// A private server for one test.
#[derive(Debug)]
pub struct TestRedis {
    /// The server; it can be killed and started again.
    pub server: Embedded,
    // After the server: it must be gone before its folder.
    folder: TempDir,
}

impl TestRedis {
    /// Starts a server with an append-only file.
    pub async fn start() -> anyhow::Result<TestRedis> {
        TestRedis::start_with(&[]).await
    }

    /// Starts a server with further options, such as `["--maxmemory", "64mb"]`.
    pub async fn start_with(options: &[&str]) -> anyhow::Result<TestRedis> {
        let folder = tempfile::Builder::new().prefix("sqep-redis-").tempdir()?;
        let server = Embedded::start_with(folder.path(), options).await?;
        Ok(TestRedis { server, folder })
    }

    /// Its URL, for programs.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Settings that reach it.
    pub fn settings(&self) -> RedisSettings {
        self.server.settings()
    }

    /// A client of it.
    pub fn client(&self) -> anyhow::Result<Server> {
        Server::new(&self.settings())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends any command, for tests that look behind the curtain or act as an operator.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> anyhow::Result<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let (name, arguments) = words.split_first().ok_or_else(|| anyhow::anyhow!("no command"))?;
        Ok(redis::cmd(name).arg(arguments).query_async(&mut connection).await?)
    }
}
