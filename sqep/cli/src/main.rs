//! The operator's tool. Knows its subcommands; must not know how a bar moves: that is the loops' and the connectors'.

mod compact;
mod config;
mod demo;
mod digest;
mod generate;
mod out;
mod status;
mod tail;

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
    /// Shows bars as they pass, without disturbing any reader.
    Tail(tail::TailArgs),
    /// Merges the files of every partition of an archive into one, one row a key.
    Compact(compact::CompactArgs),
}

impl AsRef<Args> for Cli {
    fn as_ref(&self) -> &Args {
        match &self.command {
            Command::Demo(args) => &args.common,
            Command::Gen(args) => &args.common,
            Command::Status(args) => &args.common,
            Command::Tail(args) => &args.common,
            Command::Compact(args) => &args.common,
        }
    }
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Cli, Config>) -> anyhow::Result<()> {
    let App { args, config, stop } = app;
    match args.command {
        Command::Demo(args) => demo::run(args, &config, &stop).await,
        Command::Gen(args) => generate::run(args, &config, &stop).await,
        Command::Status(args) => status::run(args, &config).await,
        Command::Tail(args) => tail::run(args, &config, &stop).await,
        Command::Compact(args) => compact::run(args, &config).await,
    }
}
