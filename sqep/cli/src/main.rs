//! The operator's tool. Knows its subcommands; must not know how a bar moves: that is the loops' and the connectors'.

mod audit;
mod compact;
mod config;
mod dead;
mod demo;
mod digest;
mod doctor;
mod fake_tushare;
mod generate;
mod get;
mod group;
mod new;
mod out;
mod replay;
mod status;
mod tail;
mod top;
mod trim;
mod which;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sqep::app::{self, App, Args};

use crate::config::Config;

/// Looks after a SQEP pipeline: shows it, feeds it, tidies it.
#[derive(Debug, Parser)]
#[command(name = "sqep", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Moves a market from CSV files through a private Redis into a Parquet archive, with the real programs.
    Demo(demo::DemoArgs),
    /// Writes a made-up market as CSV files: the same one for the same seed.
    Gen(generate::GenArgs),
    /// Shows streams, groups, lag, memory and dead letters.
    Status(status::StatusArgs),
    /// Shows bars of an archive: of some securities, or of a day.
    Get(get::GetArgs),
    /// Looks at everything that can be wrong, and says what to do. Exit codes: 0 nothing to do, 3 warnings, 1 errors.
    Doctor(doctor::DoctorArgs),
    /// Shows bars as they pass, without disturbing any reader.
    Tail(tail::TailArgs),
    /// Shows rates, lag and dead letters again and again on one screen.
    Top(top::TopArgs),
    /// Shows groups, lets one go on after an error on marks, or ends one.
    Group(group::GroupArgs),
    /// Removes from the streams what nobody has to wait for, and says who holds the rest.
    Trim(trim::TrimArgs),
    /// Gives a new group the past, from an archive or from what the stream still holds, and then the stream.
    Replay(replay::ReplayArgs),
    /// Looks at dead letters, brings them back or removes them.
    Dead(dead::DeadArgs),
    /// Compares an archive with the files it was made of, or with what the stream holds, day by day.
    Audit(audit::AuditArgs),
    /// Merges the files of every partition of an archive into one, one row a key.
    Compact(compact::CompactArgs),
    /// Writes a connector of one's own: a crate that compiles, passes its suite and runs in the demo.
    New(new::NewArgs),
    /// Serves a made-up market, or given files, in the protocol of Tushare Pro.
    FakeTushare(fake_tushare::FakeTushareArgs),
}

impl AsRef<Args> for Cli {
    fn as_ref(&self) -> &Args {
        match &self.command {
            Command::Demo(args) => &args.common,
            Command::Gen(args) => &args.common,
            Command::Status(args) => &args.common,
            Command::Get(args) => &args.common,
            Command::Doctor(args) => &args.common,
            Command::Tail(args) => &args.common,
            Command::Top(args) => &args.common,
            Command::Group(args) => args.common(),
            Command::Trim(args) => &args.common,
            Command::Replay(args) => &args.common,
            Command::Dead(args) => args.common(),
            Command::Audit(args) => &args.common,
            Command::Compact(args) => &args.common,
            Command::New(args) => &args.common,
            Command::FakeTushare(args) => &args.common,
        }
    }
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Cli, Config>) -> anyhow::Result<()> {
    let App { args, config, stop, .. } = app;
    match args.command {
        Command::Demo(args) => demo::run(args, &config, &stop).await,
        Command::Gen(args) => generate::run(args, &config, &stop).await,
        Command::Status(args) => status::run(args, &config).await,
        Command::Get(args) => get::run(args, &config).await,
        Command::Doctor(args) => doctor::run(args, &config).await,
        Command::Top(args) => top::run(args, &config, &stop).await,
        Command::Tail(args) => tail::run(args, &config, &stop).await,
        Command::Group(args) => group::run(args, &config).await,
        Command::Trim(args) => trim::run(args, &config, &stop).await,
        Command::Replay(args) => replay::run(args, &config, &stop).await,
        Command::Dead(args) => dead::run(args, &config).await,
        Command::Audit(args) => audit::run(args, &config).await,
        Command::Compact(args) => compact::run(args, &config).await,
        Command::New(args) => new::run(&args),
        Command::FakeTushare(args) => fake_tushare::run(args, &config, &stop).await,
    }
}
