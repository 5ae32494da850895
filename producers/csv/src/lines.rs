//! Bytes to lines to fields. Knows line ends, delimiters and quotes; must not know what a field means.

use std::io::{self, Read};

use crate::dialect::Delimiter;

/// Bytes asked for at a time from a stream.
const READ_BYTES: usize = 256 * 1024;

/// A line: where it stands in the buffer, its number in the file, and whether a line end closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    start: usize,
    end: usize,
    /// From 1.
    pub(crate) number: u64,
    /// Whether a line end follows.
    pub(crate) complete: bool,
}

impl Line {
    /// Where it begins in the buffer; for a text held in memory, in the text.
    pub(crate) fn start(&self) -> usize {
        self.start
    }
}

/// Lines of a text that is held in memory, or passes through a buffer.
pub(crate) struct Lines {
    reader: Option<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
    /// The first byte not yet handed out.
    next: usize,
    /// How far the buffer was searched for a line end.
    searched: usize,
    number: u64,
    line_bytes_max: usize,
}

impl Lines {
    /// Lines of a text in memory.
    pub(crate) fn of(text: Vec<u8>, line_bytes_max: usize) -> Lines {
        Lines { reader: None, buffer: text, next: 0, searched: 0, number: 0, line_bytes_max }
    }

    /// Lines of a stream.
    pub(crate) fn from(reader: Box<dyn Read + Send>, line_bytes_max: usize) -> Lines {
        Lines { reader: Some(reader), ..Lines::of(Vec::new(), line_bytes_max) }
    }

    /// The next line; blank ones too. A line longer than `line_bytes_max` is an error.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(at) = find(&self.buffer[self.searched..], b'\n') {
                let end = self.searched + at;
                return Ok(Some(self.take(end, end + 1, true)));
            }
            self.searched = self.buffer.len();
            if self.searched - self.next > self.line_bytes_max {
                let text = format!("line {} is longer than {} bytes", self.number + 1, self.line_bytes_max);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if !self.fill()? {
                let end = self.buffer.len();
                return Ok((end > self.next).then(|| self.take(end, end, false)));
            }
        }
    }

    fn take(&mut self, end: usize, next: usize, complete: bool) -> Line {
        let start = self.next;
        (self.next, self.searched) = (next, next);
        self.number += 1;
        let end = if end > start && self.buffer[end - 1] == b'\r' { end - 1 } else { end };
        Line { start, end, number: self.number, complete }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(reader) = self.reader.as_mut() else { return Ok(false) };
        self.buffer.drain(..self.next);
        (self.searched, self.next) = (self.searched - self.next, 0);
        let wanted = u64::try_from(READ_BYTES).unwrap_or(u64::MAX);
        let read = reader.take(wanted).read_to_end(&mut self.buffer)?;
        if read == 0 {
            self.reader = None;
        }
        Ok(read > 0)
    }

    /// The bytes of a line, until the next one is asked for; for a text in memory, for ever.
    pub(crate) fn text(&self, line: Line) -> &[u8] {
        &self.buffer[line.start..line.end]
    }

    /// The bytes of the line that begins at `start` of a text in memory.
    pub(crate) fn text_at(&self, start: usize) -> &[u8] {
        let rest = self.buffer.get(start..).unwrap_or_default();
        let line = &rest[..find(rest, b'\n').unwrap_or(rest.len())];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Leaves out the first bytes of the text.
    pub(crate) fn skip_bytes(&mut self, count: usize) {
        (self.next, self.searched) = (count, count);
    }

    /// The beginning of the text, without moving on.
    pub(crate) fn peek(&mut self) -> io::Result<&[u8]> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(&self.buffer[self.next..self.buffer.len().min(self.next + READ_BYTES)])
    }
}

/// The first place of a byte, eight at a time.
pub(crate) fn find(text: &[u8], byte: u8) -> Option<usize> {
    let mut chunks = text.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let found = matches(word(chunk), byte);
        if found != 0 {
            return Some(at + first(found));
        }
        at += 8;
    }
    chunks.remainder().iter().position(|&other| other == byte).map(|rest| at + rest)
}

fn word(chunk: &[u8]) -> u64 {
    chunk.try_into().map_or(0, u64::from_le_bytes)
}

/// The high bit of every byte that equals `byte`, and no other bit.
fn matches(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    !(((difference & LOW) + LOW) | difference | LOW)
}

fn first(found: u64) -> usize {
    usize::try_from(found.trailing_zeros() / 8).unwrap_or(0)
}

/// The fields of one row. Kept between rows, so that a row allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// First byte and end of each field, in the row or in `unquoted`.
    bounds: Vec<(usize, usize)>,
    unquoted: Vec<u8>,
    quoted: bool,
}

