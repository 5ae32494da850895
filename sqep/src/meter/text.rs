//! Meters as Prometheus reads them: text format 0.0.4. Knows names, units and labels; must not know where numbers come
//! from.

use std::fmt::{self, Display, Formatter, Write};

use super::{LATENCY_MS, Loop, Meter, Meters, Reading};

/// One metric: name, type, what it says, and its samples of one loop.
type Family = (&'static str, &'static str, &'static str, fn(&mut Samples<'_>));

/// Of the program, not of a loop.
const DEGRADED: &str = "sqep_source_degraded";

const FAMILIES: &[Family] = &[
    (
        "sqep_rows_total",
        "counter",
        "Rows, in (read from the source, or fetched and settled) and out (on the stream, or durable in the sink).",
        |to| {
            to.add("", &[("direction", "in")], to.now.rows_in);
            to.add("", &[("direction", "out")], to.now.rows_out);
        },
    ),
    ("sqep_entries_total", "counter", "Entries appended to the stream, or settled.", |to| {
        to.add("", &[], to.now.entries);
    }),
    ("sqep_stream_bytes_total", "counter", "Bytes of the entries appended, or settled.", |to| {
        let direction = if to.reads() { "in" } else { "out" };
        to.add("", &[("direction", direction)], to.now.bytes);
    }),
    ("sqep_rows_refused_total", "counter", "Rows in the dead letters, by the rule they broke.", |to| {
        for (reason, count) in &to.now.refused {
            to.add("", &[("reason", reason.code())], count);
        }
    }),
    ("sqep_rows_skipped_total", "counter", "Rows that are no bars, by reason.", |to| {
        for (reason, count) in &to.now.skipped {
            to.add("", &[("reason", reason.code())], count);
        }
    }),
    ("sqep_dead_letters_total", "counter", "Dead letters written.", |to| to.add("", &[], to.now.letters)),
    ("sqep_retries_total", "counter", "Tries that failed and are made again, by what failed.", |to| {
        for what in to.may_fail() {
            to.add("", &[("what", what)], to.now.retries.get(what).unwrap_or(&0));
        }
    }),
    (
        "sqep_batch_latency_seconds",
        "histogram",
        "From the id of a batch's oldest entry to the batch being durable in the sink.",
        latency,
    ),
    ("sqep_lag_entries", "gauge", "Entries of the stream that the group has not settled.", |to| {
        if let Some(behind) = to.now.behind {
            to.add("", &[], behind.entries);
        }
    }),
    (
        "sqep_lag_seconds",
        "gauge",
        "Age of the oldest entry that the group has not settled, 0 if none.",
        |to| {
            if let Some(ms) = to.meter.lag_ms() {
                to.add("", &[], Seconds(ms));
            }
        },
    ),
    ("sqep_connected", "gauge", "Whether the server answers.", |to| {
        to.add("", &[], u8::from(to.now.connected));
    }),
    ("sqep_lease_held", "gauge", "Whether this reader holds the lease of its group and partition.", |to| {
        if to.reads() {
            to.add("", &[], u8::from(to.now.lease));
        }
    }),
    ("sqep_held_back", "gauge", "Whether the publisher waits for readers or for memory.", |to| {
        if !to.reads() {
            to.add("", &[], u8::from(to.now.held_back.is_some()));
        }
    }),
    ("sqep_moving", "gauge", "Whether the loop moves: no step of it lasts longer than it may.", |to| {
        to.add("", &[], u8::from(to.meter.moves().is_ok()));
    }),
    ("sqep_last_progress_timestamp_seconds", "gauge", "When rows came through last.", |to| {
        if let Some(ms) = to.now.progress_ms {
            to.add("", &[], Seconds(ms));
        }
    }),
    ("sqep_last_error_timestamp_seconds", "gauge", "When something failed last.", |to| {
        if let Some((ms, _)) = to.now.error {
            to.add("", &[], Seconds(ms));
        }
    }),
];

/// Everything a program's loops count. Every metric is named, with or without samples.
pub fn render(meters: &Meters) -> String {
    let mut text = String::new();
    let all: Vec<_> = meters.all().into_iter().map(|meter| (meter.read(), meter)).collect();
    for (name, type_, help, samples) in FAMILIES {
        let mut lines = String::new();
        for (now, meter) in &all {
            samples(&mut Samples { name, meter, now, lines: &mut lines });
        }
        line(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {type_}\n{lines}"));
    }
    let degraded = meters.degraded().map(|degraded| format!("{DEGRADED} {}\n", u8::from(degraded)));
    let (help, lines) = (
        "Whether the source gives less than it should: its other side is away, cut off or silent.",
        degraded.unwrap_or_default(),
    );
    line(&mut text, format_args!("# HELP {DEGRADED} {help}\n# TYPE {DEGRADED} gauge\n{lines}"));
    text
}

/// The samples of one metric of one loop, as they are written.
struct Samples<'a> {
    name: &'a str,
    meter: &'a Meter,
    now: &'a Reading,
    lines: &'a mut String,
}

impl Samples<'_> {
    fn reads(&self) -> bool {
        matches!(self.meter.of, Loop::Deliver { .. })
    }

    /// What is tried again if it fails: named from the start, so that a rate has a zero to begin at.
    fn may_fail(&self) -> &'static [&'static str] {
        if self.reads() { &["server", "sink", "mark", "burial", "lease"] } else { &["server", "conflict"] }
    }

    fn add(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let (name, meter) = (self.name, self.meter);
        let mut all = format!("kind=\"{}\"", meter.kind);
        match &meter.of {
            Loop::Publish { source } => line(&mut all, format_args!(",source=\"{}\"", Escaped(source))),
            Loop::Deliver { group, partition } => {
                line(&mut all, format_args!(",partition=\"{partition}\",group=\"{}\"", Escaped(group)));
            }
        }
        for (label, text) in labels {
            line(&mut all, format_args!(",{label}=\"{}\"", Escaped(text)));
        }
        line(self.lines, format_args!("{name}{suffix}{{{all}}} {value}\n"));
    }
}

fn latency(to: &mut Samples<'_>) {
    if !to.reads() {
        return;
    }
    let (mut sum, counts) = (0, to.now.latency.counts);
    let bounds = LATENCY_MS.iter().map(|&ms| Seconds(ms).to_string()).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(counts) {
        sum += count;
        to.add("_bucket", &[("le", &bound)], sum);
    }
    to.add("_sum", &[], Seconds(to.now.latency.sum_ms));
    to.add("_count", &[], sum);
}

/// Writing to a text cannot fail.
fn line(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).unwrap_or_default();
}

/// Milliseconds, written as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1_000, self.0 % 1_000);
        match format!("{ms:03}").trim_end_matches('0') {
            "" => write!(f, "{seconds}"),
            rest => write!(f, "{seconds}.{rest}"),
        }
    }
}

/// A label's value: backslash, quote and line feed escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

impl Display for Meter {
    /// As a person names the loop: `bar:1d of csv`, `bar:1d/0 for parquet`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.of {
            Loop::Publish { source } => write!(f, "{} of {source}", self.kind),
            Loop::Deliver { group, partition } => write!(f, "{}/{partition} for {group}", self.kind),
        }
    }
}
