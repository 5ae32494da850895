//! `sqep dead`: what was refused or buried, and what is to become of it. Knows how to ask for it and to tell it; must not
//! know how a letter is kept.

mod show;
mod when;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use chrono::Utc;
use sqep::{
    Calendar, DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Reason, Record, RefDay,
    app::{Args, Usage},
    letter::By,
    redis::{
        Connection,
        dead::{Filter, LetterId, Letters, by_reason, remove},
        keys::Keys,
        redrive::{Redriven, redrive},
    },
};

use self::when::When;
use crate::{
    config::Config,
    out::{count, heard, say, table},
    which::{Streams, Which},
};

/// Arguments of `sqep dead`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists letters, newest first, and how many rows there are of each reason.
    List(ListArgs),
    /// Shows one letter whole: rows, fields, values, rules, and the bytes of its entry.
    Show(ShowArgs),
    /// Writes letters as lines of JSON, oldest first.
    Export(ExportArgs),
    /// Brings back what opens and passes the checks now, under the version it was first seen with.
    Redrive(RedriveArgs),
    /// Removes letters for good.
    Purge(PurgeArgs),
}

/// Which letters.
#[derive(Debug, Clone, clap::Args)]
struct Chosen {
    /// With a row refused for this reason, like `ohlc_order`.
    #[arg(long, value_name = "CODE", value_parser = reason)]
    reason: Option<Reason>,
    /// Refused by this source.
    #[arg(long, value_name = "NAME", conflicts_with = "group")]
    source: Option<String>,
    /// Buried by this group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Written since: a day, a time (Asia/Shanghai), or how long ago, like 2026-01-31, "2026-01-31 15:00" or 12h.
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Written before; as --since.
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The letter, as `sqep dead list` names it.
    id: LetterId,
    /// One JSON object, with all bytes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// The file; it must not exist. "-": standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct RedriveArgs {
    /// Only these letters.
    ids: Vec<LetterId>,
    #[command(flatten)]
    chosen: Chosen,
    /// Says what would come back, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    /// Only these letters.
    ids: Vec<LetterId>,
    #[command(flatten)]
    chosen: Chosen,
    /// They are gone for good: says that this is meant.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Says how many would go, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Args,
}

fn reason(code: &str) -> Result<Reason, String> {
    let known = Reason::ALL.iter().copied().find(|reason| reason.code() == code);
    known.ok_or_else(|| {
        let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        format!("not one of {}", all.join(" "))
    })
}

impl DeadArgs {
    pub(crate) fn common(&self) -> &Args {
        self.parts().1
    }

    fn parts(&self) -> (&Which, &Args) {
        match &self.action {
            Action::List(args) => (&args.which, &args.common),
            Action::Show(args) => (&args.which, &args.common),
            Action::Export(args) => (&args.which, &args.common),
            Action::Redrive(args) => (&args.which, &args.common),
            Action::Purge(args) => (&args.which, &args.common),
        }
    }
}

impl Chosen {
    fn filter(&self, ids: &[LetterId]) -> Filter {
        let now = Utc::now().timestamp_millis();
        let source = self.source.clone().map(|name| (By::Source, name));
        Filter {
            reason: self.reason,
            by: source.or_else(|| self.group.clone().map(|name| (By::Group, name))),
            since_ms: self.since.map(|when| when.ms(now)),
            until_ms: self.until.map(|when| when.ms(now)),
            ids: ids.iter().copied().collect(),
        }
    }
}

/// The letters' place and a connection to it.
struct Graves {
    connection: Connection,
    streams: Streams,
}

impl Graves {
    fn letters(&self, filter: Filter, newest_first: bool) -> Letters {
        Letters::new(self.connection.clone(), &self.streams.partitions, filter, newest_first)
    }
}

pub(crate) async fn run(args: DeadArgs, config: &Config) -> anyhow::Result<()> {
    let server = config.server()?;
    let connection = server.connect().await?;
    let (which, common) = args.parts();
    if common.check {
        return Ok(());
    }
    let mut graves = Graves { connection, streams: which.find(&server, config).await? };
    match args.action {
        Action::List(args) => list(&args, &mut graves).await,
        Action::Show(args) => show_one(&args, &graves).await,
        Action::Export(args) => export(&args, &graves).await,
        Action::Redrive(args) => {
            let calendar = config.calendar.load().map_err(|error| anyhow!(Usage(error)))?;
            match graves.streams.kind {
                Kind::BarDay => bring_back::<DayBar>(&args, &mut graves, &calendar).await,
                Kind::BarMinute(_) => bring_back::<MinuteBar>(&args, &mut graves, &calendar).await,
                Kind::RefDay => bring_back::<RefDay>(&args, &mut graves, &calendar).await,
                Kind::FeatureDay => bring_back::<DayFeature>(&args, &mut graves, &calendar).await,
                Kind::FeatureMinute => bring_back::<MinuteFeature>(&args, &mut graves, &calendar).await,
            }
        }
        Action::Purge(args) => purge(&args, &mut graves).await,
    }
}

