//! `sqep trim`: removes what nobody has to wait for, once or again and again, and says who holds the rest. Knows how to ask
//! for it and to tell it; must not know how it is done.

use std::time::Duration;

use serde::Serialize;
use sqep::{
    app::Args,
    redis::{
        Connection, Server,
        groups::{self, Group},
        inspect::Inspector,
        keys::Keys,
        trim::{COUNTED_MAX, Forecast, Trim, entries_upto, forecast, pressed, trim},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    config::Config,
    out::{age, bytes, count, say},
    which::Which,
};

/// Arguments of `sqep trim`.
#[derive(Debug, clap::Args)]
pub(crate) struct TrimArgs {
    /// Says what would go and who holds the rest, and removes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Again and again, with so many seconds between.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// One JSON object a round instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    pub(crate) common: Args,
}

/// One round.
#[derive(Debug, Serialize)]
struct Round {
    streams: Vec<Done>,
    forecast: Forecast,
}

/// One partition.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(flatten)]
    trim: Trim,
    /// Entries that went, or of a dry run would, counted so far only if `at_least`.
    gone: u64,
    at_least: bool,
    groups: Vec<Group>,
}

pub(crate) async fn run(args: TrimArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let server = config.server()?;
    let Some(seconds) = args.every else {
        return round(&args, &server, config).await;
    };
    if args.common.check {
        return round(&args, &server, config).await;
    }
    loop {
        if let Err(error) = round(&args, &server, config).await {
            error!("{error:#}; again in {seconds} s");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
    }
}

async fn round(args: &TrimArgs, server: &Server, config: &Config) -> anyhow::Result<()> {
    let mut connection = server.connect().await?;
    if args.common.check {
        connection.fit().await?;
        return Ok(());
    }
    let pressed = pressed(&mut connection, &config.stream).await?;
    let mut streams = Vec::new();
    for (_, keys) in args.which.find(server, config).await?.partitions {
        let Some(trim) = trim(&mut connection, &keys, &config.stream, pressed, args.dry_run).await? else {
            warn!("there is no stream {}", keys.stream());
            continue;
        };
        streams.push(look(&mut connection, &keys, config, trim).await?);
    }
    let all = Inspector::connect(server).await?.streams(&config.stream.prefix).await?;
    let keys: Vec<Keys> = all.iter().map(|key| Keys::of(key)).collect();
    let round = Round { streams, forecast: forecast(&mut connection, &keys).await? };
    for loss in round.streams.iter().flat_map(|done| done.trim.losses()) {
        warn!("{loss}");
    }
    if args.json {
        say(&serde_json::to_string(&round)?)?;
        return Ok(());
    }
    for line in round.streams.iter().flat_map(|done| lines(done, config)).chain([outlook(&round.forecast)]) {
        say(&line)?;
    }
    Ok(())
}

/// What a trim left behind.
async fn look(connection: &mut Connection, keys: &Keys, config: &Config, trim: Trim) -> anyhow::Result<Done> {
    let gone = match trim.upto {
        Some(upto) if trim.dry => entries_upto(connection, keys, upto).await?,
        _ => trim.entries,
    };
    let groups = groups::list(connection, keys, &config.stream.groups).await?;
    Ok(Done { at_least: trim.dry && gone >= COUNTED_MAX, gone, trim, groups })
}

fn lines(done: &Done, config: &Config) -> Vec<String> {
    let trim = &done.trim;
    let would = if trim.dry { "would go" } else { "are gone" };
    let at_least = if done.at_least { "at least " } else { "" };
    let mut lines = vec![match trim.upto {
        Some(upto) => {
            format!("{}: {at_least}{} entries {would}, up to {upto}", trim.stream, count(done.gone))
        }
        None => format!("{}: nothing to trim", trim.stream),
    }];
    if trim.pressed {
        lines.push("  memory is short: stream.keep_hours_min does not hold".to_owned());
    }
    for name in &trim.missing {
        lines.push(format!(
            "  group {name} of stream.groups is missing: it has settled nothing, so nothing goes; start its reader, or \
             take it out"
        ));
    }
    for group in done.groups.iter().filter(|group| group.exists) {
        let until = match (group.counts, config.stream.keep_hours_max) {
            (true, _) | (_, 0) => String::new(),
            (false, hours) => format!(", for {hours} h at most: it does not count"),
        };
        lines.push(format!(
            "  group {} pins {} entries ({}) from {} on{until}",
            group.pin.group,
            count(group.pins_entries),
            bytes(group.pins_bytes),
            group.pin.from
        ));
    }
    if done.groups.is_empty() {
        let hours = match config.stream.keep_hours_max {
            0 => "without end".to_owned(),
            hours => format!("for {hours} h"),
        };
        lines.push(format!("  nobody reads it: what is unread is kept {hours}"));
    }
    lines
}

/// When memory will be full.
fn outlook(forecast: &Forecast) -> String {
    let (used, day) = (bytes(forecast.used_bytes), bytes(forecast.day_bytes));
    let limit = match forecast.bytes_max {
        0 => "and has no maxmemory: it may take all of its machine".to_owned(),
        max => format!("of {}", bytes(max)),
    };
    let rate = match forecast.day_bytes {
        0 => "nothing has come".to_owned(),
        _ => format!("{day} a day come, going by the last {}", age(forecast.seen_ms)),
    };
    let full = match forecast.full_in_ms {
        Some(ms) => format!(": full in {}, if nothing more could be trimmed", age(ms)),
        None => String::new(),
    };
    format!("redis uses {used} {limit}; {rate}{full}")
}