impl Fields {
    /// Splits a row; false if a quoted field does not end on its line.
    pub(crate) fn split(&mut self, row: &[u8], delimiter: Delimiter) -> bool {
        self.bounds.clear();
        self.quoted = false;
        if delimiter == Delimiter::Blanks {
            self.split_blanks(row);
            return true;
        }
        if self.split_plain(row, delimiter.byte()) {
            return true;
        }
        self.split_quoted(row, delimiter.byte())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// A field without the blanks around it; `row` is the row that was split.
    pub(crate) fn get<'a>(&'a self, row: &'a [u8], at: usize) -> &'a [u8] {
        let text = if self.quoted { &self.unquoted } else { row };
        let (start, end) = self.bounds.get(at).copied().unwrap_or_default();
        text.get(start..end).unwrap_or_default().trim_ascii()
    }

    /// False when a quote turns up.
    fn split_plain(&mut self, row: &[u8], delimiter: u8) -> bool {
        let (mut start, mut at) = (0, 0);
        let mut chunks = row.chunks_exact(8);
        for chunk in &mut chunks {
            let word = word(chunk);
            if matches(word, b'"') != 0 {
                return false;
            }
            let mut found = matches(word, delimiter);
            while found != 0 {
                let end = at + first(found);
                self.bounds.push((start, end));
                start = end + 1;
                found &= found - 1;
            }
            at += 8;
        }
        for (rest, &byte) in chunks.remainder().iter().enumerate() {
            if byte == b'"' {
                return false;
            }
            if byte == delimiter {
                self.bounds.push((start, at + rest));
                start = at + rest + 1;
            }
        }
        self.bounds.push((start, row.len()));
        true
    }

    fn split_quoted(&mut self, row: &[u8], delimiter: u8) -> bool {
        self.bounds.clear();
        self.unquoted.clear();
        self.quoted = true;
        let (mut start, mut inside) = (0, false);
        let mut bytes = row.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if inside && bytes.peek() == Some(&b'"') => {
                    bytes.next();
                    self.unquoted.push(b'"');
                }
                b'"' => inside = !inside,
                _ if byte == delimiter && !inside => {
                    self.bounds.push((start, self.unquoted.len()));
                    start = self.unquoted.len();
                }
                _ => self.unquoted.push(byte),
            }
        }
        self.bounds.push((start, self.unquoted.len()));
        !inside
    }

    fn split_blanks(&mut self, row: &[u8]) {
        let mut start = None;
        for (at, byte) in row.iter().enumerate() {
            match (byte.is_ascii_whitespace(), start) {
                (false, None) => start = Some(at),
                (true, Some(from)) => {
                    self.bounds.push((from, at));
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            self.bounds.push((from, row.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(row: &str, delimiter: Delimiter) -> Option<Vec<String>> {
        let mut fields = Fields::default();
        let whole = fields.split(row.as_bytes(), delimiter);
        let text = |at| String::from_utf8_lossy(fields.get(row.as_bytes(), at)).into_owned();
        whole.then(|| (0..fields.len()).map(text).collect())
    }

    fn lines(mut lines: Lines) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push((line.number, lines.text(line).to_vec()));
        }
        all
    }

    #[test]
    fn quotes_and_blanks_are_taken_off() {
        assert_eq!(fields(r#""a,b", c ,"d""e","#, Delimiter::Comma).unwrap(), ["a,b", "c", "d\"e", ""]);
        assert_eq!(
            fields("2022-03-01    16.69  13.65", Delimiter::Blanks).unwrap(),
            ["2022-03-01", "16.69", "13.65"]
        );
        assert_eq!(fields(r#"a,"b"#, Delimiter::Comma), None);
    }

    #[test]
    fn a_line_beyond_the_limit_is_an_error_and_not_memory() {
        let mut lines = Lines::from(Box::new(io::repeat(b'x')), 1024);
        let error = lines.next_line().unwrap_err();
        assert_eq!(error.to_string(), "line 1 is longer than 1024 bytes");
    }

    proptest! {
        #[test]
        fn a_row_splits_as_the_standard_library_splits_it(row in "[a-c,0-9. -]{0,60}") {
            let expected: Vec<String> = row.split(',').map(|field| field.trim().to_owned()).collect();
            prop_assert_eq!(fields(&row, Delimiter::Comma).unwrap(), expected);
        }

        #[test]
        fn a_stream_gives_the_lines_that_memory_gives(text in "([a-z]{0,30}\r?\n){0,30}[a-z]{0,5}") {
            let expected: Vec<(u64, Vec<u8>)> = text.lines().enumerate()
                .map(|(at, line)| (u64::try_from(at).unwrap() + 1, line.as_bytes().to_vec())).collect();
            let bytes = text.clone().into_bytes();
            prop_assert_eq!(lines(Lines::of(bytes.clone(), 100)), expected.clone());
            prop_assert_eq!(lines(Lines::from(Box::new(io::Cursor::new(bytes)), 100)), expected);
        }
    }
}
