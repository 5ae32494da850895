//! The source under the suite that every source must pass.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fmt::Write as _, fs, time::Duration};

use sqep::{Calendar, DayBar};
use sqep_testkit::{
    market::{Market, Plan},
    suite::source::{self, Delivery, Life, Rig},
};
use tempfile::TempDir;

use sqep_{{ident}}::{row::HEADER, source::Files};

/// A folder that a vendor delivers into, a file a session.
struct Vendor {
    folder: TempDir,
    days: Vec<Vec<DayBar>>,
}

impl Vendor {
    fn new() -> anyhow::Result<Vendor> {
        let plan = Plan { seed: 1, symbols: 30, days: 8, to: "2026-06-30".parse()? };
        let market = Market::new(&plan, &Calendar::published())?;
        let bars = market.by_session().map(|(_, days)| days.iter().filter_map(|day| day.bar).collect());
        Ok(Vendor { folder: tempfile::tempdir()?, days: bars.collect() })
    }
}

/// A bar as the vendor writes it: 手 and 千元.
fn line(bar: &DayBar) -> String {
    let DayBar { symbol, open, high, low, close, .. } = bar;
    let (day, lots, amount) = (bar.frame.format("%Y%m%d"), bar.vol / 100.0, bar.amount.unwrap() / 1_000.0);
    format!("{symbol},{day},{open},{high},{low},{close},{lots},{amount}\n")
}

impl Rig for Vendor {
    type Source = Files;

    /// A session's file, with a suspended security and a line that is no row in it.
    async fn deliver(&mut self) -> anyhow::Result<Delivery<DayBar>> {
        let records: Vec<DayBar> = self.days.remove(0).into_iter().map(known).collect();
        let mut text = format!("{HEADER}\n");
        for bar in &records {
            text.push_str(&line(bar));
        }
        let day = records[0].frame.format("%Y%m%d");
        writeln!(text, "600001.SH,{day},0,0,0,5.5,0,0")?;
        writeln!(text, "完")?;
        let aside = self.folder.path().join("aside.tmp");
        fs::write(&aside, text)?;
        fs::rename(aside, self.folder.path().join(format!("{day}.csv")))?;
        Ok(Delivery { records, refused: 1, skipped: 1 })
    }

    async fn start(&mut self, life: Life) -> anyhow::Result<Files> {
        let look = (life == Life::Live).then(|| Duration::from_millis(1));
        Ok(Files::new(self.folder.path().to_owned(), look))
    }
}

/// A bar with nothing in it that the vendor does not know.
fn known(bar: DayBar) -> DayBar {
    DayBar { adjust: None, st: None, buy_limit: None, sell_limit: None, ..bar }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_keep_every_promise_of_a_source() -> anyhow::Result<()> {
    source::source(|| async { Vendor::new() }).await
}
