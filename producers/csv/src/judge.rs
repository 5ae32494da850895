//! What the records of a file say about each other: repeated keys, units, days without trading, jumps.
//!
//! Knows records in file order, one look at each; must not know text. Memory grows with securities, not with rows, as
//! long as the rows of each security are in order; the others get a second look.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    parse::{Outcome, Refused},
    repeat::{Fate, Sorter},
    row::{CLOSE_MINUTE, FromRow, IDLE_MINUTES_MIN, MINUTES_A_DAY, Traded, day, has_volume},
    tally::{EXAMPLES_MAX, Example, findings},
};
use sqep::{
    Reason, Symbol,
    check::Finding,
    symbol::Class,
    unit::{Alarm, Quanta, Verdict},
};

/// What a close may do from one row to the next before it is counted: no board's band is wider.
const JUMP_MAX: f64 = 0.45;
/// Day bars of one key and other values from which on they may be minutes, if they are more than a tenth of all rows.
const CONFLICTS_MIN: usize = 10;
/// Rows of a security from which on a new week at every step tells weekly bars.
const WEEKS_MIN: u64 = 8;

/// What was found out about the records of a file.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The security of all records, if they are of one.
    pub(crate) only: Option<Symbol>,
    /// Proofs against the file as a whole.
    pub(crate) whole: Vec<Finding>,
    /// Proofs against all records of a security.
    pub(crate) symbols: HashMap<Symbol, Vec<Finding>>,
    /// Records that a repeated key leaves out, by row from 0, sorted.
    pub(crate) fates: Vec<(u64, Fate)>,
    /// Days of minute bars without any volume.
    pub(crate) idle: HashSet<(Symbol, i64)>,
    /// The steps by which rows were measured, if a few failed and the file is sound.
    odd: Option<Quanta>,
}

impl Findings {
    /// Refuses a row that a factor between units explains, in a file that is sound otherwise.
    pub(crate) fn in_unit<R: FromRow>(&self, outcome: Outcome<R>) -> Outcome<R> {
        let (Some(quanta), Outcome::Record(record, _)) = (self.odd, &outcome) else { return outcome };
        let symbol = record.symbol();
        if self.symbols.contains_key(&symbol) || !Alarm::applies(symbol.class()) {
            return outcome;
        }
        let turnover = record.traded().and_then(Traded::turnover);
        let Some((turnover, guess)) = turnover.and_then(|row| Some((row, row.off_by(quanta)?))) else {
            return outcome;
        };
        let finding = Finding {
            reason: Reason::Unit,
            field: "vol".to_owned(),
            value: format!("vol {} amount {}: {guess}", turnover.vol, turnover.amount),
        };
        Outcome::Refused(Box::new(Refused { symbol: symbol.to_string(), findings: vec![finding] }))
    }
}

/// Looks at every record of a file once, in file order.
pub(crate) struct Judge<R> {
    quanta: Quanta,
    /// Whether more rows may be appended to the file, so that its last day may be unfinished.
    growing: bool,
    rows: usize,
    places: HashMap<Symbol, usize, BuildHasherDefault<ByInteger>>,
    seen: Vec<Seen<R>>,
    current: Option<(Symbol, usize)>,
    fates: Vec<(u64, Symbol, Fate)>,
    idle: HashSet<(Symbol, i64)>,
}

/// What is kept of the records of one security.
struct Seen<R> {
    symbol: Symbol,
    alarm: Alarm,
    examples: Vec<Example>,
    last: R,
    last_time: i64,
    last_row: u64,
    order: Order,
    /// Steps to another day, and those of them that stayed in their week.
    steps: u64,
    steps_in_week: u64,
    /// Whether any minute of the current day had volume.
    traded: bool,
    /// Different minutes of its last day.
    minutes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Unknown,
    Ascending,
    Descending,
    None,
}

impl Order {
    fn of(later: bool) -> Order {
        if later { Order::Ascending } else { Order::Descending }
    }
}

impl<R: FromRow> Judge<R> {
    pub(crate) fn new(quanta: Quanta, growing: bool) -> Judge<R> {
        Judge {
            quanta,
            growing,
            rows: 0,
            places: HashMap::default(),
            seen: Vec::new(),
            current: None,
            fates: Vec::new(),
            idle: HashSet::new(),
        }
    }

