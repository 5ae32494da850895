//! What people see of a run: a bar on a terminal, lines elsewhere, a line a file and the sum at the end.
//!
//! Knows outcomes and counts; must not know how rows are read nor where they go.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sqep::{Reason, Refusal, Totals, check::Finding};

use crate::ledger::Why;

/// Files that went wrong and are named at the end; more are only counted.
const NAMED_FILES_MAX: usize = 1_000;

/// Refusals of one file and one reason that are shown; the letters hold all of them.
const EXAMPLES_MAX: usize = 3;

/// How often a line says how far the judging of a large file is, where there is no bar.
const JUDGED: Duration = Duration::from_secs(10);

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 160;

/// The first refusals of a file, by reason, as lines for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    lines: BTreeMap<Reason, Vec<String>>,
}

impl Examples {
    /// Keeps a finding on a line of `file`, if it is among the first of its reason.
    pub fn add(&mut self, file: &str, line: u64, finding: &Finding) {
        let lines = self.lines.entry(finding.reason).or_default();
        if lines.len() < EXAMPLES_MAX {
            let value: String = finding.value.chars().take(VALUE_CHARS_MAX).collect();
            let field = if finding.field.is_empty() { "row" } else { &finding.field };
            lines.push(format!("{file}:{line} {field} {value:?}: {}", finding.reason));
        }
    }

    /// Keeps a refusal. One of many rows tells first what was found, then where; the first rule names any other.
    pub fn refused(&mut self, file: &str, refusal: &Refusal) {
        let told = if refusal.rows > 1 { EXAMPLES_MAX } else { 1 };
        for finding in refusal.findings.iter().take(told) {
            match finding.value.strip_prefix("line ").and_then(|text| text.split_once(": ")) {
                Some((line, value)) if refusal.rows > 1 => {
                    let place = line.parse().unwrap_or(refusal.row);
                    self.add(file, place, &Finding { value: value.to_owned(), ..finding.clone() });
                }
                _ => self.add(file, refusal.row, finding),
            }
        }
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        self.lines.values().flatten().cloned().collect()
    }
}

/// What became of one file in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows, or its new rows, were handed on.
    Published {
        /// Why it was read.
        why: Why,
        /// Rows that were done before this run.
        before: u64,
    },
    /// Nothing was to be done.
    Unchanged,
    /// Refused as a whole: nothing of it is on the stream.
    Refused {
        /// Under which rule.
        reason: Reason,
        /// What was found and what to do.
        what: String,
        /// The same content was refused before, so no second letter was written.
        again: bool,
    },
    /// It could not be read, or not to its end.
    Failed {
        /// Why, and what to do.
        error: String,
    },
}

/// One file at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// Its name.
    pub key: String,
    /// The dialect it was read by; empty if it never came to that.
    pub dialect: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What became of its rows in this run.
    pub totals: Totals,
    /// The first of the rows that were refused.
    pub examples: Examples,
}

/// The run so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files whose rows were handed on.
    pub published: u64,
    /// Files that needed nothing.
    pub unchanged: u64,
    /// Files refused as a whole, or row by row without one that was published.
    pub refused: u64,
    /// Files and folders that could not be read.
    pub failed: u64,
    /// What became of the rows of the files that ended.
    pub totals: Totals,
    /// The files refused or not read, each with why and what to do.
    pub wrong: BTreeMap<String, String>,
}

impl Summary {
    /// Whether every file was published or needed nothing.
    pub fn is_clean(&self) -> bool {
        self.refused + self.failed == 0
    }
}

/// Where progress is shown and results are written.
pub struct Report {
    view: Mutex<View>,
    bar: ProgressBar,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("summary", &self.view().summary).finish_non_exhaustive()
    }
}

struct View {
    out: Box<dyn Write + Send>,
    /// The last word on a file counts: in a long run it can come more than once.
    ends: BTreeMap<String, Mark>,
    summary: Summary,
    files: u64,
    ended: u64,
    rows: u64,
    /// When it was last said that a file is judged.
    judged: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Published,
    Unchanged,
    Refused,
    Failed,
}

