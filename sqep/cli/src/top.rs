//! `sqep top`: rates, lag and dead letters of every stream and group, again and again on one screen. Reads only.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use anyhow::bail;
use sqep::{
    Totals,
    app::Args,
    redis::inspect::{GroupStatus, Inspector, StreamStatus},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    out::{age, bytes, count, heard, rate, table},
};

/// Clears the screen and goes to its first cell.
const HOME: &str = "\x1b[H\x1b[2J";

/// Arguments of `sqep top`.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Ends after so many looks; 0: never. The first shows no rates.
    #[arg(long, value_name = "LOOKS", default_value_t = 0)]
    looks: u64,
    #[command(flatten)]
    pub(crate) common: Args,
}

/// One look.
struct Look {
    at: Instant,
    streams: Vec<StreamStatus>,
    used_bytes: u64,
    bytes_max: u64,
}

pub(crate) async fn run(args: TopArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let server = config.server()?;
    let mut inspector = Inspector::connect(&server).await?;
    if args.common.check {
        return Ok(());
    }
    let screen = std::io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    for looked in 1u64.. {
        let now = match look(&mut inspector, &config.stream.prefix).await {
            Ok(now) => now,
            Err(error) if screen && args.looks == 0 => {
                heard(&format!("{HOME}{error:#}"))?;
                if !wait(args.every, stop).await {
                    return Ok(());
                }
                inspector = match Inspector::connect(&server).await {
                    Ok(inspector) => inspector,
                    Err(_) => continue,
                };
                continue;
            }
            Err(error) => bail!(error),
        };
        let mut text = if screen { HOME.to_owned() } else { String::new() };
        text.push_str(&page(server.name(), &now, before.as_ref()).join("\n"));
        if !heard(&text)? || looked == args.looks || !wait(args.every, stop).await {
            return Ok(());
        }
        before = Some(now);
    }
    Ok(())
}

/// `false`: stopped.
async fn wait(seconds: u64, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => true,
        () = stop.cancelled() => false,
    }
}

async fn look(inspector: &mut Inspector, prefix: &str) -> anyhow::Result<Look> {
    let health = inspector.health().await?;
    let mut streams = Vec::new();
    for key in inspector.streams(prefix).await? {
        streams.push(inspector.stream(&key).await?);
    }
    let (used_bytes, bytes_max) = (health.used_bytes, health.bytes_max);
    Ok(Look { at: Instant::now(), streams, used_bytes, bytes_max })
}

fn page(server: &str, now: &Look, before: Option<&Look>) -> Vec<String> {
    let of = if now.bytes_max == 0 { "no limit".to_owned() } else { bytes(now.bytes_max) };
    let passed = before.map(|before| now.at - before.at);
    let earlier: BTreeMap<&str, &StreamStatus> =
        before.iter().flat_map(|look| &look.streams).map(|stream| (stream.stream.as_str(), stream)).collect();
    let (mut streams, mut groups) = (Vec::new(), Vec::new());
    for stream in &now.streams {
        let old = earlier.get(stream.stream.as_str()).copied();
        streams.push(stream_row(stream, old, passed));
        groups.extend(stream.groups.iter().map(|group| group_row(stream, group, old, passed)));
    }
    let mut lines =
        vec![format!("redis at {server}: memory {} of {of}", bytes(now.used_bytes)), String::new()];
    lines.extend(table(
        &["stream", "entries/s", "rows", "entries", "memory", "dead letters", "more"],
        &streams,
    ));
    lines.push(String::new());
    lines.extend(table(&["stream", "group", "settled/s", "pending", "lag", "behind", "reader"], &groups));
    lines
}

fn stream_row(stream: &StreamStatus, old: Option<&StreamStatus>, passed: Option<Duration>) -> Vec<String> {
    let totals = stream.totals.clone().and_then(|totals| serde_json::from_value::<Totals>(totals).ok());
    let more = old.map(|old| stream.dead_letters.saturating_sub(old.dead_letters));
    vec![
        stream.stream.clone(),
        per_second(stream.added, old.map(|old| old.added), passed),
        totals.map_or_else(dash, |totals| count(totals.appended)),
        count(stream.entries),
        bytes(stream.bytes),
        count(stream.dead_letters),
        more.filter(|&more| more > 0).map_or_else(dash, |more| format!("+{}", count(more))),
    ]
}

fn group_row(
    stream: &StreamStatus,
    group: &GroupStatus,
    old: Option<&StreamStatus>,
    passed: Option<Duration>,
) -> Vec<String> {
    let settled =
        |stream: &StreamStatus, group: &GroupStatus| stream.added.saturating_sub(group.pending + group.lag);
    let before = old.and_then(|old| {
        let same = old.groups.iter().find(|other| other.group == group.group)?;
        Some(settled(old, same))
    });
    let behind = group.pending + group.lag > 0;
    vec![
        stream.stream.clone(),
        group.group.clone(),
        per_second(settled(stream, group), before, passed),
        count(group.pending),
        count(group.lag),
        if behind { age(group.lag_ms) } else { dash() },
        group.holder.as_deref().map_or_else(
            || "nobody".to_owned(),
            |holder| holder.split('/').take(2).collect::<Vec<_>>().join("/"),
        ),
    ]
}

fn per_second(now: u64, before: Option<u64>, passed: Option<Duration>) -> String {
    match (before, passed) {
        (Some(before), Some(passed)) => count(rate(now.saturating_sub(before), passed)),
        _ => dash(),
    }
}

fn dash() -> String {
    "–".to_owned()
}
