//! What was published of a file, as its cursor field carries it. Knows when a file has to be looked at again; must not
//! open it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqep::{Cursors, Symbol};
use tracing::warn;

use crate::files::Input;

/// How far a file got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// Its bytes then.
    pub size: u64,
    /// When it was changed last, nanoseconds since 1970.
    pub changed_ns: u64,
    /// Records that were handed over, from the first.
    pub records: u64,
    /// Records that are not final before the file is written again.
    #[serde(skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Hash of the bytes of these records: tells a file that grew from one that was written anew.
    pub hash: u64,
    /// Whether the rest was refused as a whole.
    pub refused: bool,
    /// What the last letter about that stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// The settings by which its rows were read; others read it anew.
    pub read_as: String,
}

/// Records that were refused as a whole in a letter: neither they are told again, nor is there another letter that day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Records from the first.
    pub records: u64,
    /// Hash of their bytes: other ones are told again.
    pub hash: u64,
    /// Day of the letter, Asia/Shanghai.
    pub day: NaiveDate,
}

impl Done {
    /// Whether there can be nothing new in a file.
    pub fn covers(&self, input: &Input, read_as: &str) -> bool {
        let header = u64::try_from(input.format.header().len()).unwrap_or(0);
        let record = u64::try_from(input.format.record_bytes()).unwrap_or(1);
        let whole = input.size.saturating_sub(header) / record;
        let same = (self.size, self.changed_ns) == (input.size, input.changed_ns);
        same && self.read_as == read_as && (self.refused || self.records + self.held >= whole)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The name of a file's field.
pub fn field(source: &str, symbol: Symbol) -> String {
    format!("{source}/{symbol}")
}

/// The files of a source, by security. A field that does not read counts as a file that was never seen.
pub fn read(cursors: &Cursors, source: &str) -> BTreeMap<Symbol, Done> {
    let mut ledger = BTreeMap::new();
    for (name, value) in &cursors.fields {
        let Some(symbol) = name.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        if let (Ok(symbol), Ok(done)) = (symbol.parse(), serde_json::from_str(value)) {
            ledger.insert(symbol, done);
        } else {
            warn!("the cursor field {name} does not read: the file is read from its first record");
        }
    }
    ledger
}
