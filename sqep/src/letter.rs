//! Dead letters: what was refused or buried, with reason and raw bytes, so that it can be looked at and redriven.
//!
//! Knows the form of a letter and what it may carry at most; must not know where letters are kept.

use std::{collections::BTreeMap, str::FromStr};

use crate::{EntryId, Reason, Refusal, wire};

/// Refusals one letter holds at most; a chunk with more writes several.
pub const REFUSALS_MAX: usize = 1_000;
/// Bytes of a raw row that a letter keeps at most.
pub const RAW_BYTES_MAX: usize = 4_096;
/// Bytes of a value that broke a rule, of a field's name or of a symbol that a letter keeps at most.
pub const TEXT_BYTES_MAX: usize = 1_000;
/// Fields of an entry that a letter keeps at most: an entry of ours has six, and a script passes on 8,000 values.
pub const FIELDS_MAX: usize = 1_000;
/// Bytes of an entry that a letter keeps at most: twice what the wire allows its payload.
pub const ENTRY_BYTES_MAX: usize = 2 << 20;

/// Names and values, in order.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What is before the name of a field of the entry itself.
const OF_ENTRY: &[u8] = b"e:";

/// One letter: everything refused of one chunk of a source, or buried of one entry by one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// `source` or `group`.
    pub by: By,
    /// Name of the source or group.
    pub name: String,
    /// The file or dataset, or the id of the entry.
    pub origin: String,
    /// What was refused and why.
    pub refusals: Vec<Refusal>,
    /// The fields of the entry as they came; of a record that a sink refused its source alone; none of a source's row.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// What of the entry was too much to keep; empty: nothing.
    pub cut: String,
}

/// Who wrote a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A source refused rows.
    Source,
    /// A group buried an entry, or records of it.
    Group,
}

impl By {
    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            By::Source => "source",
            By::Group => "group",
        }
    }
}

impl FromStr for By {
    type Err = LetterError;

    fn from_str(text: &str) -> Result<By, LetterError> {
        let found = [By::Source, By::Group].into_iter().find(|by| by.name() == text);
        found.ok_or_else(|| LetterError::Value { field: "by", value: text.to_owned() })
    }
}

/// Why the fields of an entry are no letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// A field that every letter has.
    #[error("no field {0:?}: this is no dead letter")]
    Missing(&'static str),
    /// A value this version does not know.
    #[error("field {field:?} holds {value:?}, which this version does not read: use a newer one")]
    Value {
        /// Which field.
        field: &'static str,
        /// As it stands.
        value: String,
    },
}

impl Letter {
    /// The letters of one chunk of a source.
    pub fn of_source(source: &str, origin: &str, refusals: &[Refusal]) -> Vec<Letter> {
        let letter = |part: &[Refusal]| Letter {
            by: By::Source,
            name: source.to_owned(),
            origin: origin.to_owned(),
            refusals: part.iter().cloned().map(shortened).collect(),
            fields: Vec::new(),
            cut: String::new(),
        };
        refusals.chunks(REFUSALS_MAX).map(letter).collect()
    }

    /// The letter of one entry that a group buries, wholly or in part.
    pub fn of_entry(
        group: &str,
        id: EntryId,
        refusals: Vec<Refusal>,
        fields: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Letter {
        let (fields, cut) = bounded(fields);
        Letter {
            by: By::Group,
            name: group.to_owned(),
            origin: id.to_string(),
            refusals: refusals.into_iter().map(shortened).collect(),
            fields,
            cut,
        }
    }

    /// The letter of one record that the sink of a group can never take; `id` is the one its version stands for.
    pub fn of_record(group: &str, id: EntryId, source: &str, refusal: Refusal) -> Letter {
        Letter::of_entry(group, id, vec![refusal], vec![(b"src".to_vec(), source.into())])
    }

    /// Rows it stands for.
    pub fn rows(&self) -> u64 {
        self.refusals.iter().map(|refusal| refusal.rows).sum()
    }

    /// The code of its first refusal.
    pub fn reason(&self) -> &'static str {
        self.refusals.first().and_then(Refusal::reason).map_or("", Reason::code)
    }

