//! What may be wrong with a server, its streams, groups and dead letters. Reads only.

use std::collections::BTreeMap;

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
        let server = config.server()?;
        let mut connection = server.connect().await?;
        the_server(config, server.name(), &mut connection, findings).await?;
        rights(config, &server, findings).await?;
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
        Some(false) | None if facts.user.is_empty() => findings.good(name, "does not say which user we are"),
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

/// What this user may not do of the work that `sqep` is for.
async fn rights(config: &Config, server: &Server, findings: &mut Findings) -> anyhow::Result<()> {
    let advice = "log in with the rights of sqep-operator in deploy/redis/users.acl, or grant what is denied";
    let (name, stream) = (server.name(), &config.stream);
    let keys = Keys::new(&stream.prefix, stream.kind, 0);
    match server.connect().await?.denied_to_operator(&keys).await {
        Ok(denied) if denied.is_empty() => {
            findings.good(name, "lets us trim, steer groups, replay, and bring back dead letters");
        }
        Ok(denied) => {
            let mut works: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for each in &denied {
                works.entry(each.work).or_default().push(&each.act);
            }
            for (work, acts) in works {
                let what = format!("denies this user what {work} needs: {}", acts.join(", "));
                findings.warn(name, what, advice);
            }
        }
        Err(error) => findings.warn(name, format!("does not tell what this user may do: {error:#}"), advice),
    }
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
        let advice = format!("start a consumer: {}", unread(config));
        findings.warn(key, format!("no group reads its {} entries", count(status.entries)), advice);
    }
    for group in groups {
        reader(key, group, now, config, findings);
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

/// What becomes of entries that no counted group waits for.
fn unread(config: &Config) -> String {
    let (least, most) = (config.stream.keep_hours_min, config.stream.keep_hours_max);
    if most == 0 {
        return "nothing is trimmed before (stream.keep_hours_max = 0)".to_owned();
    }
    format!("what is older than {} hours is trimmed unread (stream.keep_hours_max)", most.max(least))
}

fn reader(key: &str, group: &Group, now: EntryId, config: &Config, findings: &mut Findings) {
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
            let advice = format!("start its reader, or: sqep group retire {}", group.pin.group);
            let loss = if group.counts {
                String::new()
            } else {
                format!("; it does not count (stream.groups): {}", unread(config))
            };
            findings.fail(&about, what, advice + &loss);
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
    if let Some(replay) = group.replay.as_ref().filter(|replay| !replay.done) {
        let what = format!("waits for its past ({}), which was not given to its end", replay.what);
        let advice = "if no `sqep replay` runs, run the same again: it goes on where it was".to_owned();
        findings.warn(&about, what, advice);
    }
    if let Some(at) = group.resumes {
        findings.warn(
            &about,
            format!("is to go on after {at}, and its reader has not heard it"),
            "restart its reader",
        );
    }
}