    /// Takes the record of a row; rows count from 0.
    pub(crate) fn see(&mut self, row: u64, line: u64, record: &R) {
        self.rows += 1;
        let time = record.time();
        let Some(at) = self.place(record.symbol()) else { return self.first(row, line, record, time) };
        let seen = &mut self.seen[at];
        if let Some(example) = unit(&mut seen.alarm, record, self.quanta, line) {
            keep(&mut seen.examples, example);
        }
        if time == seen.last_time {
            let fate = if *record == seen.last {
                (row, seen.symbol, Fate::Duplicate)
            } else {
                let earlier = (seen.last_row, seen.symbol, Fate::Conflict);
                (seen.last, seen.last_row) = (*record, row);
                seen.traded |= R::MINUTE && has_volume(record);
                earlier
            };
            return self.fates.push(fate);
        }
        let order = Order::of(time > seen.last_time);
        if seen.order == Order::Unknown {
            seen.order = order;
        } else if seen.order != order {
            seen.order = Order::None;
        }
        if R::MINUTE {
            if day(time) == day(seen.last_time) {
                seen.traded |= has_volume(record);
                seen.minutes += 1;
            } else {
                if !seen.traded && seen.minutes >= IDLE_MINUTES_MIN {
                    self.idle.insert((seen.symbol, day(seen.last_time)));
                }
                (seen.traded, seen.minutes) = (has_volume(record), 1);
            }
        } else {
            seen.steps += 1;
            seen.steps_in_week += u64::from(week(time) == week(seen.last_time));
        }
        (seen.last, seen.last_time, seen.last_row) = (*record, time, row);
    }

    fn place(&mut self, symbol: Symbol) -> Option<usize> {
        if let Some((current, at)) = self.current
            && current == symbol
        {
            return Some(at);
        }
        let at = *self.places.get(&symbol)?;
        self.current = Some((symbol, at));
        Some(at)
    }

    fn first(&mut self, row: u64, line: u64, record: &R, time: i64) {
        let symbol = record.symbol();
        let (mut alarm, mut examples) = (Alarm::default(), Vec::new());
        if let Some(example) = unit(&mut alarm, record, self.quanta, line) {
            keep(&mut examples, example);
        }
        self.places.insert(symbol, self.seen.len());
        self.current = Some((symbol, self.seen.len()));
        self.seen.push(Seen {
            symbol,
            alarm,
            examples,
            last: *record,
            last_time: time,
            last_row: row,
            order: Order::Unknown,
            steps: 0,
            steps_in_week: 0,
            traded: R::MINUTE && has_volume(record),
            minutes: 1,
        });
    }

    /// Securities whose rows are in no order; they need a second look by a [`Sorter`].
    pub(crate) fn unordered(&self) -> HashSet<Symbol> {
        self.seen.iter().filter(|seen| seen.order == Order::None).map(|seen| seen.symbol).collect()
    }

    /// What was found out, with the second look at the securities that needed one.
    pub(crate) fn findings(mut self, whole: Vec<Finding>, sorter: Sorter) -> Findings {
        let unordered = self.unordered();
        let mut fates: Vec<(u64, Fate)> = self
            .fates
            .iter()
            .filter(|(_, symbol, _)| !unordered.contains(symbol))
            .map(|&(row, _, fate)| (row, fate))
            .collect();
        self.idle.retain(|(symbol, _)| !unordered.contains(symbol));
        for seen in self.seen.iter().filter(|seen| seen.order != Order::None) {
            let unfinished = self.growing && seen.last_time.rem_euclid(MINUTES_A_DAY) < CLOSE_MINUTE;
            if R::MINUTE && !seen.traded && seen.minutes >= IDLE_MINUTES_MIN && !unfinished {
                self.idle.insert((seen.symbol, day(seen.last_time)));
            }
        }
        sorter.sort::<R>(&mut fates, &mut self.idle);
        self.idle.retain(|(symbol, _)| symbol.class() != Class::Index);
        fates.sort_by_key(|&(row, _)| row);
        let (units, symbols) = self.units();
        let failed = self.seen.iter().any(|seen| seen.alarm.failed() > 0);
        let coarse =
            if R::PRICED && !R::MINUTE { self.finer(&fates).or_else(|| self.weekly()) } else { None };
        let only = match self.seen.as_slice() {
            [seen] => Some(seen.symbol),
            _ => None,
        };
        Findings {
            only,
            whole: whole.into_iter().chain(coarse).chain(units).collect(),
            symbols,
            fates,
            idle: self.idle,
            odd: failed.then_some(self.quanta),
        }
    }

