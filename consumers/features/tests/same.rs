//! Identity: batch, live in any cut, restarted at any place, sent in any order with corrections on the way: the same rows to
//! the bit.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod market;
mod world;

use proptest::{prelude::*, sample::Index};
use sqep::{DayBar, Kind};
use sqep_features::{DayFeatures, Facts};
use tokio::runtime::Runtime;
use world::{World, batch, by_day};

const BARS: Kind = Kind::BarDay;

/// What is sent: bars of a market, some of them late, some with other numbers first.
fn sent(bars: &[DayBar], late: &[(Index, Index)], wrong: &[Index]) -> Vec<DayBar> {
    let mut sent = bars.to_vec();
    for at in wrong {
        let at = at.index(bars.len());
        let first = DayBar { vol: bars[at].vol + 700.0, amount: None, ..bars[at] };
        sent[at] = if bars[at].vol > 0.0 { first } else { bars[at] };
    }
    for (from, to) in late {
        let bar = sent.remove(from.index(sent.len()));
        let at = to.index(sent.len() + 1);
        sent.insert(at, bar);
    }
    // What was wrong is said again as it is.
    let mended = wrong.iter().map(|at| bars[at.index(bars.len())]);
    sent.extend(mended);
    sent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_and_the_cuts_rows_are_those_of_the_batch(
        cuts in prop::collection::vec(1..300usize, 1..6), records_max in 20..400usize,
        late in prop::collection::vec(any::<(Index, Index)>(), 0..12), wrong in prop::collection::vec(any::<Index>(), 0..6),
        snapshot_s in prop_oneof![Just(0), Just(3600)], taken in 10..500usize
    ) {
        let bars = by_day(&market::days(4, 140));
        let sent = sent(&bars, &late, &wrong);
        let want = batch::<DayFeatures>(&bars, |_| Facts::default());
        Runtime::new().unwrap().block_on(async {
            let mut world = World::new(BARS).await;
            world.config.features.snapshot_s = snapshot_s;
            world.config.features.records_max = taken;
            let mut rest = sent.as_slice();
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                world.publish(BARS, part, records_max).await;
                world.run::<DayFeatures>().await.unwrap();
            }
            world.publish(BARS, rest, records_max).await;
            world.run::<DayFeatures>().await.unwrap();
            world.assert_whole::<DayFeatures>(&want).await;
        });
    }
}
