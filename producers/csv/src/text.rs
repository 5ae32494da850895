//! Bytes to text and back. Knows UTF-8 and GB18030; must not know lines.

use std::borrow::Cow;

use encoding_rs::GB18030;

use crate::dialect::Encoding;

/// How the bytes of a file become text. Delimiters, digits and line ends are ASCII in both, and no byte of a GB18030
/// character looks like one of them, so rows are split as bytes and only shown as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Utf8,
    Gb18030,
}

impl Coding {
    /// What the beginning of a file is written in. Chinese in GB18030 is not valid UTF-8 but by rare accident.
    pub(crate) fn of(head: &[u8]) -> Coding {
        match std::str::from_utf8(head) {
            Err(error) if error.error_len().is_some() => Coding::Gb18030,
            _ => Coding::Utf8,
        }
    }

    pub(crate) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match (self, std::str::from_utf8(bytes)) {
            (_, Ok(text)) if self == Coding::Utf8 || text.is_ascii() => Cow::Borrowed(text),
            (Coding::Utf8, _) => String::from_utf8_lossy(bytes),
            (Coding::Gb18030, _) => GB18030.decode_without_bom_handling(bytes).0,
        }
    }

    pub(crate) fn encode(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Coding::Utf8 => Cow::Borrowed(text.as_bytes()),
            Coding::Gb18030 => GB18030.encode(text).0,
        }
    }
}

impl From<Encoding> for Coding {
    fn from(encoding: Encoding) -> Coding {
        match encoding {
            Encoding::Utf8 | Encoding::Utf8Bom => Coding::Utf8,
            Encoding::Gb18030 => Coding::Gb18030,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_told_apart_by_its_bytes() {
        for coding in [Coding::Utf8, Coding::Gb18030] {
            let bytes = coding.encode("日期,股票代码").into_owned();
            assert_eq!(Coding::of(&bytes), coding);
            assert_eq!(coding.decode(&bytes), "日期,股票代码");
        }
        let cut = &Coding::Utf8.encode("日期")[..4];
        assert_eq!(Coding::of(cut), Coding::Utf8, "a character cut off at the end proves nothing");
    }
}
