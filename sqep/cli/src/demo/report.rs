//! What came out of a demo: the rows of every stage, which must agree, and what they cost. Knows equations; must not
//! know where the numbers come from.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::bail;
use sqep::Kind;

use super::flow::Flow;
use crate::{
    digest::Digest,
    out::{bytes, count, each, rate, say},
};

/// Rows in the dead letters.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) refused: u64,
    pub(super) buried: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

impl Letters {
    pub(super) fn add(&mut self, by_source: bool, rows: u64, reason: String) {
        *(if by_source { &mut self.refused } else { &mut self.buried }) += rows;
        *self.reasons.entry(reason).or_default() += rows;
    }
}

/// The archive of the kind.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) compaction: Duration,
    pub(super) samples: Vec<String>,
}

/// Everything that came out.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) rows_made: Option<u64>,
    /// Whether the source may say a row more than once, as a poll does.
    pub(super) repeats: bool,
    pub(super) flow: Flow,
    pub(super) stream: Digest,
    pub(super) stream_bytes: u64,
    pub(super) letters: Letters,
    pub(super) archive: Archive,
}

impl Outcome {
    /// Whether no row came through.
    pub(super) fn is_empty(&self) -> bool {
        self.stream.rows + self.archive.digest.rows == 0
    }

    /// Every equation that must hold, with its sides.
    fn equations(&self) -> Vec<(String, bool)> {
        let (all, stream, archive) = (&self.flow.all, &self.stream, &self.archive.digest);
        let mut equations = vec![
            (
                format!(
                    "rows read {} = appended {} + refused {} + skipped {}",
                    count(all.read),
                    count(all.appended),
                    count(all.refused()),
                    count(all.skipped())
                ),
                all.balances(),
            ),
            (
                format!("rows appended {} = rows on the stream {}", count(all.appended), count(stream.rows)),
                all.appended == stream.rows,
            ),
            (
                format!(
                    "rows refused {} = rows in the dead letters {}",
                    count(all.refused()),
                    count(self.letters.refused)
                ),
                all.refused() == self.letters.refused,
            ),
            (
                format!("rows buried by the archive {} = 0", count(self.letters.buried)),
                self.letters.buried == 0,
            ),
            (
                format!(
                    "keys on the stream {} = rows in the compacted archive {}",
                    count(stream.keys),
                    count(archive.rows)
                ),
                stream.keys == archive.rows && archive.rows == archive.keys,
            ),
            (
                "every row of the archive = the newest of its key on the stream, bit by bit".to_owned(),
                stream.same_rows(archive),
            ),
        ];
        let pieces = stream.pieces;
        equations.extend(self.flow.groups.iter().map(|(group, settled)| {
            let equation = format!(
                "entries settled by {group} {} = entries on the stream {}",
                count(*settled),
                count(pieces)
            );
            (equation, *settled == pieces)
        }));
        // In a folder that was used before, unchanged files are not read again.
        if let Some(made) = self.rows_made.filter(|_| self.flow.run.read == all.read) {
            let (what, found) =
                if self.repeats { ("keys on the stream", stream.keys) } else { ("rows read", all.read) };
            let equation = format!("rows made {} = {what} {}", count(made), count(found));
            equations.insert(0, (equation, made == found));
        }
        equations
    }

    /// An error that names every equation that does not hold, or what the source could not take.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let wrong: Vec<String> =
            self.equations().into_iter().filter(|(_, holds)| !holds).map(|(equation, _)| equation).collect();
        if !wrong.is_empty() {
            bail!("the counts do not agree: {}", wrong.join("; "));
        }
        match &self.flow.complaint {
            Some(complaint) => bail!("the counts agree, but {complaint}"),
            None => Ok(()),
        }
    }

    /// Prints it.
    pub(super) fn tell(&self, out: &Path) -> anyhow::Result<()> {
        for line in self.lines(out) {
            say(&line)?;
        }
        Ok(())
    }

    fn lines(&self, out: &Path) -> Vec<String> {
        let mut lines = vec![String::new(), "rows that must agree".to_owned()];
        let mark = |holds: bool| if holds { "ok " } else { "NOT" };
        lines.extend(
            self.equations().iter().map(|(equation, holds)| format!("  {} {equation}", mark(*holds))),
        );
        lines.extend(
            self.letters.reasons.iter().map(|(reason, rows)| format!("      {reason} {}", count(*rows))),
        );
        lines.push(String::new());
        lines.extend(self.figures());
        if !self.archive.samples.is_empty() {
            lines.push(String::new());
            lines.push("three of them".to_owned());
            lines.extend(self.archive.samples.iter().map(|sample| format!("  {sample}")));
        }
        lines.push(String::new());
        lines.extend(self.next_steps(out));
        lines
    }

    fn figures(&self) -> Vec<String> {
        let (flow, stream, archive) = (&self.flow, &self.stream, &self.archive);
        let seconds = |took: Duration| format!("{:.2} s", took.as_secs_f64());
        let speed =
            |took: Duration| format!("{}, {} rows/s", seconds(took), count(rate(flow.run.read, took)));
        let mut lines = vec![format!("speed     {} rows read now", count(flow.run.read))];
        if flow.run.read > 0 {
            lines.push(format!("  source to stream  {}", speed(flow.published)));
            lines.push(format!(
                "  source to archive {} (the last batch waits 1 s for more)",
                speed(flow.settled)
            ));
        }
        lines.extend([
            format!("  compaction        {}", seconds(archive.compaction)),
            "size".to_owned(),
            format!(
                "  in Redis          {} bytes a bar ({} in {} entries)",
                each(self.stream_bytes, stream.rows),
                bytes(self.stream_bytes),
                count(stream.pieces)
            ),
            format!(
                "  in the archive    {} bytes a bar ({} in {} files)",
                each(archive.bytes, archive.digest.rows),
                bytes(archive.bytes),
                count(archive.digest.pieces)
            ),
        ]);
        lines
    }

    fn next_steps(&self, out: &Path) -> Vec<String> {
        let table = out.join("archive").join(self.kind.table());
        let table = table.display();
        let mut lines = vec![format!("archive   {table}")];
        // A database is asked for its own rows, and has no folder here.
        let groups = self.flow.groups.iter().filter(|(group, _)| group != super::clickhouse::GROUP);
        lines.extend(groups.map(|(group, _)| format!("{group:<9} {}", out.join(group).display())));
        lines.extend([
            format!("logs      {}", out.join("state").display()),
            "look at it yourself".to_owned(),
            format!("  python3 -c \"import pandas; print(pandas.read_parquet('{table}'))\""),
            format!(
                "  duckdb -c \"SELECT symbol, count(*) AS bars, max(frame) AS last FROM '{table}/*/*.parquet' \
                 GROUP BY symbol ORDER BY symbol LIMIT 10\""
            ),
        ]);
        lines
    }
}
