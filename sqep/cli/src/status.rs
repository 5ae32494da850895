//! `sqep status`: how the streams of one world stand. Reads only.

use anyhow::Context;
use chrono::Utc;
use serde::Serialize;
use sqep::{
    Totals,
    redis::{
        Health, Server,
        inspect::{GroupStatus, Inspector, StreamStatus},
    },
};

use crate::{
    config::Config,
    out::{age, bytes, count, say, table},
};

/// Arguments of `sqep status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
struct Status {
    server: String,
    memory_bytes: u64,
    memory_bytes_max: u64,
    append_only: bool,
    /// Null where this user of the server may not ask.
    snapshots: Option<bool>,
    policy: String,
    streams: Vec<Stream>,
}

/// A stream, with the ages that depend on the time of asking.
#[derive(Debug, Serialize)]
struct Stream {
    #[serde(flatten)]
    status: StreamStatus,
    /// Milliseconds since the last entry, by this machine's clock.
    quiet_ms: u64,
    /// Milliseconds since the oldest entry that some group was handed and has not settled.
    oldest_pending_ms: Option<u64>,
}

pub(crate) async fn run(args: StatusArgs, config: &Config) -> anyhow::Result<()> {
    let server = config.server()?;
    let mut inspector = Inspector::connect(&server).await?;
    if args.common.check {
        return Ok(());
    }
    let health = inspector.health().await?;
    let now = u64::try_from(Utc::now().timestamp_millis()).context("the clock is before 1970")?;
    let mut streams = Vec::new();
    for key in inspector.streams(&config.stream.prefix).await? {
        let status = inspector.stream(&key).await?;
        let pending = status.groups.iter().filter_map(|group| group.oldest_pending).map(|id| id.ms).min();
        let quiet_ms = now.saturating_sub(status.last.ms);
        streams.push(Stream {
            status,
            quiet_ms,
            oldest_pending_ms: pending.map(|ms| now.saturating_sub(ms)),
        });
    }
    let status = assemble(&server, health, streams);
    if args.json {
        say(&serde_json::to_string(&status)?)?;
        return Ok(());
    }
    for line in lines(&status, &config.stream.prefix, now) {
        say(&line)?;
    }
    Ok(())
}

fn assemble(server: &Server, health: Health, streams: Vec<Stream>) -> Status {
    Status {
        server: server.name().to_owned(),
        memory_bytes: health.used_bytes,
        memory_bytes_max: health.bytes_max,
        append_only: health.append_only,
        snapshots: health.snapshots,
        policy: health.policy,
        streams,
    }
}

fn lines(status: &Status, prefix: &str, now: u64) -> Vec<String> {
    let of =
        if status.memory_bytes_max == 0 { "no limit".to_owned() } else { bytes(status.memory_bytes_max) };
    let kept = match (status.append_only, status.snapshots) {
        (true, _) => "append-only file",
        (false, Some(true)) => "snapshots only",
        (false, Some(false)) => "nothing on disk",
        (false, None) => "no append-only file",
    };
    let mut lines = vec![format!(
        "redis at {}: memory {} of {of} ({}), keeps {kept}",
        status.server,
        bytes(status.memory_bytes),
        status.policy
    )];
    if status.streams.is_empty() {
        lines.push(format!("no stream under the prefix {prefix:?}"));
        return lines;
    }
    lines.push(String::new());
    lines.extend(stream_table(&status.streams));
    let groups: Vec<Vec<String>> = status.streams.iter().flat_map(|stream| group_rows(stream, now)).collect();
    lines.push(String::new());
    if groups.is_empty() {
        lines.push("no group reads any of them".to_owned());
    } else {
        let header = [
            "stream",
            "group",
            "pending",
            "lag",
            "behind",
            "oldest pending",
            "settled",
            "reader",
            "since",
            "lease left",
        ];
        lines.extend(table(&header, &groups));
    }
    lines
}

fn stream_table(streams: &[Stream]) -> Vec<String> {
    let row = |stream: &Stream| {
        let StreamStatus {
            stream: key, entries, bytes: size, dead_letters, dead_bytes, source, totals, ..
        } = &stream.status;
        let totals: Option<Totals> = totals.clone().and_then(|totals| serde_json::from_value(totals).ok());
        let rows = |of: fn(&Totals) -> u64| totals.as_ref().map_or_else(dash, |totals| count(of(totals)));
        let dead = if *dead_letters == 0 {
            "0".to_owned()
        } else {
            format!("{} ({})", count(*dead_letters), bytes(*dead_bytes))
        };
        let cells = [
            key.clone(),
            source.clone().unwrap_or_else(dash),
            count(*entries),
            bytes(*size),
            if *entries == 0 { dash() } else { age(stream.quiet_ms) },
            rows(|totals| totals.read),
            rows(|totals| totals.appended),
            rows(Totals::refused),
            rows(Totals::skipped),
            dead,
        ];
        cells.to_vec()
    };
    let header = [
        "stream",
        "source",
        "entries",
        "memory",
        "quiet for",
        "rows read",
        "appended",
        "refused",
        "skipped",
        "dead letters",
    ];
    table(&header, &streams.iter().map(row).collect::<Vec<_>>())
}

fn group_rows(stream: &Stream, now: u64) -> Vec<Vec<String>> {
    let row = |group: &GroupStatus| {
        let behind = if group.pending + group.lag == 0 { dash() } else { age(group.lag_ms) };
        let cells = [
            stream.status.stream.clone(),
            group.group.clone(),
            count(group.pending),
            count(group.lag),
            behind,
            group.oldest_pending.map_or_else(dash, |id| age(now.saturating_sub(id.ms))),
            group.settled.map_or_else(dash, |id| id.to_string()),
            group.holder.as_deref().map_or_else(dash, reader),
            group.holder.as_deref().and_then(since).map_or_else(dash, |since| age(now.saturating_sub(since))),
            group.lease_ms.map_or_else(dash, age),
        ];
        cells.to_vec()
    };
    stream.status.groups.iter().map(row).collect()
}

/// `host/pid` of a holder, without what only the lease needs.
fn reader(holder: &str) -> String {
    holder.split('/').take(2).collect::<Vec<_>>().join("/")
}

/// When a holder took its lease, in milliseconds since 1970.
fn since(holder: &str) -> Option<u64> {
    holder.rsplit_once('@')?.1.parse().ok()
}

fn dash() -> String {
    "–".to_owned()
}