impl Report {
    /// Lines go to `out`; with `bar` a progress bar is drawn on the terminal's standard error.
    pub fn new(out: Box<dyn Write + Send>, bar: bool) -> Report {
        let target = if bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{bar:30} {percent:>3} % of {total_bytes}  {msg}  {elapsed} gone, {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let view = View {
            out,
            ends: BTreeMap::new(),
            summary: Summary::default(),
            files: 0,
            ended: 0,
            rows: 0,
            judged: Instant::now(),
        };
        Report { view: Mutex::new(view), bar }
    }

    /// So many files, of so many bytes, are to be looked at from now on; what was announced before is forgotten.
    pub fn expect(&self, files: usize, bytes: u64) {
        let mut view = self.view();
        view.files = u64::try_from(files).unwrap_or(u64::MAX);
        view.ended = 0;
        self.bar.set_length(bytes);
        self.bar.set_position(0);
    }

    /// Rows were handed on, and the file moved by so many bytes.
    pub fn moved(&self, rows: u64, bytes: u64) {
        let mut view = self.view();
        view.rows += rows;
        self.bar.inc(bytes);
        self.bar.set_message(view.message(self.bar.elapsed().as_secs_f64()));
    }

    /// A file ended.
    pub fn ended(&self, line: &FileLine) {
        let mut view = self.view();
        view.ended += 1;
        view.count(line);
        self.bar.set_message(view.message(self.bar.elapsed().as_secs_f64()));
        if line.outcome != Outcome::Unchanged {
            view.say(&self.bar, &line.to_string());
        }
        for example in line.examples.lines() {
            view.say(&self.bar, &format!("  {example}"));
        }
    }

    /// A file is looked at, and none of its rows can be handed on before the last one was.
    pub fn judging(&self, key: &str, consumed: u64, size: u64) {
        let percent = u128::from(consumed) * 100 / u128::from(size.max(1));
        let text = format!("judging {key}: {percent} %");
        let mut view = self.view();
        if self.bar.is_hidden() && view.judged.elapsed() >= JUDGED {
            view.judged = Instant::now();
            view.say(&self.bar, &text);
        }
        self.bar.set_message(text);
    }

    /// An argument or a folder could not be read.
    pub fn missing(&self, name: &str, error: &str) {
        let line = FileLine {
            key: name.to_owned(),
            dialect: String::new(),
            outcome: Outcome::Failed { error: error.to_owned() },
            totals: Totals::default(),
            examples: Examples::default(),
        };
        let mut view = self.view();
        view.count(&line);
        view.say(&self.bar, error);
    }

    /// Writes a line of its own.
    pub fn say(&self, text: &str) {
        self.view().say(&self.bar, text);
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The run so far.
    pub fn summary(&self) -> Summary {
        self.view().summary.clone()
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn say(&mut self, bar: &ProgressBar, text: &str) {
        // Nobody reads any more, as after `| head`: the rows matter, not the lines.
        let written = bar.suspend(|| writeln!(self.out, "{text}").and_then(|()| self.out.flush()));
        if let Err(error) = written {
            tracing::debug!(%error, "a line could not be written");
        }
    }

    fn message(&self, seconds: f64) -> String {
        let rate = if seconds > 0.0 { rate(self.rows, seconds) } else { 0 };
        format!(
            "{} of {} files, {} rows, {} rows/s",
            HumanCount(self.ended),
            HumanCount(self.files),
            HumanCount(self.rows),
            HumanCount(rate)
        )
    }

    fn count(&mut self, line: &FileLine) {
        let mark = Mark::of(line);
        let before = self.ends.get(&line.key).copied();
        // A file that this run published and then found as it left it stays published.
        if mark == Mark::Unchanged && before.is_some() {
            return;
        }
        if let Some(before) = before {
            *before.place(&mut self.summary) -= 1;
        }
        *mark.place(&mut self.summary) += 1;
        self.ends.insert(line.key.clone(), mark);
        self.summary.totals.add(&line.totals);
        self.summary.wrong.remove(&line.key);
        if let Some(why) = line.problem()
            && self.summary.wrong.len() < NAMED_FILES_MAX
        {
            self.summary.wrong.insert(line.key.clone(), why);
        }
    }
}

impl Mark {
    fn of(line: &FileLine) -> Mark {
        match &line.outcome {
            Outcome::Published { .. } if line.is_barren() => Mark::Refused,
            Outcome::Published { .. } => Mark::Published,
            Outcome::Unchanged => Mark::Unchanged,
            Outcome::Refused { .. } => Mark::Refused,
            Outcome::Failed { .. } => Mark::Failed,
        }
    }

    fn place(self, summary: &mut Summary) -> &mut u64 {
        match self {
            Mark::Published => &mut summary.published,
            Mark::Unchanged => &mut summary.unchanged,
            Mark::Refused => &mut summary.refused,
            Mark::Failed => &mut summary.failed,
        }
    }
}

impl Outcome {
    fn problem(&self) -> Option<String> {
        match self {
            Outcome::Published { .. } | Outcome::Unchanged => None,
            Outcome::Refused { reason, what, again } => {
                let before = if *again { " (as before: no second letter)" } else { "" };
                Some(format!("refused whole as {reason}: {what}{before}"))
            }
            Outcome::Failed { error } => Some(format!("not read: {error}")),
        }
    }
}

impl FileLine {
    /// Whether rows of it were refused and none was handed on.
    fn is_barren(&self) -> bool {
        self.totals.appended == 0 && self.totals.refused() > 0
    }

    fn problem(&self) -> Option<String> {
        let barren = || {
            self.is_barren().then(|| format!("none of the rows read was published: {}", Counts(&self.totals)))
        };
        self.outcome.problem().or_else(barren)
    }
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(problem) = self.outcome.problem() {
            f.write_str(&problem)?;
            return if self.totals.read > 0 { write!(f, "; {}", Counts(&self.totals)) } else { Ok(()) };
        }
        match &self.outcome {
            Outcome::Published { why, before: 0 } => write!(f, "{}, {}: ", self.dialect, why.word())?,
            Outcome::Published { why, before } => {
                write!(f, "{}, {} after {before} rows: ", self.dialect, why.word())?;
            }
            _ => return f.write_str("unchanged"),
        }
        write!(f, "{}", Counts(&self.totals))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.published + self.unchanged + self.refused + self.failed;
        let Summary { published, unchanged, refused, failed, .. } = self;
        writeln!(
            f,
            "files {files} = published {published} + unchanged {unchanged} + refused whole {refused} + not read {failed}"
        )?;
        write!(f, "rows {}", Counts(&self.totals))?;
        for (key, why) in &self.wrong {
            write!(f, "\n  {key}: {why}")?;
        }
        Ok(())
    }
}

/// Counts as an equation that a reader can check.
#[derive(Debug)]
pub struct Counts<'a>(pub &'a Totals);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts(totals) = self;
        write!(
            f,
            "read {} = appended {} + refused {}{} + skipped {}{}",
            totals.read,
            totals.appended,
            totals.refused(),
            by_reason(&totals.refused),
            totals.skipped(),
            by_reason(&totals.skipped),
        )?;
        if totals.warned.is_empty() { Ok(()) } else { write!(f, "; warned{}", by_reason(&totals.warned)) }
    }
}

fn by_reason(counts: &BTreeMap<Reason, u64>) -> String {
    let mut text = String::new();
    for (at, (reason, count)) in counts.iter().filter(|&(_, &count)| count > 0).enumerate() {
        let before = if at == 0 { " (" } else { ", " };
        // Writing to a text does not fail.
        if write!(text, "{before}{reason} {count}").is_err() {
            break;
        }
    }
    if !text.is_empty() {
        text.push(')');
    }
    text
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate for the eye"
)]
fn rate(rows: u64, seconds: f64) -> u64 {
    (rows as f64 / seconds) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_says_how_far_its_judging_is() {
        let report = Report::new(Box::new(std::io::sink()), true);
        report.judging("bars.csv", 34, 100);
        assert_eq!(report.bar.message(), "judging bars.csv: 34 %");
        report.judging("empty.csv", 0, 0);
        assert_eq!(report.bar.message(), "judging empty.csv: 0 %");
    }
}
