//! What the bars of one answer say about each other: repeated keys, units, days without trading; and the rules of the
//! door, so that a refused bar counts as missing.
//!
//! Knows bars; must not know the service. The door judges again.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use chrono::NaiveDate;
use sqep::{
    Calendar, Chunk, Kind, Reason, Record, Refusal, Symbol,
    check::{Checker, Finding},
    symbol::Class,
    unit::{Alarm, Quanta, Verdict},
};

use crate::parse::Bar;

/// Examples shown in the letter of an answer that is refused whole.
const EXAMPLES_MAX: usize = 10;
/// Minutes of a day without any volume from which on the day counts as suspended.
const IDLE_MINUTES_MIN: usize = 4;
/// The service counts lots with two decimals and thousands of yuan with three.
const QUANTA: Quanta = Quanta { vol: 1.0, amount: 1.0 };

/// Sorts the bars of an answer and takes out what is none. Returns whether the answer as a whole was refused for its units:
/// then nothing of it counts.
pub fn judge<R: Bar>(chunk: &mut Chunk<R>, kind: Kind, calendar: &Calendar) -> bool {
    sort(chunk);
    if R::MINUTE {
        drop_idle(chunk);
    }
    let mut checker = Checker::new(calendar);
    sift(chunk, |record| checker.admit(record, kind).err());
    units(chunk)
}

/// Sorts by key and leaves one row a key: the same row again is skipped, of different ones the last stays.
fn sort<R: Bar>(chunk: &mut Chunk<R>) {
    let lines = mem::take(&mut chunk.lines);
    let mut rows: Vec<(R, u64)> = mem::take(&mut chunk.records).into_iter().zip(lines).collect();
    rows.sort_by(|a, b| order(&a.0, &b.0).then(a.1.cmp(&b.1)));
    for (record, line) in rows {
        let before = chunk.records.last().filter(|last| last.key() == record.key()).copied();
        match before {
            Some(before) if before == record => {
                *chunk.skipped.entry(Reason::Duplicate).or_default() += 1;
                continue;
            }
            Some(before) => {
                let value = "a later row of this answer has the same key and other values".to_owned();
                let finding = Finding { reason: Reason::Conflict, field: "frame".to_owned(), value };
                chunk.records.pop();
                let line = chunk.lines.pop().unwrap_or(0);
                chunk.refused.push(Refusal::of(line, &before, vec![finding]));
            }
            None => {}
        }
        chunk.records.push(record);
        chunk.lines.push(line);
    }
}

fn order<R: Record>(a: &R, b: &R) -> Ordering {
    a.key().cmp(&b.key())
}

/// A security whose every minute of a day is without volume was suspended.
fn drop_idle<R: Bar>(chunk: &mut Chunk<R>) {
    let mut idle: BTreeSet<(Symbol, NaiveDate)> = BTreeSet::new();
    for day in chunk.records.chunk_by(|a, b| (a.symbol(), a.day()) == (b.symbol(), b.day())) {
        let traded =
            |bar: &R| bar.turnover().is_none_or(|turnover| turnover.vol > 0.0 || turnover.amount > 0.0);
        if let Some(first) = day.first().filter(|first| first.symbol().class() != Class::Index)
            && day.len() >= IDLE_MINUTES_MIN
            && !day.iter().any(traded)
        {
            idle.insert((first.symbol(), first.day()));
        }
    }
    if !idle.is_empty() {
        let skipped = retain(chunk, |bar| !idle.contains(&(bar.symbol(), bar.day())));
        *chunk.skipped.entry(Reason::Suspended).or_default() += skipped;
    }
}

/// Keeps the bars that `keep` wants; returns how many went.
fn retain<R: Record>(chunk: &mut Chunk<R>, keep: impl Fn(&R) -> bool) -> u64 {
    let rows = mem::take(&mut chunk.records).into_iter().zip(mem::take(&mut chunk.lines));
    let mut gone = 0;
    for (record, line) in rows {
        if keep(&record) {
            chunk.records.push(record);
            chunk.lines.push(line);
        } else {
            gone += 1;
        }
    }
    gone
}

/// The unit alarm: over the answer as a whole, then over each security in it. One security of many proves nothing about
/// the others.
fn units<R: Bar>(chunk: &mut Chunk<R>) -> bool {
    let (mut all, mut examples, mut unchecked) = (Alarm::default(), Vec::new(), 0u64);
    let (mut securities, mut refused) = (0usize, BTreeMap::new());
    for of in chunk.records.chunk_by(|a, b| a.symbol() == b.symbol()) {
        let mut alarm = Alarm::default();
        for bar in of {
            match bar.turnover().filter(|_| Alarm::applies(bar.symbol().class())) {
                None => unchecked += 1,
                Some(row) if !alarm.add(row, QUANTA) && examples.len() < EXAMPLES_MAX => {
                    examples.push(format!("{bar:?}"));
                }
                Some(_) => {}
            }
        }
        securities += 1;
        if alarm.verdict() == Verdict::Refused {
            refused.extend(of.first().map(|bar| (bar.symbol(), summary(&alarm))));
        }
        all.merge(&alarm);
    }
    if unchecked > 0 {
        *chunk.warned.entry(Reason::UnitUnchecked).or_default() += unchecked;
    }
    let many = refused.len() > 1 || securities == 1;
    let whole = all.verdict() == Verdict::Refused && many;
    if whole {
        let findings = std::iter::once(summary(&all)).chain(examples).map(unit_finding).collect();
        withhold(chunk, findings, |_| true);
    } else {
        for (symbol, summary) in refused {
            withhold(chunk, vec![unit_finding(summary)], |bar| bar.symbol() == symbol);
        }
    }
    whole
}

fn summary(alarm: &Alarm) -> String {
    let (failed, checked) = (alarm.failed(), alarm.checked());
    format!("in {failed} of {checked} rows turnover / volume lies outside low to high: {}", alarm.guess())
}

fn unit_finding(value: String) -> Finding {
    Finding { reason: Reason::UnitsOrAdjusted, field: "amount".to_owned(), value }
}

/// One letter for all bars that are meant.
fn withhold<R: Record>(chunk: &mut Chunk<R>, findings: Vec<Finding>, meant: impl Fn(&R) -> bool) {
    let first = chunk.records.iter().zip(&chunk.lines).find(|(bar, _)| meant(bar));
    let Some((bar, line)) = first.map(|(bar, &line)| (*bar, line)) else { return };
    let rows = retain(chunk, |bar| !meant(bar));
    chunk.refused.push(Refusal { rows, ..Refusal::of(line, &bar, findings) });
}

/// Refuses the bars about which `findings` finds something.
fn sift<R: Record>(chunk: &mut Chunk<R>, mut findings: impl FnMut(&R) -> Option<Vec<Finding>>) {
    let rows = mem::take(&mut chunk.records).into_iter().zip(mem::take(&mut chunk.lines));
    for (record, line) in rows {
        if let Some(found) = findings(&record) {
            chunk.refused.push(Refusal::of(line, &record, found));
        } else {
            chunk.records.push(record);
            chunk.lines.push(line);
        }
    }
}