    /// A file of minute bars whose times were left out.
    fn finer(&self, fates: &[(u64, Fate)]) -> Option<Finding> {
        let conflicts = fates.iter().filter(|(_, fate)| *fate == Fate::Conflict).count();
        (conflicts >= CONFLICTS_MIN && fates.len() * 10 > self.rows).then(|| {
            let (again, rows) = (fates.len(), self.rows);
            let value =
                format!("{again} of {rows} rows repeat a day: several rows a day: these are minute bars");
            Finding { reason: Reason::FrameIllegal, field: "frame".to_owned(), value }
        })
    }

    /// A file of weekly or monthly bars: in order, and no two of a security in one week.
    fn weekly(&self) -> Option<Finding> {
        let mut long = self.seen.iter().filter(|seen| seen.steps + 1 >= WEEKS_MIN).peekable();
        long.peek()?;
        long.all(|seen| seen.order != Order::None && seen.steps_in_week == 0).then(|| {
            let value = "no security has two rows in one week: these look like weekly bars (or monthly ones)";
            Finding { reason: Reason::FrameIllegal, field: "frame".to_owned(), value: value.to_owned() }
        })
    }

    /// The verdict of the unit alarm: on the file if more than 1 % of its rows fail, else on each security.
    fn units(&self) -> (Vec<Finding>, HashMap<Symbol, Vec<Finding>>) {
        let mut all = Alarm::default();
        for seen in &self.seen {
            all.merge(&seen.alarm);
        }
        if all.verdict() == Verdict::Refused {
            let mut examples: Vec<Example> =
                self.seen.iter().flat_map(|seen| seen.examples.iter().cloned()).collect();
            examples.sort_by_key(|example| example.line);
            return (alarm_findings(&all, &examples), HashMap::new());
        }
        let failed = self.seen.iter().filter(|seen| seen.alarm.verdict() == Verdict::Refused);
        (Vec::new(), failed.map(|seen| (seen.symbol, alarm_findings(&seen.alarm, &seen.examples))).collect())
    }
}

fn keep(examples: &mut Vec<Example>, example: Example) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(example);
    }
}

fn alarm_findings(alarm: &Alarm, examples: &[Example]) -> Vec<Finding> {
    let summary = format!(
        "in {} of {} rows turnover / volume lies outside low to high: {}",
        alarm.failed(),
        alarm.checked(),
        alarm.guess()
    );
    findings(Reason::UnitsOrAdjusted, "amount", summary, examples)
}

/// Shows a row to the unit alarm; what it says if the row fails.
fn unit<R: FromRow>(alarm: &mut Alarm, record: &R, quanta: Quanta, line: u64) -> Option<Example> {
    if !Alarm::applies(record.symbol().class()) {
        return None;
    }
    let turnover = record.traded()?.turnover()?;
    if alarm.add(turnover, quanta) {
        return None;
    }
    let text = format!(
        "{} low {} high {} vol {} amount {}: {:.4} yuan a share",
        record.symbol(),
        turnover.low,
        turnover.high,
        turnover.vol,
        turnover.amount,
        turnover.amount / turnover.vol
    );
    Some(Example { line, text })
}

/// The week of a day since 1970-01-01, a Thursday; weeks begin on Mondays, as ISO 8601 has them.
fn week(day: i64) -> i64 {
    (day + 3).div_euclid(7)
}

/// Finds closes that leave the band of any board from one row of a security to the next.
#[derive(Debug, Default)]
pub(crate) struct Jumps {
    last: HashMap<Symbol, (i64, f64, Option<f64>), BuildHasherDefault<ByInteger>>,
}

impl Jumps {
    /// Whether the close of this record jumped, in either order of time, without a change of factor.
    pub(crate) fn see<R: FromRow>(&mut self, record: &R) -> bool {
        let Some(traded) = record.traded() else { return false };
        let now = (record.time(), traded.close, traded.adjust);
        let Some(before) = self.last.insert(record.symbol(), now) else { return false };
        let (earlier, later) = if before.0 <= now.0 { (before, now) } else { (now, before) };
        (later.1 / earlier.1 - 1.0).abs() > JUMP_MAX && later.2 == earlier.2
    }
}

/// Symbols are integers already; a multiplication spreads them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ByInteger(u64);

impl Hasher for ByInteger {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn write_i32(&mut self, value: i32) {
        self.0 = u64::from(value.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
