//! The lease of one group on one partition: who reads. Held beside the work by a task of its own.
//!
//! Every step that changes something asks for the token again; the lease only keeps two readers from waiting on each
//! other's work.

use std::{hash::BuildHasher, time::Duration};

use anyhow::anyhow;
use chrono::Utc;
use redis::Script;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{Connection, Server};
use crate::transport::TransportError;

/// Takes the lease if nobody has it, or if it is exactly the one that is known to be dead. Returns the holder.
const TAKE: &str = "
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  return ARGV[1]
end
return holder";
const RENEW: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0";
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// A lease in hand; let go of when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    key: String,
    token: String,
    keeper: JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A number nobody else has.
pub fn unique() -> String {
    let random = || std::hash::RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", random(), random())
}

/// Who holds a lease: `host/pid/start-of-process`, so that a dead holder on this host is known at once.
fn holder() -> String {
    let pid = std::process::id();
    format!("{}/{pid}/{}", host(), started(pid).unwrap_or_default())
}

fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().replace('/', "_");
    // Two containers may share a host's name, but neither its boot and its process numbers.
    let processes = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let boot: String = read("/proc/sys/kernel/random/boot_id").chars().take(8).collect();
    format!("{}+{boot}+{}", read("/proc/sys/kernel/hostname"), processes.display())
}

/// When a process started, in the kernel's ticks; `None` for a process that is not there.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

/// Whether the holder named in a lease was on this host and is no more.
fn dead(lease: &str) -> bool {
    let mut parts = lease.splitn(4, '/');
    let (Some(on), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next()) else { return false };
    // Where even our own process is hidden, nobody can be told dead.
    let seeing = started(std::process::id()).is_some();
    seeing && on == host() && pid.parse().is_ok_and(|pid| started(pid).is_none_or(|now| now != start))
}

/// How a lease is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// How long it lasts without being renewed.
    pub(super) time: Duration,
    /// How long another's is waited for; `None`: for ever.
    pub(super) patience: Option<Duration>,
    /// The token this reader had last: nobody else's.
    pub(super) own: &'a str,
}

impl Lease {
    /// Waits until the lease is free, passed or its holder dead; says once whom it waits for.
    pub(super) async fn take(
        connection: &mut Connection,
        server: &Server,
        key: &str,
        terms: &Terms<'_>,
    ) -> Result<Lease, TransportError> {
        let &Terms { time, patience, own } = terms;
        // When it was taken stands in it for people; nothing is decided by it.
        let token = format!("{}/{}@{}", holder(), unique(), Utc::now().timestamp_millis());
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (script, mut known_dead, mut said) = (Script::new(TAKE), own.to_owned(), false);
        let since = Instant::now();
        loop {
            let found: String =
                connection.run(script.key(key).arg(&token).arg(&known_dead).arg(millis)).await?;
            if found == token {
                let keeper = tokio::spawn(keep(server.clone(), key.to_owned(), token.clone(), time));
                return Ok(Lease { key: key.to_owned(), token, keeper });
            }
            if dead(&found) {
                info!("the reader {found} is dead: taking its lease");
                known_dead = found;
                continue;
            }
            if patience.is_some_and(|patience| since.elapsed() > patience) {
                return Err(TransportError::Wrong(anyhow!(
                    "another reader holds {key}: {found}; stop it, or give this one a group of its own (reader.group)"
                )));
            }
            if !said {
                warn!(
                    "another reader holds {key}: {found}; waiting for it to end, at most {time:?} after it is gone"
                );
                said = true;
            }
            sleep((time / 10).min(Duration::from_millis(500))).await;
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// Gives a lease back, if it is still the one of this token.
pub(super) async fn release(
    connection: &mut Connection,
    key: &str,
    token: &str,
) -> Result<(), TransportError> {
    connection.run::<i64>(Script::new(RELEASE).key(key).arg(token)).await.map(drop)
}

/// Renews a lease three times in its length until it is another's.
async fn keep(server: Server, key: String, token: String, time: Duration) {
    let (script, mut connection) = (Script::new(RENEW), None::<Connection>);
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    loop {
        sleep(time / 3).await;
        if connection.is_none() {
            connection = server.connect().await.ok();
        }
        let Some(open) = &mut connection else { continue };
        match open.run::<i64>(script.key(&key).arg(&token).arg(millis)).await {
            Ok(1) => {}
            Ok(_) => return,
            Err(_) => connection = None,
        }
    }
}
