//! Bringing dead letters back: what opens now and passes the checks is appended again, under the version it was first seen
//! with, so that an old row never beats its correction.
//!
//! Knows what of a letter can come back; must not know which letters are meant.

use redis::Script;

use super::{Connection, dead::Found, keys::Keys};
use crate::{
    Calendar, EntryId, Kind, Record, Refusal,
    check::Checker,
    codec::{
        self, Encoding,
        pack::{PAYLOAD_BYTES_MAX, Packer},
    },
    letter::{By, Letter},
    transport::TransportError,
    wire::{self, Entry},
};

/// KEYS: stream dead dead-counts. ARGV: id of the letter; a count of values and the rows by reason that come back; a count of
/// values and the fields of a letter about what stays, 0 if nothing does; then entries, each a count of values and the
/// fields. Appends first: a script that fails half-way is not undone.
const REDRIVE: &str = "
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then return 0 end
local counts = 2
local rest = counts + ARGV[counts] + 1
local at = rest + ARGV[rest] + 1
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + n))
  at = at + n + 1
end
if ARGV[rest] ~= '0' then
  redis.call('XADD', KEYS[2], '*', unpack(ARGV, rest + 1, rest + ARGV[rest]))
end
redis.call('XDEL', KEYS[2], ARGV[1])
for i = counts + 1, rest - 1, 2 do
  if redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1]) == 0 then redis.call('HDEL', KEYS[3], ARGV[i]) end
end
return 1";

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// So many of its records are on the stream again. What still fails stays, as a letter of its own.
    Back {
        /// Records.
        records: usize,
        /// Refusals that stay.
        left: Vec<Refusal>,
    },
    /// Nothing of it comes back, and why.
    Stays(String),
    /// Somebody was faster: it is no longer there.
    Gone,
}

/// Position from 1, record and version of each.
type Rows<R> = Vec<(u64, R, u64)>;

/// Records of a letter that pass now, and the refusals of those that do not.
struct Judged<R> {
    source: String,
    records: Vec<R>,
    versions: Vec<u64>,
    left: Vec<Refusal>,
}

/// Brings a letter of a group back as far as it passes; with `dry`, only says what would come back.
pub async fn redrive<R: Record>(
    connection: &mut Connection,
    keys: &Keys,
    (kind, calendar): (Kind, &Calendar),
    found: &Found,
    dry: bool,
) -> Result<Redriven, TransportError> {
    let letter = match &found.letter {
        Ok(letter) => letter,
        Err(error) => return Ok(Redriven::Stays(error.to_string())),
    };
    let judged = match judge::<R>(letter, kind, calendar) {
        Ok(judged) => judged,
        Err(why) => return Ok(Redriven::Stays(why)),
    };
    if judged.records.is_empty() {
        return Ok(Redriven::Stays(judged.left.first().map(said).unwrap_or_default()));
    }
    let records = judged.records.len();
    if !dry && !append(connection, keys, found, letter, &judged).await? {
        return Ok(Redriven::Gone);
    }
    Ok(Redriven::Back { records, left: judged.left })
}

/// A refusal in a line: which rule, where, and the value.
fn said(refusal: &Refusal) -> String {
    refusal.findings.first().map_or_else(String::new, |finding| {
        let (reason, fact) = (finding.reason, finding.reason.fact());
        format!(
            "row {} {}: {reason}: {} {} ({fact})",
            refusal.row, refusal.symbol, finding.field, finding.value
        )
    })
}

/// Opens what a letter holds and puts its records through the checks, as a reader would.
fn judge<R: Record>(letter: &Letter, kind: Kind, calendar: &Calendar) -> Result<Judged<R>, String> {
    if letter.by == By::Source {
        let (name, origin) = (&letter.name, &letter.origin);
        return Err(format!(
            "the rows stand as their vendor sent them: mend {origin:?} or its dialect, and let the producer of source \
             {name:?} read it again (sqep-csv --force {origin})"
        ));
    }
    if !letter.cut.is_empty() {
        return Err(format!("too large to have been kept whole ({})", letter.cut));
    }
    let id: EntryId = letter.origin.parse().map_err(|error| format!("{error}"))?;
    let (source, rows) = open::<R>(letter, id)?;
    let mut checker = Checker::new(calendar);
    let mut judged = Judged { source, records: Vec::new(), versions: Vec::new(), left: Vec::new() };
    for (row, record, version) in rows {
        match checker.admit(&record, kind) {
            Ok(_) => {
                judged.records.push(record);
                judged.versions.push(version);
            }
            Err(findings) => judged.left.push(Refusal::of(row, &record, findings)),
        }
    }
    Ok(judged)
}

