//! What an audit found, as text or as JSON. Must not know how it was found.

use std::path::Path;

use serde_json::{Value, json};
use sqep::{DayBar, Kind, MinuteBar, Symbol};

use super::{
    AuditArgs,
    against::Read,
    compare::{Day, Difference, Found, How, Tally, moment},
};
use crate::out::{count, say, table};

/// Everything there is to tell.
pub(crate) struct Audit<'a> {
    pub(crate) kind: Kind,
    pub(crate) root: &'a Path,
    pub(crate) against: &'static str,
    pub(crate) read: Read,
    pub(crate) found: &'a Found,
}

pub(crate) fn tell(audit: &Audit<'_>, args: &AuditArgs) -> anyhow::Result<()> {
    if args.json {
        say(&serde_json::to_string(&audit.json())?)?;
        return Ok(());
    }
    for line in audit.lines(args.show) {
        say(&line)?;
    }
    Ok(())
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

fn object(day: &Day) -> Value {
    let tally = |tally: Tally| json!({ "keys": tally.keys, "hash": hex(tally.hash) });
    json!({
        "archive": tally(day.archive),
        "against": tally(day.against),
        "not_in_archive": day.missing,
        "only_in_archive": day.extra,
        "differ": day.differ,
    })
}

impl Audit<'_> {
    fn json(&self) -> Value {
        let days = self.found.days.iter().map(|(date, day)| {
            let mut object = object(day);
            object["day"] = json!(date);
            object
        });
        let differences = self.found.differences.iter().map(|found| {
            json!({
                "symbol": symbol(found),
                "frame": self.frame(found),
                "what": found.how,
                "fields": found.fields,
            })
        });
        json!({
            "kind": self.kind,
            "archive": self.root,
            "equal": self.found.wrong() == 0,
            "total": object(&self.found.total()),
            "superseded": self.found.superseded,
            "newer_in_archive": self.found.newer,
            "read": self.read,
            "days": days.collect::<Vec<_>>(),
            "differences": differences.collect::<Vec<_>>(),
        })
    }

    fn lines(&self, show: usize) -> Vec<String> {
        let Audit { kind, root, against, read, found } = self;
        let total = found.total();
        let side = |tally: Tally| format!("{} keys, content {}", count(tally.keys), hex(tally.hash));
        let mut lines = vec![
            format!("{kind} of {}: {}", root.display(), side(total.archive)),
            format!(
                "{against}: {} (rows kept {}, refused {}, skipped {})",
                side(total.against),
                count(read.kept),
                count(read.refused),
                count(read.skipped)
            ),
        ];
        if found.superseded > 0 {
            let rows = count(found.superseded);
            lines.push(format!(
                "{rows} rows of the archive are older versions or copies; sqep compact removes them"
            ));
        }
        if found.newer > 0 {
            let keys = count(found.newer);
            lines.push(format!(
                "{keys} keys are newer in the archive than on the stream and were not compared"
            ));
        }
        let days = u64::try_from(found.days.len()).unwrap_or(u64::MAX);
        if total.wrong() == 0 {
            lines.push(format!("equal: every key of {} days", count(days)));
            return lines;
        }
        lines.extend(self.days(show));
        lines.extend(found.differences.iter().map(|found| self.line(found)));
        lines.extend(more(total.wrong(), found.differences.len(), "keys that differ"));
        lines
    }

    /// The days that differ.
    fn days(&self, show: usize) -> Vec<String> {
        let wrong = self.found.days.iter().filter(|(_, day)| day.wrong() > 0);
        let all = wrong.clone().count();
        let rows: Vec<Vec<String>> = wrong
            .take(show)
            .map(|(date, day)| {
                let numbers =
                    [day.archive.keys, day.against.keys, day.missing, day.extra, day.differ].map(count);
                std::iter::once(date.to_string()).chain(numbers).collect()
            })
            .collect();
        let shown = rows.len();
        let header = ["day", "archive", self.against, "not in archive", "only in archive", "differ"];
        let mut lines = table(&header, &rows);
        lines.extend(more(u64::try_from(all).unwrap_or(u64::MAX), shown, "days that differ"));
        lines
    }

    fn line(&self, found: &Difference) -> String {
        let key = format!("{} {}", symbol(found), self.frame(found));
        let null = |text: &str| if text.is_empty() { "null".to_owned() } else { text.to_owned() };
        match found.how {
            How::NotInArchive => format!("{key}: not in the archive"),
            How::OnlyInArchive => format!("{key}: only in the archive, not in {}", self.against),
            How::Differs => {
                let fields = found.fields.iter().map(|pair| {
                    let (ours, theirs) = (null(&pair.archive), null(&pair.against));
                    format!("{} is {ours} in the archive, {theirs} in {}", pair.field, self.against)
                });
                format!("{key}: {}", fields.collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn frame(&self, found: &Difference) -> String {
        match self.kind {
            Kind::BarMinute(_) | Kind::FeatureMinute => {
                moment::<MinuteBar>(found.key.1).format("%Y-%m-%d %H:%M").to_string()
            }
            Kind::BarDay | Kind::RefDay | Kind::FeatureDay => {
                moment::<DayBar>(found.key.1).date().to_string()
            }
        }
    }
}

fn symbol(found: &Difference) -> String {
    Symbol::from_i32(found.key.0).map_or_else(|_| found.key.0.to_string(), |symbol| symbol.to_string())
}

fn more(all: u64, shown: usize, what: &str) -> Option<String> {
    let left = all.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    (left > 0).then(|| format!("and {} more {what}: raise --show", count(left)))
}
