//! Dead letters: what was refused or buried, with reason and raw bytes, so that it can be looked at and redriven.
//!
//! Knows the form of a letter; must not know where letters are kept.

use crate::{EntryId, Refusal};

/// Refusals one letter holds at most; a chunk with more writes several.
pub const REFUSALS_MAX: usize = 1_000;
/// Bytes of a raw row that a letter keeps at most.
pub const RAW_BYTES_MAX: usize = 4_096;

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
    /// The fields of the entry as they came; empty for a source's letter.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
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

impl Letter {
    /// The letters of one chunk of a source.
    pub fn of_source(source: &str, origin: &str, refusals: &[Refusal]) -> Vec<Letter> {
        let letter = |part: &[Refusal]| Letter {
            by: By::Source,
            name: source.to_owned(),
            origin: origin.to_owned(),
            refusals: part.iter().cloned().map(shortened).collect(),
            fields: Vec::new(),
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
        Letter {
            by: By::Group,
            name: group.to_owned(),
            origin: id.to_string(),
            refusals: refusals.into_iter().map(shortened).collect(),
            fields,
        }
    }

    /// Rows it stands for.
    pub fn rows(&self) -> u64 {
        self.refusals.iter().map(|refusal| refusal.rows).sum()
    }

    /// The code of its first refusal.
    pub fn reason(&self) -> &'static str {
        let first = self.refusals.first().and_then(|refusal| refusal.findings.first());
        first.map_or("", |finding| finding.reason.code())
    }

    /// Bytes it will take, roughly.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.refusals.iter().map(|refusal| 200 + refusal.raw.len()).sum();
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        200 + rows + fields
    }
}

fn shortened(mut refusal: Refusal) -> Refusal {
    if refusal.raw.len() > RAW_BYTES_MAX {
        let mut end = RAW_BYTES_MAX;
        while !refusal.raw.is_char_boundary(end) {
            end -= 1;
        }
        refusal.raw.truncate(end);
        refusal.raw.push('…');
    }
    refusal
}
