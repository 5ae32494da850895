//! `--sink clickhouse`: a database of the demo's own, loaded beside the archive and asked at the end. Knows which queries are
//! shown; must not know how rows get there: `sqep-clickhouse` does that.

use anyhow::Context;
use sqep::{Kind, redis::embedded::Embedded};
use sqep_testkit::TestClickHouse;

use super::flow::{Job, common, set};
use crate::out::{count, say};

/// The group of `sqep-clickhouse`.
pub(super) const GROUP: &str = "clickhouse";
/// Rows of an answer that are shown.
const SHOWN: u32 = 8;

macro_rules! query {
    ($file:literal) => {
        ($file, include_str!(concat!("../../../../schemas/clickhouse/queries/", $file)))
    };
}

const OF_DAYS: [(&str, &str); 3] =
    [query!("03_cross_section.sql"), query!("06_top_movers.sql"), query!("10_coverage.sql")];
const OF_MINUTES: [(&str, &str); 1] = [query!("04_minute_profile.sql")];

/// The engine itself behind its front, or the server that `SQEP_CLICKHOUSE_URL` names.
#[derive(Debug)]
pub(super) struct Warehouse(TestClickHouse);

impl Warehouse {
    pub(super) fn start() -> anyhow::Result<Warehouse> {
        let server = TestClickHouse::start()
            .context("no ClickHouse for the demo: run it by make demo SINK=clickhouse")?;
        say(&format!("clickhouse a database of its own, {}, at {}", server.database(), server.url()))?;
        Ok(Warehouse(server))
    }

    /// What `sqep-clickhouse` is told.
    pub(super) fn arguments(&self, job: &Job, server: &Embedded) -> Vec<String> {
        let mut arguments = common(job, server);
        arguments.extend(set("reader.group", GROUP));
        arguments.extend(set("reader.start", "earliest"));
        // The last batch is not full: let it not wait long for more.
        arguments.extend(set("clickhouse.wait_s_max", "1"));
        arguments.extend(self.0.settings().into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
        arguments
    }

    /// What it must not be told where everybody can read it.
    pub(super) fn variables(&self) -> [(&'static str, String); 1] {
        [("SQEP__CLICKHOUSE__PASSWORD", self.0.user().1.to_owned())]
    }

    /// Shows what came and three queries' answers.
    pub(super) fn tell(&self, kind: Kind) -> anyhow::Result<()> {
        let table = kind.table();
        let rows = self.0.ask(&format!("SELECT count() FROM {table}_current"))?;
        say(&format!("\nclickhouse holds {} {kind} rows", count(rows.trim().parse().unwrap_or(0))))?;
        let about = self.0.ask(&format!("SELECT toDate(max(frame)), min(symbol) FROM {table}_current"))?;
        let (day, symbol) = about.trim().split_once('\t').unwrap_or_default();
        let queries = if matches!(kind, Kind::BarMinute(_)) { &OF_MINUTES[..] } else { &OF_DAYS[..] };
        for (file, sql) in queries {
            let inner = sql.trim_end().trim_end_matches(';');
            let sql = format!("SELECT * FROM (\n{inner}\n) LIMIT {SHOWN} FORMAT PrettyCompactMonoBlock");
            let answer = self.0.ask_with(&sql, &[("day", day), ("symbol", symbol)])?;
            say(&format!("\nschemas/clickhouse/queries/{file}\n{answer}"))?;
        }
        Ok(())
    }
}
