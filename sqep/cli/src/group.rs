//! `sqep group`: who reads a stream, where a group goes on, and its end. Knows how to ask for it and to tell it; must not
//! know how it is done.

use anyhow::{anyhow, bail};
use sqep::{
    app::{Args, Usage},
    marks::Start,
    redis::{
        Connection, Server,
        groups::{self, Group, How, Steered},
        keys::Keys,
    },
};
use tracing::warn;

use crate::{
    config::Config,
    out::{age, bytes, count, say, table},
    which::Which,
};

/// Arguments of `sqep group`.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows marks, pending entries, lag, readers, and what each group pins.
    List(ListArgs),
    /// Lets a group go on where its reader stopped with a word on marks; the reader obeys at its next start.
    Resume(ResumeArgs),
    /// Ends a group for good: nothing waits for it any more.
    Retire(RetireArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// One JSON array instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct ResumeArgs {
    /// The group.
    group: String,
    /// After what it goes on: "earliest" reads everything the stream still holds again, which is once by key; "latest"
    /// leaves out what lies there; or the id of an entry, or a time such as 2024-03-01T09:31:00+08:00.
    #[arg(long, default_value = "earliest", value_name = "PLACE")]
    at: Start,
    /// Makes the group where it is gone.
    #[arg(long)]
    new: bool,
    /// Takes the lease from a reader that is at work.
    #[arg(long)]
    force: bool,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct RetireArgs {
    /// The group.
    group: String,
    /// Also while a reader is at work.
    #[arg(long)]
    force: bool,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

impl GroupArgs {
    pub(crate) fn common(&self) -> &Args {
        match &self.action {
            Action::List(args) => &args.common,
            Action::Resume(args) => &args.common,
            Action::Retire(args) => &args.common,
        }
    }
}

pub(crate) async fn run(args: GroupArgs, config: &Config) -> anyhow::Result<()> {
    let server = config.server()?;
    let mut connection = server.connect().await?;
    if args.common().check {
        return Ok(());
    }
    match args.action {
        Action::List(args) => list(&args, &server, &mut connection, config).await,
        Action::Resume(args) => resume(&args, &server, &mut connection, config).await,
        Action::Retire(args) => retire(&args, &server, &mut connection, config).await,
    }
}

async fn list(
    args: &ListArgs,
    server: &Server,
    connection: &mut Connection,
    config: &Config,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for (_, keys) in args.which.find(server, config).await?.partitions {
        all.extend(groups::list(connection, &keys, &config.stream.groups).await?);
    }
    if args.json {
        say(&serde_json::to_string(&all)?)?;
        return Ok(());
    }
    if all.is_empty() {
        say("no group reads it")?;
        return Ok(());
    }
    let header = [
        "stream",
        "group",
        "counts",
        "settled",
        "delivered",
        "lowest pending",
        "pending",
        "lag",
        "pins",
        "memory",
        "reader",
        "lease",
    ];
    for line in table(&header, &all.iter().map(row).collect::<Vec<_>>()) {
        say(&line)?;
    }
    for group in all.iter().filter(|group| group.resumes.is_some()) {
        let at = group.resumes.unwrap_or_default();
        say(&format!(
            "{}: group {} goes on after {at} when its reader starts",
            group.stream, group.pin.group
        ))?;
    }
    for group in &all {
        if let Some(replay) = &group.replay {
            let given = if replay.done { "all of it lies ready" } else { "not all of it was given yet" };
            let (stream, name, what) = (&group.stream, &group.pin.group, &replay.what);
            say(&format!("{stream}: group {name} reads its past first ({what}); {given}"))?;
        }
    }
    Ok(())
}

fn row(group: &Group) -> Vec<String> {
    let dash = || "–".to_owned();
    let pin = &group.pin;
    let holder = |holder: &str| holder.split('/').take(2).collect::<Vec<_>>().join("/");
    let cells = [
        group.stream.clone(),
        pin.group.clone(),
        if group.exists { if group.counts { "yes" } else { "no" } } else { "missing" }.to_owned(),
        pin.settled.map_or_else(dash, |id| id.to_string()),
        if group.exists { pin.delivered.to_string() } else { dash() },
        pin.lowest_pending.map_or_else(dash, |id| id.to_string()),
        count(pin.pending),
        count(group.lag),
        count(group.pins_entries),
        bytes(group.pins_bytes),
        group.holder.as_deref().map_or_else(dash, holder),
        group.lease_ms.map_or_else(dash, age),
    ];
    cells.to_vec()
}

async fn resume(
    args: &ResumeArgs,
    server: &Server,
    connection: &mut Connection,
    config: &Config,
) -> anyhow::Result<()> {
    if args.at == Start::Archive {
        bail!(Usage(anyhow!(
            "--at archive: give the group its past with `sqep replay --into {}`",
            args.group
        )));
    }
    let streams = args.which.find(server, config).await?;
    let how = How { force: args.force, new: args.new, dry: true };
    // All or none: the first round only asks.
    for (_, keys) in &streams.partitions {
        let asked = groups::resume(connection, keys, &args.group, args.at, how).await?;
        done(connection, keys, &args.group, asked).await?;
    }
    for (_, keys) in &streams.partitions {
        let how = How { dry: args.dry_run, ..how };
        let resumed = groups::resume(connection, keys, &args.group, args.at, how).await?;
        let resumed = done(connection, keys, &args.group, resumed).await?;
        let (stream, group, at, last) = (keys.stream(), &args.group, resumed.at, resumed.last);
        let goes = if args.dry_run { "would go" } else { "goes" };
        say(&format!(
            "{stream}: group {group} {goes} on after {at} when its reader starts; the stream ends with {last}"
        ))?;
    }
    Ok(())
}

async fn retire(
    args: &RetireArgs,
    server: &Server,
    connection: &mut Connection,
    config: &Config,
) -> anyhow::Result<()> {
    let streams = args.which.find(server, config).await?;
    let how = How { force: args.force, new: false, dry: true };
    let mut there = Vec::new();
    for (_, keys) in &streams.partitions {
        match groups::retire(connection, keys, &args.group, how).await? {
            Steered::Unknown => {}
            asked => {
                done(connection, keys, &args.group, asked).await?;
                there.push(keys);
            }
        }
    }
    if there.is_empty()
        && let Some((_, keys)) = streams.partitions.first()
    {
        return done(connection, keys, &args.group, Steered::Unknown).await;
    }
    for keys in there {
        let how = How { dry: args.dry_run, ..how };
        let retired = groups::retire(connection, keys, &args.group, how).await?;
        let pin = done(connection, keys, &args.group, retired).await?;
        let is = if args.dry_run { "would be" } else { "is" };
        let needed = pin.map_or_else(String::new, |pin| {
            format!(
                "; it had {} entries pending and still needed what comes from {} on",
                pin.pending, pin.from
            )
        });
        say(&format!("{}: group {} {is} retired{needed}", keys.stream(), args.group))?;
    }
    if config.stream.groups.contains(&args.group) {
        let group = &args.group;
        warn!(
            "stream.groups still names {group:?}: take it out, or producers and trimming go on waiting for it"
        );
    }
    Ok(())
}

/// What was done, or why it was not.
async fn done<T>(
    connection: &mut Connection,
    keys: &Keys,
    group: &str,
    steered: Steered<T>,
) -> anyhow::Result<T> {
    let stream = keys.stream();
    match steered {
        Steered::Done(done) => Ok(done),
        Steered::Held(holder) => bail!(
            "a reader of group {group:?} on {stream} is at work: {holder}. Stop it first, or take its lease with --force"
        ),
        Steered::Unknown => {
            let known = groups::list(connection, keys, &[]).await?;
            let names: Vec<&str> = known.iter().map(|known| known.pin.group.as_str()).collect();
            let there = if names.is_empty() { "no group".to_owned() } else { names.join(", ") };
            bail!("{stream} has no group {group:?}; there is {there}")
        }
        Steered::Replay => bail!(
            "group {group:?} on {stream} is being given its past: let `sqep replay` finish, or end both with `sqep group \
             retire {group}`"
        ),
        Steered::Absent => bail!("there is no stream {stream}: nothing to steer; see `sqep status`"),
        Steered::Trimmed(id) => {
            bail!(
                "{stream} was trimmed up to {id}: what lies before is gone; use --at earliest for all that is left"
            )
        }
        Steered::Beyond(id) => {
            bail!("{stream} ends with {id}, before that place; use --at latest for its end")
        }
    }
}