/// The source of a letter's entry, and the records that were refused.
fn open<R: Record>(letter: &Letter, id: EntryId) -> Result<(String, Rows<R>), String> {
    let entry = Entry { id, fields: letter.fields.clone() };
    if entry.field("p").is_none() && entry.field("v").is_none() {
        return records(letter, &entry);
    }
    let opened = entry.open::<R>().map_err(|unreadable| format!("{}: {unreadable}", unreadable.reason))?;
    let versions = opened.decoded.versions;
    let version = |at: usize| versions.as_ref().and_then(|all| all.get(at).copied()).unwrap_or(id.version());
    let refused = |row: u64| letter.refusals.iter().any(|refusal| refusal.row == row || refusal.row == 0);
    let rows =
        (1..).zip(opened.decoded.records).zip(0..).map(|((row, record), at)| (row, record, version(at)));
    Ok((opened.source, rows.filter(|(row, ..)| refused(*row)).collect()))
}

/// Records that a sink refused: the letter holds each as an object, and no entry.
fn records<R: Record>(letter: &Letter, entry: &Entry) -> Result<(String, Rows<R>), String> {
    let source = entry.field("src").map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut rows = Vec::new();
    for refusal in &letter.refusals {
        if refusal.raw.is_empty() {
            return Err(format!("{}: nothing of it was kept", letter.reason()));
        }
        let payload = format!("[{}]", refusal.raw);
        let decoded =
            codec::decode::<R>(Encoding::Json, payload.as_bytes()).map_err(|error| error.to_string())?;
        rows.extend(decoded.records.into_iter().map(|record| (refusal.row, record, entry.id.version())));
    }
    Ok((source, rows))
}

/// Appends what passed, writes a letter about the rest and removes the old one, in one step. `false`: it was gone.
async fn append<R: Record>(
    connection: &mut Connection,
    keys: &Keys,
    found: &Found,
    letter: &Letter,
    judged: &Judged<R>,
) -> Result<bool, TransportError> {
    let wrong = |error: codec::CodecError| TransportError::Wrong(error.into());
    let mut packer = Packer::new(Encoding::Arrow, PAYLOAD_BYTES_MAX);
    let packed = packer.pack(&judged.records, Some(&judged.versions)).map_err(wrong)?;
    let rest = Letter { refusals: judged.left.clone(), ..letter.clone() };
    let script = Script::new(REDRIVE);
    let mut call = script.key(keys.stream());
    call.key(keys.dead()).key(keys.dead_counts()).arg(found.id.id.to_string());
    let mut counts: std::collections::BTreeMap<_, i64> = std::collections::BTreeMap::new();
    for (letter, sign) in [(letter, -1), (&rest, 1)] {
        for (reason, rows) in letter.counts() {
            *counts.entry(reason.code()).or_default() += sign * i64::try_from(rows).unwrap_or(i64::MAX);
        }
    }
    call.arg(counts.len() * 2);
    for (reason, rows) in counts {
        call.arg(reason).arg(rows);
    }
    let fields = if rest.refusals.is_empty() { Vec::new() } else { rest.to_fields() };
    call.arg(fields.len() * 2);
    for (name, value) in fields {
        call.arg(name).arg(value);
    }
    for entry in packed {
        let records = entry.records.to_string();
        let fields = wire::envelope(R::TYPE, &judged.source, Encoding::Arrow, &records, &entry.payload);
        call.arg(fields.len() * 2);
        for (name, value) in fields {
            call.arg(name).arg(value);
        }
    }
    Ok(connection.run::<i64>(&call).await? == 1)
}
