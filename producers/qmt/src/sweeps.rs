//! Since when everything was looked at. Knows acknowledgements and when they were said; must not know bars nor clocks of
//! other machines.
//!
//! An agent says after each look at all securities which of our acknowledgements it had heard when that look began. So
//! the look began later than we said it, by our own clock: whatever the agent's clock shows, and however long its lines
//! waited on the way.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDateTime;

/// Acknowledgements of an agent that are remembered.
const ACKS_MAX: usize = 128;

/// What is known of the looks of all agents.
#[derive(Debug, Default)]
pub struct Sweeps {
    acks: HashMap<u64, BTreeMap<u64, NaiveDateTime>>,
    swept: NaiveDateTime,
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

    /// An agent has looked at everything since it heard an acknowledgement.
    pub fn swept(&mut self, agent: u64, ack: u64) {
        if let Some(&at) = self.acks.get(&agent).and_then(|acks| acks.get(&ack)) {
            self.swept = self.swept.max(at);
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
        sweeps.swept(2, 5);
        sweeps.swept(1, 7);
        assert_eq!(sweeps.at(), NaiveDateTime::default(), "nobody said that to it");
        sweeps.swept(1, 6);
        sweeps.swept(1, 5);
        assert_eq!(sweeps.at(), at("10:00:05"));
        sweeps.gone(1);
        sweeps.swept(1, 6);
        (7..1_000).for_each(|seq| sweeps.acked(1, seq, at("10:01:00")));
        sweeps.swept(1, 7);
        assert_eq!(sweeps.at(), at("10:00:05"), "what is too old is forgotten");
    }
}