    /// Its rows by reason.
    pub fn counts(&self) -> BTreeMap<Reason, u64> {
        let mut counts = BTreeMap::new();
        for refusal in &self.refusals {
            refusal.count(&mut counts);
        }
        counts
    }

    /// Bytes it will take, roughly.
    pub fn bytes(&self) -> usize {
        let findings = |refusal: &Refusal| -> usize {
            refusal.findings.iter().map(|finding| 60 + finding.field.len() + finding.value.len()).sum()
        };
        let rows: usize =
            self.refusals.iter().map(|refusal| 140 + refusal.raw.len() + findings(refusal)).sum();
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        200 + rows + fields
    }

    /// As fields of an entry: who, what, why, and the fields of the original behind `e:`.
    pub fn to_fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = serde_json::to_vec(&self.refusals).unwrap_or_default();
        let own: [(&str, Vec<u8>); 8] = [
            ("v", wire::VERSION.into()),
            ("by", self.by.name().into()),
            ("name", self.name.clone().into()),
            ("origin", self.origin.clone().into()),
            ("reason", self.reason().into()),
            ("n", self.rows().to_string().into()),
            ("rows", rows),
            ("cut", self.cut.clone().into()),
        ];
        let own = own.into_iter().filter(|(name, value)| *name != "cut" || !value.is_empty());
        let original =
            self.fields.iter().map(|(name, value)| ([OF_ENTRY, name.as_slice()].concat(), value.clone()));
        own.map(|(name, value)| (name.as_bytes().to_vec(), value)).chain(original).collect()
    }

    /// Reads what [`Letter::to_fields`] wrote.
    pub fn of_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Letter, LetterError> {
        let find = |field: &str| fields.iter().find(|(name, _)| name == field.as_bytes());
        let text = |field: &'static str| match find(field) {
            Some((_, value)) => Ok(String::from_utf8_lossy(value).into_owned()),
            None => Err(LetterError::Missing(field)),
        };
        let version = text("v")?;
        if version != wire::VERSION {
            return Err(LetterError::Value { field: "v", value: version });
        }
        let rows = text("rows")?;
        let refusals = serde_json::from_str(&rows)
            .map_err(|error| LetterError::Value { field: "rows", value: error.to_string() })?;
        let original = fields.iter().filter_map(|(name, value)| {
            name.strip_prefix(OF_ENTRY).map(|name| (name.to_vec(), value.clone()))
        });
        Ok(Letter {
            by: text("by")?.parse()?,
            name: text("name")?,
            origin: text("origin")?,
            refusals,
            fields: original.collect(),
            cut: text("cut").unwrap_or_default(),
        })
    }
}

/// The first fields of an entry that fit into a letter, and what did not.
fn bounded(fields: Fields) -> (Fields, String) {
    let bytes = |fields: &[(Vec<u8>, Vec<u8>)]| -> usize {
        fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let (all, all_bytes) = (fields.len(), bytes(&fields));
    let mut room = ENTRY_BYTES_MAX;
    let mut kept = Vec::with_capacity(all.min(FIELDS_MAX));
    for (name, mut value) in fields.into_iter().take(FIELDS_MAX) {
        let Some(left) = room.checked_sub(name.len()) else { break };
        value.truncate(left);
        value.shrink_to_fit();
        room = left - value.len();
        kept.push((name, value));
    }
    let kept_bytes = bytes(&kept);
    if (kept.len(), kept_bytes) == (all, all_bytes) {
        return (kept, String::new());
    }
    let cut = format!("{} of {all} fields and {kept_bytes} of {all_bytes} bytes are kept", kept.len());
    (kept, cut)
}

fn shortened(mut refusal: Refusal) -> Refusal {
    shorten(&mut refusal.raw, RAW_BYTES_MAX);
    shorten(&mut refusal.symbol, TEXT_BYTES_MAX);
    for finding in &mut refusal.findings {
        shorten(&mut finding.field, TEXT_BYTES_MAX);
        shorten(&mut finding.value, TEXT_BYTES_MAX);
    }
    refusal
}

fn shorten(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.shrink_to_fit();
        text.push('…');
    }
}
