//! One dead letter for a person and for a program. Must not know where it came from.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use sqep::{Refusal, letter::By, redis::dead::Found, shanghai};

use crate::out::{bytes, count};

/// Columns of a list.
pub(super) const HEADER: [&str; 7] = ["letter", "written", "by", "about", "reason", "rows", "symbol"];
/// Bytes of a value that are shown.
const SHOWN_MAX: usize = 64;

/// An instant as wall clock in Shanghai.
fn wall(ms: u64) -> String {
    let wall = i64::try_from(ms).ok().and_then(shanghai::wall);
    wall.map_or_else(|| ms.to_string(), |wall| wall.format("%Y-%m-%d %H:%M:%S").to_string())
}

fn iso(ms: u64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A line of a list.
pub(super) fn row(found: &Found) -> Vec<String> {
    let (id, written) = (found.id.to_string(), wall(found.id.id.ms));
    let Ok(letter) = &found.letter else {
        let dash = || "–".to_owned();
        return vec![id, written, dash(), dash(), "unreadable".to_owned(), dash(), dash()];
    };
    let symbols = letter.refusals.iter().map(|refusal| refusal.symbol.as_str());
    let first = symbols.clone().find(|symbol| !symbol.is_empty()).unwrap_or("–");
    let more = if symbols.clone().any(|symbol| symbol != first) { " …" } else { "" };
    vec![
        id,
        written,
        format!("{} {}", letter.by.name(), letter.name),
        letter.origin.clone(),
        letter.reason().to_owned(),
        count(letter.rows()),
        format!("{first}{more}"),
    ]
}

/// A letter whole, but for long values.
pub(super) fn lines(found: &Found) -> Vec<String> {
    let mut lines = vec![
        format!("letter  {}, written {}", found.id, wall(found.id.id.ms)),
        format!("stream  {}", found.stream),
    ];
    let letter = match &found.letter {
        Ok(letter) => letter,
        Err(error) => {
            lines.push(format!("cannot be read: {error}"));
            return lines;
        }
    };
    lines.push(format!("by      {} {}", letter.by.name(), letter.name));
    let about = match letter.by {
        By::Source => format!("about   {}", letter.origin),
        By::Group => format!("entry   {}, first seen {}", letter.origin, wall(found.first_seen_ms())),
    };
    lines.push(about);
    lines.push(format!("rows    {}", count(letter.rows())));
    if !letter.cut.is_empty() {
        lines.push(format!("cut     {}", letter.cut));
    }
    for (name, value) in &letter.fields {
        let size = bytes(u64::try_from(value.len()).unwrap_or(u64::MAX));
        lines.push(format!("field   {} ({size}): {}", String::from_utf8_lossy(name), preview(value)));
    }
    lines.extend(letter.refusals.iter().flat_map(refusal));
    lines
}

fn refusal(refusal: &Refusal) -> Vec<String> {
    let rows = if refusal.rows == 1 { String::new() } else { format!(", for {} rows", count(refusal.rows)) };
    let mut lines = vec![format!("row {} {}{rows}", refusal.row, refusal.symbol).trim_end().to_owned()];
    for finding in &refusal.findings {
        let (reason, fact) = (finding.reason, finding.reason.fact());
        let field = if finding.field.is_empty() { String::new() } else { format!("{} ", finding.field) };
        lines.push(format!("  {reason}: {field}{} ({fact})", finding.value));
    }
    if !refusal.raw.is_empty() {
        lines.push(format!("  raw: {}", refusal.raw.escape_debug()));
    }
    lines
}

/// Short text as it is, anything else as bytes.
fn preview(value: &[u8]) -> String {
    let more = if value.len() > SHOWN_MAX { " …" } else { "" };
    let head = &value[..value.len().min(SHOWN_MAX)];
    match std::str::from_utf8(head) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
            format!("{}{more}", text.escape_debug())
        }
        _ => format!("{}{more}", hex(head, " ")),
    }
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// A letter whole, as one line.
pub(super) fn json(found: &Found) -> serde_json::Result<String> {
    let place = json!({
        "id": found.id.to_string(),
        "stream": found.stream,
        "written": iso(found.id.id.ms),
        "first_seen": iso(found.first_seen_ms()),
    });
    let letter = match &found.letter {
        Err(error) => json!({ "unreadable": error.to_string() }),
        Ok(letter) => json!({
            "by": letter.by.name(),
            "name": letter.name,
            "origin": letter.origin,
            "reason": letter.reason(),
            "rows": letter.rows(),
            "refusals": letter.refusals,
            "cut": letter.cut,
            "fields": letter.fields.iter().map(|(name, value)| field(name, value)).collect::<Vec<_>>(),
        }),
    };
    let mut whole = place;
    if let (Value::Object(whole), Value::Object(letter)) = (&mut whole, letter) {
        whole.extend(letter);
    }
    serde_json::to_string(&whole)
}

/// Text as text, other bytes as hexadecimal digits.
fn field(name: &[u8], value: &[u8]) -> Value {
    let name = String::from_utf8_lossy(name);
    match std::str::from_utf8(value) {
        Ok(text) => json!({ "name": name, "text": text }),
        Err(_) => json!({ "name": name, "hex": hex(value, "") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text_and_bytes_as_bytes() {
        assert_eq!(preview(b"later"), "later");
        assert_eq!(preview(&[0xff, 0x00, 0x41]), "ff 00 41");
        assert_eq!(preview(&[b'x'; 70]), format!("{} …", "x".repeat(64)));
        assert_eq!(field(b"p", &[1, 0xfe]), json!({ "name": "p", "hex": "01fe" }));
    }
}
