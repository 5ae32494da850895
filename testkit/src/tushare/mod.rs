//! A fake of the Tushare Pro service: its protocol, its tables of a made-up or given market, and everything that goes
//! wrong with it, from a seed.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use sqep_testkit::tushare::{FakeTushare, Faults, TOKEN, World};
//!
//! let world = World::generated(7, 50, "2026-03-02".parse()?, "2026-06-30".parse()?);
//! let fake = FakeTushare::start(world, Faults::default()).await?;
//! println!("ask {} with the token {TOKEN}", fake.url());
//! # Ok(())
//! # }
//! ```

mod account;
mod answer;
mod api;
mod ask;
mod desk;
mod faults;
mod row;
mod serve;
mod texts;
mod world;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use chrono::NaiveDateTime;
use tokio::{net::TcpListener, task::JoinHandle};

use self::desk::Desk;
pub use self::{
    api::{Api, Column, Needs},
    faults::{Faults, Rates},
    row::{Cell, Row},
    texts::{Refusal, Span},
    world::World,
};

/// The token that is accepted.
pub const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4";

/// A call, as the service saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The API that was asked.
    pub api: String,
    /// Parameters that were neither null nor empty.
    pub params: BTreeMap<String, String>,
    /// Columns that were asked for; empty: the default ones.
    pub fields: Vec<String>,
    /// The token.
    pub token: String,
    /// When, since the service started.
    pub at: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// So many rows.
    Rows(usize),
    /// A refusal with status 200.
    Refused(Refusal),
    /// A status other than 200, with a page of HTML.
    Status(u16),
    /// Status 200 and a page of HTML.
    Html,
    /// The body stalled half-way.
    Stalled,
    /// The body ended in the middle.
    Truncated,
    /// The connection was reset.
    Reset,
}

/// A service on a port of its own; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeTushare {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

impl FakeTushare {
    /// Starts on a free port of this host.
    pub async fn start(world: World, faults: Faults) -> anyhow::Result<FakeTushare> {
        FakeTushare::listen("127.0.0.1:0", world, faults).await
    }

    /// Starts on this address.
    pub async fn listen(address: &str, world: World, faults: Faults) -> anyhow::Result<FakeTushare> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address:?}: choose a free port of this host"))?;
        let address = listener.local_addr().context("the address of the fake service")?;
        let desk = Arc::new(Desk::new(world, faults));
        let task = tokio::spawn(serve::serve(listener, Arc::clone(&desk)));
        Ok(FakeTushare { address, desk, task })
    }

    /// Where it is: `http://127.0.0.1:PORT`. It answers at `/`, `/API`, `/dataapi` and `/dataapi/API`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far, in the order of the answers.
    pub fn calls(&self) -> Vec<Call> {
        self.desk.calls()
    }

    /// Changes what goes wrong from the next call on; calls counted towards rates stay counted.
    pub fn set_faults(&self, faults: Faults) {
        self.desk.set_faults(faults);
    }

    /// The tables as they are.
    pub fn world(&self) -> World {
        self.desk.world()
    }

    /// Changes the tables from the next call on.
    pub fn set_world(&self, world: World) {
        self.desk.set_world(world);
    }

    /// Changes what time it is in Shanghai.
    pub fn set_now(&self, now: NaiveDateTime) {
        let mut world = self.world();
        world.set_now(Some(now));
        self.set_world(world);
    }
}

impl Drop for FakeTushare {
    fn drop(&mut self) {
        self.task.abort();
    }
}
