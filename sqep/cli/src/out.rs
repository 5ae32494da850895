//! Lines on standard output and numbers as people read them. Must not know what they are about.

use std::{
    io::{self, ErrorKind, Write},
    time::Duration,
};

/// Writes a line. Whoever reads may have gone, as after `| head`; the work goes on without them.
pub(crate) fn say(line: &str) -> io::Result<()> {
    heard(line).map(drop)
}

/// Writes a line; `false`: nobody reads any more.
pub(crate) fn heard(line: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that leaves one to three digits before the point.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let (mut value, mut unit) = (float(number) / 1024.0, UNITS[0]);
    for next in &UNITS[1..] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// Milliseconds as people say them.
pub(crate) fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", float(ms) / 1e3),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// So many a second.
pub(crate) fn rate(number: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    number.saturating_mul(1_000) / ms
}

/// What each of `number` takes of `total`, one decimal.
pub(crate) fn each(total: u64, number: u64) -> String {
    format!("{:.1}", float(total) / float(number.max(1)))
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a figure for the eye")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// Columns under a header, each as wide as its widest cell; the first is flush left, the others right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([header[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cell = |(at, cell): (usize, &String)| {
            let width = widths[at];
            if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        cells.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    std::iter::once(line(&header)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([bytes(17), bytes(1536), bytes(5 << 30)], ["17 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(
            [age(999), age(1_500), age(600_000), age(86_400_000 * 3)],
            ["999 ms", "1.5 s", "10 min", "3 d"]
        );
        assert_eq!(rate(500, Duration::from_millis(250)), 2_000);
        assert_eq!(rate(500, Duration::ZERO), 500_000, "never divides by nothing");
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_cell() {
        let rows = [vec!["a".to_owned(), "1,000".to_owned()], vec!["longer".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), ["name        n", "a       1,000", "longer      7"]);
    }
}
