//! What may be wrong with a server, its streams, groups and dead letters. Reads only.

use chrono::Utc;
use sqep::{
    EntryId,
    redis::{
        Connection, Server,
        groups::{self, Group},
        inspect::{Inspector, StreamStatus},
        keys::Keys,
    },
};

use super::Findings;
use crate::{
    config::Config,
    out::{age, bytes, count},
};

/// Clocks that differ by more make lag and retention lie.
const CLOCKS_APART_MS_MAX: u64 = 2_000;
/// Entries pending for longer without a reader are stuck.
const PENDING_MS_MAX: u64 = 600_000;

/// Looks at everything; returns how the streams stand, for whoever compares.
pub(super) async fn look(config: &Config, findings: &mut Findings) -> Vec<StreamStatus> {
    let asked = async {
        let server = Server::new(&config.redis)?;
        let mut connection = server.connect().await?;
        the_server(config, server.name(), &mut connection, findings).await?;
        streams(config, &server, &mut connection, findings).await
    };
    match asked.await {
        Ok(streams) => streams,
        Err(error) => {
            let advice = "everything about streams is unknown until it answers";
            findings.fail("redis", format!("{error:#}"), advice);
            Vec::new()
        }
    }
}

async fn the_server(
    config: &Config,
    name: &str,
    connection: &mut Connection,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let (facts, health) = (connection.facts().await?, connection.health().await?);
    if facts.is_new_enough() {
        findings.good(name, format!("{} answers", facts.name));
    } else {
        findings.fail(name, format!("{} is too old", facts.name), "use Redis 7.0 or later, or Valkey");
    }
    match facts.open {
        Some(true) if !name.contains("unix") => {
            let what = "anybody who reaches it may do anything: its user default has no password";
            findings.warn(
                name,
                what,
                "set users as in deploy/redis/users.acl, or bind it to this machine alone",
            );
        }
        Some(true) => findings.good(name, "has no password, and only this machine reaches its socket"),
        Some(false) | None => findings.good(name, format!("knows us as user {:?}", facts.user)),
    }
    if matches!(health.policy.as_str(), "" | "noeviction") {
        findings.good(name, "evicts nothing");
    } else {
        let what = format!("maxmemory-policy {} throws bars away when memory is full", health.policy);
        findings.fail(name, what, "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf");
    }
    match health.durability() {
        (false, what) => findings.good(name, what),
        (true, what) => findings.warn(name, what, "appendonly yes and appendfsync everysec in redis.conf"),
    }
    let used = bytes(health.used_bytes);
    if health.bytes_max == 0 {
        let what = format!("no maxmemory, {used} in use: a backlog can take all memory of its machine");
        findings.warn(name, what, "set maxmemory to what Redis may take; producers wait below it");
    } else if health.over(config.stream.memory_percent_max) {
        let what = format!("{used} of {} in use: producers wait", bytes(health.bytes_max));
        findings.fail(name, what, "see `sqep trim --dry-run` for who holds the memory, or raise maxmemory");
    } else {
        findings.good(name, format!("{used} of {} in use", bytes(health.bytes_max)));
    }
    clock(name, facts.now, findings);
    Ok(())
}

fn clock(name: &str, server: EntryId, findings: &mut Findings) {
    let here = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
    let apart = here.abs_diff(server.ms);
    if apart > CLOCKS_APART_MS_MAX {
        let what = format!("its clock and this machine's are {} apart", age(apart));
        findings.warn(name, what, "let both follow NTP: lag and retention go by them");
    } else {
        findings.good(name, "its clock agrees with this machine's");
    }
}

async fn streams(
    config: &Config,
    server: &Server,
    connection: &mut Connection,
    findings: &mut Findings,
) -> anyhow::Result<Vec<StreamStatus>> {
    let mut inspector = Inspector::connect(server).await?;
    let now = connection.facts().await?.now;
    let (prefix, mut all) = (&config.stream.prefix, Vec::new());
    for key in inspector.streams(prefix).await? {
        let status = inspector.stream(&key).await?;
        let groups = groups::list(connection, &Keys::of(&key), &config.stream.groups).await?;
        stream(&status, &groups, now, config, findings);
        all.push(status);
    }
    if all.is_empty() {
        let advice = "start a producer, or check stream.prefix";
        findings.warn("streams", format!("there is none under the prefix {prefix:?}"), advice);
    }
    Ok(all)
}

fn stream(status: &StreamStatus, groups: &[Group], now: EntryId, config: &Config, findings: &mut Findings) {
    let key = &status.stream;
    if status.last.ms > now.ms + CLOCKS_APART_MS_MAX {
        let ahead = age(status.last.ms - now.ms);
        let what = format!("its last id is {ahead} ahead of the server's clock");
        findings.warn(key, what, "ids go on above it, so nothing is lost; lag and retention lie until then");
    }
    if groups.is_empty() && status.entries > 0 {
        let advice = "start a consumer; nothing is trimmed before";
        findings.warn(key, format!("no group reads its {} entries", count(status.entries)), advice);
    }
    for group in groups {
        reader(key, group, now, findings);
    }
    if status.dead_bytes > config.stream.dead_bytes_max {
        let what = format!("{} of dead letters: refusing and burying wait", bytes(status.dead_bytes));
        findings.fail(key, what, "sqep dead list, then redrive or purge");
    } else if status.dead_letters > 0 {
        let what = format!("{} dead letters ({})", count(status.dead_letters), bytes(status.dead_bytes));
        findings.warn(key, what, "sqep dead list");
    } else {
        findings.good(key, "no dead letters");
    }
}

fn reader(key: &str, group: &Group, now: EntryId, findings: &mut Findings) {
    let about = format!("{key} {}", group.pin.group);
    if !group.exists {
        let advice = "start its reader, or take it out of stream.groups: until then nothing is trimmed";
        findings.fail(&about, "is named in stream.groups and was never there", advice);
        return;
    }
    let behind = group.pin.pending + group.lag;
    let oldest = group.pin.lowest_pending.map_or(0, |id| now.ms.saturating_sub(id.ms));
    match &group.holder {
        None if behind > 0 => {
            let what = format!("nobody reads, and {} entries wait", count(behind));
            findings.fail(
                &about,
                what,
                format!("start its reader, or: sqep group retire {}", group.pin.group),
            );
        }
        None => {
            findings.warn(
                &about,
                "nobody reads; nothing waits",
                "start its reader before the next bars come",
            );
        }
        Some(_) if oldest > PENDING_MS_MAX => {
            let what = format!("its oldest entry in hand is {} old: the sink does not take it", age(oldest));
            findings.fail(&about, what, "look at the reader's log: it says what it waits for");
        }
        Some(holder) => {
            let holder: Vec<&str> = holder.split('/').take(2).collect();
            findings.good(&about, format!("read by {}, {} entries behind", holder.join("/"), count(behind)));
        }
    }
    if let Some(at) = group.resumes {
        findings.warn(
            &about,
            format!("is to go on after {at}, and its reader has not heard it"),
            "restart its reader",
        );
    }
}
