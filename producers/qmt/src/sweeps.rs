//! Since when everything was looked at. Knows acknowledgements and when they were said; must not know bars nor clocks of
//! other machines.
//!
//! An agent says after each look at all securities which of our acknowledgements it had heard when that look began. So
//! the look began later than we said it, by our own clock: whatever the agent's clock shows, and however long its lines
//! waited on the way.

use std::collections::{BTreeMap, HashMap};

use chrono::{NaiveDateTime, TimeDelta};

/// Acknowledgements of an agent that are remembered: at one a second, of two hours. No longer look is known to be whole.
const ACKS_MAX: usize = 7_200;

/// What is known of the looks of all agents.
#[derive(Debug, Default)]
pub struct Sweeps {
    acks: HashMap<u64, BTreeMap<u64, NaiveDateTime>>,
    swept: NaiveDateTime,
    took: TimeDelta,
}

impl Sweeps {
    /// An acknowledgement is said to an agent.
    pub fn acked(&mut self, agent: u64, seq: u64, now: NaiveDateTime) {
        let acks = self.acks.entry(agent).or_default();
        acks.entry(seq).or_insert(now);
        while acks.len() > ACKS_MAX {
            acks.pop_first();
        }
    }

    /// An agent has looked at everything since it heard an acknowledgement. It says so again until its next look is whole.
    pub fn swept(&mut self, agent: u64, ack: u64, now: NaiveDateTime) {
        if let Some(&at) =
            self.acks.get(&agent).and_then(|acks| acks.get(&ack)).filter(|&&at| at > self.swept)
        {
            (self.swept, self.took) = (at, now - at);
        }
    }

    /// An agent is gone.
    pub fn gone(&mut self, agent: u64) {
        self.acks.remove(&agent);
    }

    /// When the last look began at the earliest.
    pub fn at(&self) -> NaiveDateTime {
        self.swept
    }

    /// How long the last look took at most.
    pub fn took(&self) -> TimeDelta {
        self.took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_began_after_what_its_agent_had_heard_and_nothing_else_counts() {
        let at = |text: &str| format!("2025-01-02T{text}").parse::<NaiveDateTime>().unwrap();
        let mut sweeps = Sweeps::default();
        sweeps.acked(1, 5, at("10:00:00"));
        sweeps.acked(1, 5, at("10:00:09"));
        sweeps.acked(1, 6, at("10:00:05"));
        let now = at("10:00:20");
        sweeps.swept(2, 5, now);
        sweeps.swept(1, 7, now);
        assert_eq!(sweeps.at(), NaiveDateTime::default(), "nobody said that to it");
        sweeps.swept(1, 6, now);
        sweeps.swept(1, 5, now);
        sweeps.swept(1, 6, at("10:00:40"));
        assert_eq!(
            (sweeps.at(), sweeps.took()),
            (at("10:00:05"), TimeDelta::seconds(15)),
            "told again, it is the same look"
        );
        sweeps.gone(1);
        sweeps.swept(1, 6, now);
        (7..10_000).for_each(|seq| sweeps.acked(1, seq, at("10:01:00")));
        sweeps.swept(1, 7, now);
        assert_eq!(sweeps.at(), at("10:00:05"), "what is too old is forgotten");
        sweeps.swept(1, 10_000 - 7_200, at("12:00:00"));
        assert_eq!(sweeps.at(), at("10:01:00"), "a look may take two hours");
    }
}