async fn list(args: &ListArgs, graves: &mut Graves) -> anyhow::Result<()> {
    let mut letters = graves.letters(args.chosen.filter(&[]), true);
    let mut rows = Vec::new();
    while rows.len() < args.limit
        && let Some(page) = letters.page().await?
    {
        rows.extend(page.iter().map(show::row));
    }
    rows.truncate(args.limit);
    for line in table(&show::HEADER, &rows) {
        say(&line)?;
    }
    let mut all = BTreeMap::<String, u64>::new();
    for (_, keys) in &graves.streams.partitions {
        for (reason, rows) in by_reason(&mut graves.connection, keys).await? {
            *all.entry(reason).or_default() += rows;
        }
    }
    let all: Vec<String> = all.iter().map(|(reason, rows)| format!("{reason} {}", count(*rows))).collect();
    say(&format!(
        "rows in all dead letters: {}",
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    ))?;
    Ok(())
}

async fn show_one(args: &ShowArgs, graves: &Graves) -> anyhow::Result<()> {
    let filter = Filter { ids: [args.id].into(), ..Filter::default() };
    let Some(found) = graves.letters(filter, false).page().await?.and_then(|mut page| page.pop()) else {
        bail!("there is no dead letter {}", args.id);
    };
    if args.json {
        return Ok(say(&show::json(&found)?)?);
    }
    for line in show::lines(&found) {
        say(&line)?;
    }
    Ok(())
}

async fn export(args: &ExportArgs, graves: &Graves) -> anyhow::Result<()> {
    let mut letters = graves.letters(args.chosen.filter(&[]), false);
    if args.out == Path::new("-") {
        while let Some(page) = letters.page().await? {
            for found in page {
                if !heard(&show::json(&found)?)? {
                    return Ok(());
                }
            }
        }
        return Ok(());
    }
    let context = || format!("cannot write {}", args.out.display());
    let mut out = BufWriter::new(File::create_new(&args.out).with_context(context)?);
    let mut exported = 0;
    while let Some(page) = letters.page().await? {
        for found in page {
            writeln!(out, "{}", show::json(&found)?).with_context(context)?;
            exported += 1;
        }
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(context)?;
    file.sync_all().with_context(context)?;
    Ok(say(&format!("{} letters in {}", count(exported), args.out.display()))?)
}

async fn bring_back<R: Record>(
    args: &RedriveArgs,
    graves: &mut Graves,
    calendar: &Calendar,
) -> anyhow::Result<()> {
    let mut letters = graves.letters(args.chosen.filter(&args.ids), false);
    let (mut back, mut stay, mut rows) = (0, 0, 0);
    let verb = if args.dry_run { "would be" } else { "are" };
    // Letters about what still fails are written behind the others: each is looked at once.
    let now = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(u64::MAX);
    while let Some(page) = letters.page().await? {
        for found in page.into_iter().filter(|found| found.id.id.ms <= now) {
            let (keys, kind) = (Keys::of(&found.stream), graves.streams.kind);
            let id = found.id;
            match redrive::<R>(&mut graves.connection, &keys, (kind, calendar), &found, args.dry_run).await? {
                Redriven::Back { records, left } => {
                    back += 1;
                    rows += u64::try_from(records)?;
                    say(&format!("{id}: {} records {verb} back, {} stay", records, left.len()))?;
                }
                Redriven::Stays(why) => {
                    stay += 1;
                    say(&format!("{id}: stays: {why}"))?;
                }
                Redriven::Gone => say(&format!("{id}: is gone already"))?,
            }
        }
    }
    let (back, rows, stay) = (count(back), count(rows), count(stay));
    Ok(say(&format!("{rows} records of {back} letters {verb} back on the stream; {stay} letters stay"))?)
}

async fn purge(args: &PurgeArgs, graves: &mut Graves) -> anyhow::Result<()> {
    if !args.yes && !args.dry_run {
        bail!(Usage(anyhow!("purged letters are gone for good: look with --dry-run, then say --yes")));
    }
    let mut letters = graves.letters(args.chosen.filter(&args.ids), false);
    let (mut gone, mut rows) = (0, 0);
    while let Some(page) = letters.page().await? {
        for found in page {
            let keys = Keys::of(&found.stream);
            if args.dry_run || remove(&mut graves.connection, &keys, &found).await? {
                gone += 1;
                rows += found.letter.as_ref().map_or(0, sqep::letter::Letter::rows);
            }
        }
    }
    let verb = if args.dry_run { "would go" } else { "are gone" };
    Ok(say(&format!("{} letters about {} rows {verb}", count(gone), count(rows)))?)
}
