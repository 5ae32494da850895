//! The last values of a series, side by side. Knows places; must not know what the values mean.
//!
//! A window is a slice in memory, oldest first, so that its sum is a straight loop over neighbours.

use crate::{
    row::NULL,
    save::{Reader, Save, SnapshotError},
};

/// Keeps the last `KEEP` values of a series in a buffer of `ROOM`; when the buffer is full they move to its start, so a
/// push costs O(1) on average and O(`KEEP`) at most.
#[derive(Debug, Clone)]
pub(crate) struct Ring<const KEEP: usize, const ROOM: usize> {
    slots: [f64; ROOM],
    end: usize,
}

impl<const KEEP: usize, const ROOM: usize> Ring<KEEP, ROOM> {
    /// A series that has not begun: every value before its first is null.
    pub(crate) fn new() -> Self {
        const { assert!(KEEP < ROOM) };
        Ring { slots: [NULL; ROOM], end: KEEP }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: f64) {
        if self.end == ROOM {
            self.slots.copy_within(ROOM - KEEP.., 0);
            self.end = KEEP;
        }
        self.slots[self.end] = value;
        self.end += 1;
    }

    /// The last `N` values, oldest first.
    #[inline]
    pub(crate) fn last<const N: usize>(&self) -> &[f64; N] {
        const { assert!(N <= KEEP) };
        self.slots[..self.end].last_chunk().unwrap_or(const { &[NULL; N] })
    }

    /// The value `BACK` bars ago; 0 is the newest.
    #[inline]
    pub(crate) fn ago<const BACK: usize>(&self) -> f64 {
        const { assert!(BACK < KEEP) };
        self.slots[self.end - 1 - BACK]
    }
}

impl<const KEEP: usize, const ROOM: usize> Save for Ring<KEEP, ROOM> {
    /// Oldest first, wherever in the buffer they happen to lie: equal series give equal bytes.
    fn save(&self, out: &mut Vec<u8>) {
        self.last::<KEEP>().save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut ring = Ring::new();
        ring.slots[..KEEP].copy_from_slice(&<[f64; KEEP]>::load(reader)?);
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_newest_values_oldest_first_however_often_the_buffer_wrapped() {
        let mut ring = Ring::<5, 8>::new();
        let mut series = Vec::new();
        for n in 0..100u32 {
            series.push(f64::from(n).to_bits());
            ring.push(f64::from(n));
            if n >= 4 {
                assert_eq!(ring.last::<5>().map(f64::to_bits), series[series.len() - 5..]);
                assert_eq!(ring.last::<2>().map(f64::to_bits), series[series.len() - 2..]);
                assert_eq!(ring.ago::<4>().to_bits(), series[series.len() - 5]);
            }
        }
    }

    #[test]
    fn before_the_first_value_a_window_is_null() {
        let mut ring = Ring::<3, 4>::new();
        ring.push(1.0);
        assert!(ring.last::<3>()[..2].iter().all(|value| value.is_nan()));
    }
}
