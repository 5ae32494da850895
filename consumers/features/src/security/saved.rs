//! A security as bytes of a snapshot, and back. Knows the order of its parts; must not know when a snapshot is due.

use chrono::NaiveDate;
use sqep::{Calendar, Record, Symbol};

use super::{Said, Security};
use crate::{
    Facts,
    engine::Engine,
    save::{Reader, Save, SnapshotError},
};

impl<E: Engine> Security<E> {
    /// Appends its state to a snapshot.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let base = self.base.save();
        self.symbol.get().save(out);
        length(base.len()).save(out);
        out.extend_from_slice(&base);
        self.before.save(out);
        self.earlier.save(out);
        self.first.save(out);
        self.last.save(out);
        self.owed.save(out);
        length(self.bars.len()).save(out);
        for (bar, version) in &self.bars {
            save_record(bar, out);
            version.save(out);
        }
        length(self.days.len()).save(out);
        for (day, facts) in &self.days {
            day.save(out);
            save_facts(facts, out);
        }
        length(self.said.len()).save(out);
        for said in &self.said {
            said.day.save(out);
            said.version.save(out);
            save_facts(&said.facts, out);
        }
    }

    /// The next security of a snapshot.
    pub(crate) fn load(reader: &mut Reader<'_>, calendar: &Calendar) -> Result<Security<E>, SnapshotError> {
        let value = i32::load(reader)?;
        let illegal = |_| SnapshotError::Value { field: "a symbol", value: value.into() };
        let symbol = Symbol::from_i32(value).map_err(illegal)?;
        let bytes = u32::load(reader)?;
        let base = E::load(reader.bytes(count(bytes))?)?;
        let (before, earlier) = (i64::load(reader)?, u64::load(reader)?);
        let (first, last, owed) = (i64::load(reader)?, i64::load(reader)?, Option::load(reader)?);
        let mut found = Security {
            before,
            earlier,
            first,
            last,
            owed,
            head: base.clone(),
            base,
            ..Security::new(symbol)
        };
        for _ in 0..u32::load(reader)? {
            found.bars.push_back((load_record(reader)?, u64::load(reader)?));
        }
        for _ in 0..u32::load(reader)? {
            found.days.push((NaiveDate::load(reader)?, load_facts(reader)?));
        }
        for _ in 0..u32::load(reader)? {
            let (day, version) = (NaiveDate::load(reader)?, u64::load(reader)?);
            found.said.push(Said { day, version, facts: load_facts(reader)? });
        }
        found.again(i64::MAX, calendar, &mut Vec::new());
        Ok(found)
    }
}

fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn save_facts(facts: &Facts, out: &mut Vec<u8>) {
    let Facts { adjust, st, buy_limit, sell_limit } = *facts;
    st.save(out);
    [adjust, buy_limit, sell_limit].save(out);
}

fn load_facts(reader: &mut Reader<'_>) -> Result<Facts, SnapshotError> {
    let st = Option::load(reader)?;
    let [adjust, buy_limit, sell_limit] = <[Option<f64>; 3]>::load(reader)?;
    Ok(Facts { adjust, st, buy_limit, sell_limit })
}

/// A record by its cells, each behind a byte that says what it is.
fn save_record<R: Record>(record: &R, out: &mut Vec<u8>) {
    use sqep::record::Cell;
    for at in 0..R::FIELDS.len() {
        match record.get(at) {
            Cell::Null => 0u8.save(out),
            Cell::Symbol(symbol) => {
                1u8.save(out);
                symbol.get().save(out);
            }
            Cell::Date(date) => {
                2u8.save(out);
                date.save(out);
            }
            Cell::Minute(minute) => {
                3u8.save(out);
                minute.save(out);
            }
            Cell::Float(value) => {
                4u8.save(out);
                value.save(out);
            }
            Cell::Bool(value) => {
                5u8.save(out);
                value.save(out);
            }
            Cell::Integer(value) => {
                6u8.save(out);
                value.save(out);
            }
        }
    }
}

fn load_record<R: Record>(reader: &mut Reader<'_>) -> Result<R, SnapshotError> {
    use sqep::record::Cell;
    let mut record = R::blank();
    for at in 0..R::FIELDS.len() {
        let cell = match u8::load(reader)? {
            0 => Cell::Null,
            1 => {
                let value = i32::load(reader)?;
                let illegal = |_| SnapshotError::Value { field: "a symbol", value: value.into() };
                Cell::Symbol(Symbol::from_i32(value).map_err(illegal)?)
            }
            2 => Cell::Date(Save::load(reader)?),
            3 => Cell::Minute(Save::load(reader)?),
            4 => Cell::Float(Save::load(reader)?),
            5 => Cell::Bool(Save::load(reader)?),
            6 => Cell::Integer(Save::load(reader)?),
            value => return Err(SnapshotError::Value { field: "the type of a cell", value: value.into() }),
        };
        record.set(at, cell);
    }
    Ok(record)
}
