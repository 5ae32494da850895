//! The envelope of an entry: fields around a payload. Knows their names and the rules of compatibility; must not know
//! a server.

use crate::{
    EntryId, Reason, Record,
    codec::{self, Decoded, Encoding},
    record::Type,
};

/// The wire version this crate writes and reads.
pub const VERSION: &str = "1";
/// Fields of an entry that a reader accepts at most: ours have six.
pub const FIELDS_MAX: usize = 1_000;
/// Bytes of all fields of an entry that a reader accepts at most: twice what the payload may have.
pub const ENTRY_BYTES_MAX: u64 = 2 << 20;
/// The original's spelling of SQEP-BAR-MINUTE, accepted on input.
pub const MINITE: &str = "SQEP-BAR-MINITE";

/// An entry as a server hands it over. No fields at all: it was deleted or trimmed while pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place on the stream.
    pub id: EntryId,
    /// Names and values, in order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The fields of an entry, in the order they are written.
pub fn envelope<'a>(
    kind: &'static str,
    source: &'a str,
    encoding: Encoding,
    records: &'a str,
    payload: &'a [u8],
) -> [(&'static str, &'a [u8]); 6] {
    [
        ("v", VERSION.as_bytes()),
        ("type", kind.as_bytes()),
        ("src", source.as_bytes()),
        ("enc", encoding.name().as_bytes()),
        ("n", records.as_bytes()),
        ("p", payload),
    ]
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened<R> {
    /// Who published it.
    pub source: String,
    /// Records and, if the payload has them, their versions.
    pub decoded: Decoded<R>,
}

/// Why an entry as a whole cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// The reason code it is buried with.
    pub reason: Reason,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

fn unreadable(reason: Reason, field: &'static str, why: impl Into<String>) -> Unreadable {
    Unreadable { reason, field, why: why.into() }
}

impl Entry {
    /// Bytes of its fields.
    pub fn bytes(&self) -> u64 {
        let bytes: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &'static str) -> Result<&str, Unreadable> {
        let bytes = self
            .field(name)
            .ok_or_else(|| unreadable(Reason::Undecodable, name, format!("no field {name:?}")))?;
        std::str::from_utf8(bytes)
            .map_err(|_| unreadable(Reason::Undecodable, name, format!("field {name:?} is not text")))
    }

    /// Records the entry says it holds; 1 when it does not say, or lies beyond the limit.
    pub fn claimed(&self) -> u64 {
        let claimed = self.text("n").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        if (1..=10_000).contains(&claimed) { claimed } else { 1 }
    }

    /// Opens the envelope and decodes the payload.
    pub fn open<R: Record>(&self) -> Result<Opened<R>, Unreadable> {
        if self.fields.is_empty() {
            let why = "the entry was deleted or trimmed while it was pending";
            return Err(unreadable(Reason::EntryEmpty, "", why));
        }
        self.within()?;
        let version = self.text("v")?;
        if version != VERSION {
            let why =
                format!("wire version {version:?}, this program reads {VERSION:?}: upgrade, then redrive");
            return Err(unreadable(Reason::UnknownVersion, "v", why));
        }
        self.known_type::<R>()?;
        let source = self.text("src")?.to_owned();
        let encoding: Encoding = self
            .text("enc")?
            .parse()
            .map_err(|e: codec::CodecError| unreadable(Reason::Undecodable, "enc", e.to_string()))?;
        let payload =
            self.field("p").ok_or_else(|| unreadable(Reason::Undecodable, "p", "no field \"p\""))?;
        let decoded = codec::decode::<R>(encoding, payload)
            .map_err(|e| unreadable(Reason::Undecodable, "p", e.to_string()))?;
        self.counted(&decoded)?;
        Ok(Opened { source, decoded })
    }

    /// Fields we do not know are legal, as many as nobody minds.
    fn within(&self) -> Result<(), Unreadable> {
        let why = if self.fields.len() > FIELDS_MAX {
            format!("the entry has more than {FIELDS_MAX} fields")
        } else if self.bytes() > ENTRY_BYTES_MAX {
            format!("the entry has more than {ENTRY_BYTES_MAX} bytes")
        } else {
            return Ok(());
        };
        Err(unreadable(Reason::Undecodable, "", why))
    }

    fn known_type<R: Record>(&self) -> Result<(), Unreadable> {
        let name = self.text("type")?;
        let minute = R::FIELDS.get(1).is_some_and(|field| field.kind == Type::Minute);
        if name == R::TYPE || (minute && name == MINITE) {
            return Ok(());
        }
        Err(unreadable(Reason::UnknownType, "type", format!("type {name:?} on a stream of {}", R::TYPE)))
    }

    fn counted<R: Record>(&self, decoded: &Decoded<R>) -> Result<(), Unreadable> {
        let claimed = self.text("n")?;
        if claimed.parse() != Ok(decoded.records.len()) {
            let why = format!("the payload holds {}, field \"n\" says {claimed:?}", decoded.records.len());
            return Err(unreadable(Reason::Undecodable, "n", why));
        }
        // Two rows of one key and one version: a store could not tell which of them counts.
        let at = codec::pack::unique_prefix(&decoded.records);
        if let Some(again) = decoded.records.get(at) {
            let why = format!("record {} has the key of an earlier one: {}", at + 1, again.symbol());
            return Err(unreadable(Reason::Undecodable, "p", why));
        }
        let own = self.id.version();
        match decoded.versions.iter().flatten().find(|&&version| version > own) {
            Some(version) => {
                let why = format!("version {version} is above that of its entry, {own}");
                Err(unreadable(Reason::Undecodable, "p", why))
            }
            None => Ok(()),
        }
    }
}
