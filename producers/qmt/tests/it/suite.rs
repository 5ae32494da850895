//! Folders and recordings under the suite that every source must pass.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fmt::Write as _, io::Write as _, time::Duration};

use chrono::TimeDelta;
use sqep::{DayBar, Kind, MinuteBar, kind::Grid, shanghai};
use sqep_qmt::{
    bar::{Bar, Raw},
    config::{AliasChoice, QmtSettings, SourceChoice},
    folder::{FolderPlan, FolderSource},
    recording::{RecordingPlan, RecordingSource},
};
use sqep_testkit::suite::source::{self, Delivery, Life, Rig};
use tempfile::TempDir;

use crate::common::{clock, dat, days, settings};

/// A folder that QMT downloads into: a file grows, another appears; one row is impossible, one comes twice.
struct Datadir {
    folder: TempDir,
    deliveries: usize,
}

impl Rig for Datadir {
    type Source = FolderSource<DayBar>;

    async fn deliver(&mut self) -> anyhow::Result<Delivery<DayBar>> {
        let at = self.deliveries;
        self.deliveries += 1;
        let code = 600_000 + at;
        let mut records = days(0, 200);
        records[7].time_s -= 10 * 86_400;
        records.insert(21, records[20]);
        dat(self.folder.path(), &format!("SH/86400/{code}.DAT"), &records);
        let symbol = format!("{code}.SH").parse()?;
        let bars = days(0, 200).into_iter().enumerate().filter(|(at, _)| *at != 7).map(|(_, record)| {
            let [open, high, low, close] = record.yuan();
            let wall = sqep::shanghai::wall(i64::from(record.time_s) * 1_000).unwrap();
            let (vol, amount) = (f64::from(record.volume) * 100.0, 100.0 * f64::from(record.volume) * open);
            DayBar::of(&Raw { symbol, wall, open, high, low, close, vol, amount })
        });
        Ok(Delivery { records: bars.collect(), refused: 1, skipped: 1 })
    }

    async fn start(&mut self, life: Life) -> anyhow::Result<FolderSource<DayBar>> {
        let settings = settings(SourceChoice::Dat, self.folder.path());
        let clock = clock("2026-01-01T00:00:00");
        let plan = FolderPlan::new(&settings, AliasChoice::Current, Kind::BarDay, life == Life::Once, clock)?;
        Ok(FolderSource::new(FolderPlan { rescan: Duration::from_millis(5), ..plan.unwrap() }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_every_promise_of_a_source() -> anyhow::Result<()> {
    source::source(|| async { Ok(Datadir { folder: tempfile::tempdir()?, deliveries: 0 }) }).await
}

/// A folder of recordings: a file grows, another appears; each delivery is of one security and ends when its last bar is
/// final.
struct Spool {
    folder: TempDir,
    deliveries: u32,
}

/// Minutes of a delivery, each pushed three times.
const MINUTES: u32 = 30;

impl Rig for Spool {
    type Source = RecordingSource<MinuteBar>;

    async fn deliver(&mut self) -> anyhow::Result<Delivery<MinuteBar>> {
        self.deliveries += 1;
        let at = self.deliveries;
        let ms = |minute| {
            shanghai::instant_ms(crate::common::at("2025-01-02T09:30:00") + TimeDelta::minutes(minute))
                .unwrap()
        };
        let code = format!("{at:06}.SZ");
        let mut text = r#"{"t":"hello","v":1,"agent":"pc1","unit":{"volume":"lot"}}"#.to_owned() + "\n";
        let mut records = Vec::new();
        for minute in 1..=MINUTES {
            let time = ms(i64::from(minute));
            for push in 1..=3 {
                let lots = push * (at + minute);
                writeln!(
                    text,
                    r#"{{"t":"bars","period":"1m","src":"live","code":"{code}","rows":[{{"time":{time},"open":10,"high":10,"low":10,"close":10,"volume":{lots},"amount":{}}}]}}"#,
                    lots * 1_000
                )?;
            }
            let (symbol, wall) = (code.parse()?, shanghai::wall(time).unwrap());
            let vol = f64::from(300 * (at + minute));
            let raw =
                Raw { symbol, wall, open: 10.0, high: 10.0, low: 10.0, close: 10.0, vol, amount: vol * 10.0 };
            records.push(MinuteBar::of(&raw));
        }
        writeln!(text, "no json")?;
        writeln!(text, r#"{{"t":"hb","now":{}}}"#, ms(i64::from(MINUTES) + 1))?;
        let name = if at == 2 { "1.ndjson".to_owned() } else { format!("{at}.ndjson") };
        let path = self.folder.path().join(name);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(Delivery { records, refused: 1, skipped: u64::from(2 * MINUTES) })
    }

    async fn start(&mut self, life: Life) -> anyhow::Result<RecordingSource<MinuteBar>> {
        RecordingSource::new(RecordingPlan {
            paths: vec![self.folder.path().to_owned()],
            passing: None,
            settings: QmtSettings::default(),
            alias: AliasChoice::Current,
            kind: Kind::BarMinute(Grid::M1),
            line_bytes_max: 1 << 20,
            rescan: Duration::from_millis(5),
            once: life == Life::Once,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_keep_every_promise_of_a_source() -> anyhow::Result<()> {
    source::source(|| async { Ok(Spool { folder: tempfile::tempdir()?, deliveries: 0 }) }).await
}
