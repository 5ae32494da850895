//! Which partitions of a stream a reader owns, as people write it: `0-3`, `0,2`, or nothing for all.

use anyhow::{Context, bail};

/// The partitions named by `text`, each once and in order; all of `0..partitions` if it names none.
pub(super) fn owned(text: &str, partitions: u16) -> anyhow::Result<Vec<u16>> {
    let mut owned = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim().parse::<u16>().with_context(|| {
                format!("reader.partitions {part:?} is neither a partition nor a range such as 0-3")
            })
        };
        owned.extend(number(from)?..=number(to)?);
    }
    if text.trim().is_empty() {
        owned.extend(0..partitions);
    }
    owned.sort_unstable();
    owned.dedup();
    match owned.last() {
        None => bail!("reader.partitions {text:?} names no partition"),
        Some(&last) if last >= partitions => bail!(
            "reader.partitions {text:?} names partition {last}, and stream.partitions = {partitions}: they are numbered \
             from 0"
        ),
        Some(_) => Ok(owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_numbers_are_read_and_nothing_means_all() {
        assert_eq!(owned("", 3).unwrap(), [0, 1, 2]);
        assert_eq!(owned("0-3", 8).unwrap(), [0, 1, 2, 3]);
        assert_eq!(owned(" 5, 0-1 ,1", 8).unwrap(), [0, 1, 5]);
        assert_eq!(owned("2", 3).unwrap(), [2]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_was_said() {
        for (text, word) in
            [("0-4", "partition 4"), ("a", "\"a\""), ("3-1", "no partition"), ("-1", "\"-1\"")]
        {
            let error = format!("{:#}", owned(text, 4).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
