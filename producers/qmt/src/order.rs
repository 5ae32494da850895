//! Which labels of a window are in their place. Knows times alone; must not know bars nor files.
//!
//! The longest chain of rising labels is in place, so that a label ahead of its time, or behind it, puts out its own row
//! and no other.

use chrono::NaiveDateTime;

/// Whether each label rises from the one in place before it. `after` is the last one in place before the window; a label
/// beyond `horizon` is in no place.
pub(crate) fn in_order(
    labels: &[Option<NaiveDateTime>],
    after: Option<NaiveDateTime>,
    horizon: NaiveDateTime,
) -> Vec<bool> {
    let fits = |label: &NaiveDateTime| Some(*label) > after && *label <= horizon;
    let wanted: Vec<(usize, NaiveDateTime)> =
        labels.iter().enumerate().filter_map(|(at, label)| Some((at, label.filter(fits)?))).collect();
    let mut placed = vec![false; labels.len()];
    for at in chain(&wanted) {
        placed[at] = true;
    }
    placed
}

/// Places of the longest rising chain; of equal labels the first.
fn chain(labels: &[(usize, NaiveDateTime)]) -> Vec<usize> {
    if labels.windows(2).all(|pair| pair[0].1 < pair[1].1) {
        return labels.iter().map(|&(at, _)| at).collect();
    }
    // The end of the best chain of each length, and what comes before each label in its own.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(labels.len());
    for (at, &(_, label)) in labels.iter().enumerate() {
        let length = ends.partition_point(|&end| labels[end].1 < label);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) if labels[*end].1 == label => {}
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut places: Vec<usize> =
        std::iter::successors(ends.last().copied(), |&at| before[at]).map(|at| labels[at].0).collect();
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    fn label(day: i64) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2024, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap() + TimeDelta::days(day)
    }

    fn out_of(days: &[i64], after: Option<i64>, horizon: i64) -> Vec<i64> {
        let labels: Vec<_> = days.iter().map(|&day| (day >= 0).then(|| label(day))).collect();
        let placed = in_order(&labels, after.map(label), label(horizon));
        days.iter().zip(placed).filter(|(_, placed)| !placed).map(|(&day, _)| day).collect()
    }

    #[test]
    fn a_label_out_of_place_puts_out_no_other() {
        for (days, after, out) in [
            (vec![1, 2, 3, 4], None, vec![]),
            (vec![1, 2, 90, 3, 4], None, vec![90]),
            (vec![1, 2, 90, 91, 92, 3, 4, 5, 6], None, vec![90, 91, 92]),
            (vec![5, 6, 7, 2, 8, 9], None, vec![2]),
            (vec![1, 500, 2, 3], None, vec![500]),
            (vec![1, 2, 500], None, vec![500]),
            (vec![3, 4, 5, 6], Some(4), vec![3, 4]),
            (vec![1, 2, -1, 3], None, vec![-1]),
            (vec![], None, vec![]),
        ] {
            assert_eq!(out_of(&days, after, 100), out, "{days:?}");
        }
    }

    #[test]
    fn of_equal_labels_the_first_is_in_place() {
        let labels = [1, 2, 2, 2, 3].map(|day| Some(label(day)));
        assert_eq!(in_order(&labels, None, label(9)), [true, true, false, false, true]);
    }

    proptest! {
        #[test]
        fn the_chain_rises_and_none_is_longer(days in prop::collection::vec(0..40i64, 0..12)) {
            let labels: Vec<_> = days.iter().map(|&day| Some(label(day))).collect();
            let placed = in_order(&labels, None, label(100));
            let kept: Vec<i64> = days.iter().zip(&placed).filter(|(_, placed)| **placed).map(|(&day, _)| day).collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            let longest = (0..1u32 << days.len())
                .map(|subset| days.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, &day)| day).collect::<Vec<_>>())
                .filter(|chosen| chosen.windows(2).all(|pair| pair[0] < pair[1]))
                .map(|chosen| chosen.len())
                .max();
            prop_assert_eq!(Some(kept.len()), longest);
        }
    }
}
