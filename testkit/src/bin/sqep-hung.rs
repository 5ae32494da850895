//! `sqep-hung`: a reader whose sink does not come back from a write until it is let go, for tests of what watches
//! programs.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use serde::{Deserialize, Serialize};
use sqep::{
    Appetite, Batch, DayBar, Mark, Sink, WriteError,
    app::{self, App, Args, CalendarSettings, HttpSettings, Inward, ReaderSettings},
    redis::{RedisSettings, keys::StreamSettings},
};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    common: Args,
}

impl AsRef<Args> for Arguments {
    fn as_ref(&self) -> &Args {
        &self.common
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    redis: RedisSettings,
    stream: StreamSettings,
    reader: ReaderSettings,
    calendar: CalendarSettings,
    http: HttpSettings,
    hung: Hung,
}

/// Section `hung`, and the sink: a write hangs unless the file `go` is in its folder when it begins.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Hung {
    folder: PathBuf,
}

fn later(error: impl Into<anyhow::Error>) -> WriteError {
    WriteError::Later(error.into())
}

impl Sink for Hung {
    type Record = DayBar;

    fn appetite(&self) -> Appetite {
        Appetite { records_max: 1, wait_max: Duration::ZERO }
    }

    async fn write(&mut self, _batch: &Batch<'_, DayBar>) -> Result<(), WriteError> {
        if self.folder.join("go").exists() { Ok(()) } else { std::future::pending().await }
    }

    async fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), WriteError> {
        let text = serde_json::to_string(mark).map_err(later)?;
        std::fs::write(self.folder.join(partition.to_string()), text).map_err(later)
    }

    async fn mark(&mut self, partition: u16) -> Result<Option<Mark>, WriteError> {
        let path = self.folder.join(partition.to_string());
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).map_err(later)?;
        serde_json::from_str(&text).map(Some).map_err(later)
    }
}

fn main() -> ExitCode {
    app::main(|app: App<Arguments, Settings>| async move {
        let Settings { redis, stream, reader, calendar, http, hung } = &app.config;
        app.serve(http).await?;
        let inward = Inward { redis, stream, reader, calendar, meters: &app.meters };
        inward.deliver("hung", app.args.common.once, &app.stop, |_| Ok(hung.clone())).await.map(drop)
    })
}
