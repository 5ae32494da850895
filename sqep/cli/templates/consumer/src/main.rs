//! `sqep-{{name}}`: delivers one stream to files with lines of JSON. Knows the order of a program's life; must not know
//! streams or files.

use std::process::ExitCode;

use clap::Parser;
use sqep::{
    DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay,
    app::{self, App, Args, Usage},
};
use sqep_archive::replay;

use sqep_{{ident}}::{config::Settings, sink::JsonLines};

/// The group's name unless `reader.group` says another.
const NAME: &str = "{{name}}";

/// Delivers one stream of market bars to files with lines of JSON.
#[derive(Debug, Parser)]
#[command(name = "sqep-{{name}}", version)]
struct Cli {
    #[command(flatten)]
    common: Args,
    /// Reads everything the stream still holds again, after a stop that says so; each key stays once.
    #[arg(long)]
    resume: bool,
}

impl AsRef<Args> for Cli {
    fn as_ref(&self) -> &Args {
        &self.common
    }
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Cli, Settings>) -> anyhow::Result<()> {
    app.config.store.validate().map_err(Usage)?;
    match app.config.stream.kind {
        Kind::BarDay => deliver::<DayBar>(app).await,
        Kind::BarMinute(_) => deliver::<MinuteBar>(app).await,
        Kind::RefDay => deliver::<RefDay>(app).await,
        Kind::FeatureDay => deliver::<DayFeature>(app).await,
        Kind::FeatureMinute => deliver::<MinuteFeature>(app).await,
    }
}

async fn deliver<R: Record>(app: App<Cli, Settings>) -> anyhow::Result<()> {
    let (settings, once) = (&app.config, app.args.common.once);
    let inward = settings.inward(&app.meters);
    if app.args.common.check {
        return inward.check(NAME).await;
    }
    app.serve(&settings.http).await?;
    // One sink a partition of the stream; all write into one folder.
    let sink = |_| JsonLines::<R>::open(&settings.store, settings.stream.kind);
    if app.args.resume {
        inward.resume(NAME, sink).await?;
    }
    // The loop of the core crate, after the archive's past where reader.start asks for it.
    replay::deliver(&inward, NAME, once, &app.stop, sink).await.map(drop)
}
