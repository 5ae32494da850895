//! Files under the suite that every source must pass: plain ones, a packed one, one that grows; with refused and skipped
//! rows in them.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::fmt::Write as _;

use sqep::{DayBar, Kind};
use sqep_csv::source::CsvSource;
use sqep_testkit::suite::source::{self, Delivery, Life, Rig};
use tempfile::TempDir;

/// Rows that become bars of each delivery: several blocks.
const BARS: usize = 20;

/// A folder that a vendor delivers into.
struct Folder {
    folder: TempDir,
    deliveries: u32,
}

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        Ok(Folder { folder: tempfile::tempdir()?, deliveries: 0 })
    }

    /// A whole file appears at once, as files should be moved into a folder; `.gz` packs it.
    fn put(&self, name: &str, text: &str) {
        let aside = tempfile::tempdir_in(self.folder.path().parent().unwrap()).unwrap();
        let path = aside.path().join(name);
        if path.extension().is_some_and(|extension| extension == "gz") {
            crate::common::gzip(&path, text);
        } else {
            crate::common::write(&path, text);
        }
        std::fs::rename(path, self.folder.path().join(name)).unwrap();
    }
}

impl Rig for Folder {
    type Source = CsvSource<DayBar>;

    /// Bars of a security nobody has seen, a row again, and one whose price is no number.
    async fn deliver(&mut self) -> anyhow::Result<Delivery<DayBar>> {
        self.deliveries += 1;
        let at = self.deliveries;
        let good = crate::common::rows(at, 0, BARS, 0);
        let again = good.lines().next_back().unwrap();
        let mut text = format!("{good}{again}\n");
        writeln!(text, "{},2019-03-01,x,10,10,10,1000,10000,,,,", crate::common::symbol(at).get())?;
        match at {
            2 => crate::common::append(&self.folder.path().join("1.csv"), &text),
            3 => self.put("3.csv.gz", &format!("{}{text}", crate::common::HEADER)),
            _ => self.put(&format!("{at}.csv"), &format!("{}{text}", crate::common::HEADER)),
        }
        let records = bars(&good);
        Ok(Delivery { records, refused: 1, skipped: 1 })
    }

    async fn start(&mut self, life: Life) -> anyhow::Result<CsvSource<DayBar>> {
        let settings = crate::common::settings(&[self.folder.path()]);
        Ok(crate::common::source(&settings, Kind::BarDay, life == Life::Live).0)
    }
}

/// The rows of a text, read by the simplest means there are.
fn bars(text: &str) -> Vec<DayBar> {
    let bar = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse::<f64>().unwrap();
        DayBar {
            symbol: sqep::Symbol::from_i32(cells[0].parse().unwrap()).unwrap(),
            frame: cells[1].parse().unwrap(),
            open: number(2),
            high: number(3),
            low: number(4),
            close: number(5),
            vol: number(6),
            amount: Some(number(7)),
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        }
    };
    text.lines().map(bar).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_keep_every_promise_of_a_source() -> anyhow::Result<()> {
    source::source(|| async { Folder::new() }).await
}
