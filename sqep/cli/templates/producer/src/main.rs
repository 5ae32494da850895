//! `sqep-{{name}}`: publishes the daily files of {{name}}. Knows arguments and the order of things; everything else is
//! the library's and the core crate's.

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use sqep::{
    Kind,
    app::{self, App, Args, Usage},
};
use tracing::info;

use sqep_{{ident}}::{
    config::{SECTION, Settings},
    source::Files,
};

/// The name of the source on the stream, in its cursor and in its dead letters.
const NAME: &str = "{{name}}";

/// Publishes the daily files of {{name}} to an SQEP stream.
#[derive(Debug, Parser)]
#[command(name = "sqep-{{name}}", version)]
struct Cli {
    #[command(flatten)]
    common: Args,
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
    let (settings, args) = (&app.config, &app.args.common);
    validate(settings).map_err(Usage)?;
    let outward = settings.outward(&app.meters);
    if args.check {
        return outward.check().await;
    }
    app.serve(&settings.http).await?;
    let mut source = Files::new(settings.vendor.folder.clone(), settings.look(args.once));
    let totals = outward.publish(&mut source, NAME, args.once, &app.stop, |_| {}).await?;
    let (refused, skipped) = (totals.refused(), totals.skipped());
    info!(
        read = totals.read,
        appended = totals.appended,
        refused,
        skipped,
        "read = appended + refused + skipped"
    );
    Ok(())
}

/// Refuses what cannot be meant.
fn validate(settings: &Settings) -> anyhow::Result<()> {
    if settings.stream.kind != Kind::BarDay {
        bail!("stream.kind is {}, and these files hold bar:1d", settings.stream.kind);
    }
    let folder = &settings.vendor.folder;
    if !folder.is_dir() {
        let folder = folder.display();
        bail!("{SECTION}.folder \"{folder}\" is no folder: name the one that files are moved into");
    }
    Ok(())
}
