//! `sqep-features`: bars in, 45 features out. Knows the order of a program's life; must not know how features are computed
//! nor how records move.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use sqep::{
    Kind,
    app::{self, App, Args, Usage},
};
use sqep_features::{
    DayFeatures, MinuteFeatures,
    config::Config,
    run::Run,
    verify::{VerifyArgs, verify},
};

/// Computes the 45 features of bars and publishes them on a stream of their own.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Args,
    /// Reads everything the stream still holds again, after a stop that says so; each key stays once.
    #[arg(long)]
    resume: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Computes the features of an archive of bars again and compares them with an archive of features, by hash.
    Verify(VerifyArgs),
}

impl AsRef<Args> for Cli {
    fn as_ref(&self) -> &Args {
        &self.common
    }
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Cli, Config>) -> anyhow::Result<()> {
    app.config.check().map_err(|error| anyhow!(Usage(error)))?;
    let days = app.config.stream.kind == Kind::BarDay;
    if let Some(Command::Verify(args)) = &app.args.command {
        let calendar = app.config.calendar.load().map_err(Usage)?;
        return if days {
            verify::<DayFeatures>(args, &calendar)
        } else {
            verify::<MinuteFeatures>(args, &calendar)
        };
    }
    let run = Run {
        config: &app.config,
        meters: &app.meters,
        once: app.args.common.once,
        resume: app.args.resume,
        stop: &app.stop,
    };
    if app.args.common.check {
        run.check().await?;
        tracing::info!("configuration and server are in order");
        return Ok(());
    }
    app.serve(&app.config.http).await?;
    if days { Box::pin(run.go::<DayFeatures>()).await } else { Box::pin(run.go::<MinuteFeatures>()).await }
}
