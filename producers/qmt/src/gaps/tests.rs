//! What is asked, and what is asked again.

use super::{want::PAUSE_S_MAX, *};

fn at(time: &str) -> NaiveDateTime {
    format!("2025-01-02T{time}").parse().unwrap()
}

fn symbol(code: u32) -> Symbol {
    Symbol::new(sqep::Exchange::SZ, code).unwrap()
}

/// Requests for the first few securities.
struct Desk {
    gaps: Gaps,
    numbers: Numbers,
}

impl Desk {
    fn new(count: u32) -> Desk {
        let mut gaps = Gaps::new(Period::M1, false, 2, TimeDelta::seconds(60));
        gaps.plan((1..=count).map(|code| (at("09:31:00"), symbol(code))).collect(), at("10:00:00"));
        Desk { gaps, numbers: Numbers::default() }
    }

    fn ask(&mut self, time: &str) -> Option<(u64, usize)> {
        match self.gaps.next(7, at(time), &mut self.numbers)? {
            Reply::Hist { req, codes, .. } => Some((req, codes.len())),
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, req: u64, rows: u64, time: &str) -> Vec<Symbol> {
        self.gaps.done(Done { req, rows }, at(time), |_, _, _| true)
    }
}

#[test]
fn requests_go_out_one_by_one_and_securities_catch_up() {
    let mut desk = Desk::new(3);
    let (first, codes) = desk.ask("10:00:00").unwrap();
    assert_eq!(codes, 2);
    assert_eq!(desk.ask("10:00:00"), None, "one at a time");
    desk.gaps.rows(first, Some(symbol(1)), 3, at("10:00:00"));
    desk.gaps.rows(first, Some(symbol(2)), 2, at("10:00:00"));
    assert_eq!(desk.done(first, 5, "10:00:01"), [symbol(1), symbol(2)]);
    assert!(!desk.gaps.is_behind(symbol(1)) && desk.gaps.is_behind(symbol(3)));
    assert_eq!(desk.gaps.asked_at(first), Some(at("10:00:00")), "for rows that come late");
}

#[test]
fn no_row_where_there_should_be_some_is_doubted_and_in_the_end_believed() {
    let mut desk = Desk::new(1);
    for time in ["10:00:00", "10:00:05"] {
        let (req, _) = desk.ask(time).unwrap();
        assert_eq!(desk.done(req, 0, time), [], "nothing may have been downloaded");
        assert!(desk.gaps.is_behind(symbol(1)));
    }
    let (req, _) = desk.ask("10:00:15").unwrap();
    assert_eq!(desk.done(req, 0, "10:00:15"), [symbol(1)]);
    assert_eq!((desk.gaps.empty(), desk.gaps.is_done()), (1, true));
    let mut quiet = Desk::new(1);
    let (req, _) = quiet.ask("10:00:00").unwrap();
    let none = quiet.gaps.done(Done { req, rows: 0 }, at("10:00:00"), |_, _, _| false);
    assert_eq!(none, [symbol(1)], "where no bar can be, none is an answer");
}

#[test]
fn what_fails_or_comes_short_is_asked_again_after_a_pause() {
    let mut desk = Desk::new(1);
    let (first, _) = desk.ask("10:00:00").unwrap();
    desk.gaps.failed(first, None, "周期错误", at("10:00:00"));
    assert_eq!(desk.ask("10:00:00"), None);
    let (second, _) = desk.ask("10:00:05").unwrap();
    desk.gaps.rows(second, Some(symbol(1)), 3, at("10:00:05"));
    assert_eq!(desk.done(second, 4, "10:00:05"), []);
    assert_eq!(desk.ask("10:00:10"), None, "the pause doubles");
    desk.ask("10:00:15").unwrap();
    desk.gaps.overdue(at("10:04:14"));
    assert_eq!(desk.ask("10:30:00"), None, "patience doubles, too: not overdue yet");
    desk.gaps.overdue(at("10:04:15"));
    assert!(desk.ask("10:30:00").is_some());
    assert!(desk.gaps.is_behind(symbol(1)) && !desk.gaps.is_done());
}

#[test]
fn one_security_that_fails_leaves_the_others_of_its_request_alone() {
    let mut desk = Desk::new(2);
    let (req, _) = desk.ask("10:00:00").unwrap();
    desk.gaps.failed(req, Some(symbol(1)), "周期错误", at("10:00:01"));
    desk.gaps.rows(req, Some(symbol(2)), 9, at("10:00:02"));
    assert_eq!(desk.done(req, 9, "10:00:03"), [symbol(2)]);
    assert_eq!(desk.ask("10:00:08").unwrap().1, 1);
}

#[test]
fn a_new_plan_does_not_forget_what_is_under_way() {
    let mut desk = Desk::new(1);
    let (req, _) = desk.ask("10:00:00").unwrap();
    desk.gaps.plan(vec![(at("09:31:00"), symbol(1))], at("10:01:00"));
    desk.gaps.plan(vec![(at("09:45:00"), symbol(1))], at("10:02:00"));
    desk.gaps.rows(req, Some(symbol(1)), 29, at("10:00:30"));
    assert_eq!(desk.done(req, 29, "10:02:30"), [symbol(1)]);
    assert!(desk.gaps.is_done(), "nothing is begun anew");
}

#[test]
fn what_is_doubted_while_it_is_under_way_is_asked_once_more() {
    let mut desk = Desk::new(1);
    let (req, _) = desk.ask("10:00:00").unwrap();
    desk.gaps.want(symbol(1), at("10:01:00"), at("10:02:00"));
    desk.gaps.rows(req, Some(symbol(1)), 29, at("10:02:00"));
    assert_eq!(desk.done(req, 29, "10:02:30"), [], "it was asked before that minute was over");
    let (req, _) = desk.ask("10:02:30").unwrap();
    desk.gaps.rows(req, Some(symbol(1)), 1, at("10:02:31"));
    assert_eq!(desk.done(req, 1, "10:02:31"), [symbol(1)]);
}

#[test]
fn what_may_still_grow_is_asked_for_when_it_is_over() {
    let mut desk = Desk::new(1);
    let (req, _) = desk.ask("10:00:00").unwrap();
    desk.gaps.want(symbol(1), at("10:01:00"), at("10:01:05"));
    desk.gaps.rows(req, Some(symbol(1)), 29, at("10:00:30"));
    assert_eq!(desk.done(req, 29, "10:00:30"), []);
    desk.gaps.plan(vec![(at("10:00:00"), symbol(1))], at("10:00:40"));
    assert_eq!(desk.ask("10:01:04"), None);
    assert!(desk.ask("10:01:05").is_some());
}

#[test]
fn what_an_agent_that_is_gone_was_asked_for_is_asked_of_the_next() {
    let mut desk = Desk::new(1);
    desk.ask("10:00:00").unwrap();
    desk.gaps.gone(7, at("10:00:10"));
    assert!(desk.ask("10:00:10").is_some());
}

#[test]
fn what_fails_time_and_again_is_missing_and_nobody_waits_for_it() {
    let (mut desk, mut now) = (Desk::new(2), at("10:00:00"));
    for tried in 1..=TRIES_MAX {
        assert!(!desk.gaps.is_done() && desk.gaps.missing().is_empty(), "{tried}");
        now += TimeDelta::seconds(PAUSE_S_MAX);
        let Some(Reply::Hist { req, .. }) = desk.gaps.next(7, now, &mut desk.numbers) else {
            panic!("{tried}")
        };
        desk.gaps.failed(req, Some(symbol(1)), "周期错误", now);
        let rows = if tried == 1 { 9 } else { 0 };
        desk.gaps.rows(req, Some(symbol(2)), rows, now);
        desk.gaps.done(Done { req, rows: u64::try_from(rows).unwrap() }, now, |_, _, _| true);
    }
    assert!(desk.gaps.is_done() && desk.gaps.is_behind(symbol(1)));
    assert_eq!(desk.gaps.missing(), &BTreeMap::from([(symbol(1), "周期错误".to_owned())]));
    // Now and then it is asked for all the same, after all others and apart from them.
    now += TimeDelta::seconds(PAUSE_S_MAX);
    desk.gaps.want(symbol(2), at("10:00:00"), now);
    for alone in [symbol(2), symbol(1)] {
        let Some(Reply::Hist { req, codes, .. }) = desk.gaps.next(7, now, &mut desk.numbers) else {
            panic!()
        };
        assert_eq!(codes, [alone.to_string()]);
        desk.gaps.rows(req, Some(alone), 1, now);
        assert_eq!(desk.gaps.done(Done { req, rows: 1 }, now, |_, _, _| true), [alone]);
    }
    assert!(desk.gaps.missing().is_empty(), "it has come");
}

#[test]
fn connections_that_end_at_once_make_no_healthy_security_missing() {
    let (mut desk, mut now) = (Desk::new(1), at("10:00:00"));
    for _ in 0..TRIES_MAX {
        assert!(desk.gaps.next(7, now, &mut desk.numbers).is_some(), "at {now}");
        now += TimeDelta::seconds(2);
        desk.gaps.gone(7, now);
    }
    assert!(desk.gaps.missing().is_empty() && !desk.gaps.is_done());
    // One that ends later may have ended at what it was asked.
    for _ in 0..TRIES_MAX {
        assert!(desk.gaps.next(7, now, &mut desk.numbers).is_some(), "at {now}");
        now += TimeDelta::seconds(BRIEF_S);
        desk.gaps.gone(7, now);
    }
    assert!(desk.gaps.missing().contains_key(&symbol(1)));
}

#[test]
fn a_security_at_which_every_agent_ends_holds_up_no_other() {
    let mut gaps = Gaps::new(Period::M1, false, 4, TimeDelta::seconds(60));
    gaps.plan((1..=4).map(|code| (at("09:31:00"), symbol(code))).collect(), at("10:00:00"));
    let (mut numbers, mut caught_up) = (Numbers::default(), Vec::new());
    for agent in 1..=100 {
        let Some(Reply::Hist { req, codes, .. }) = gaps.next(agent, at("10:00:00"), &mut numbers) else {
            break;
        };
        if codes.contains(&symbol(3).to_string()) {
            gaps.gone(agent, at("10:00:00"));
            continue;
        }
        let rows = u64::try_from(codes.len()).unwrap();
        for code in &codes {
            gaps.rows(req, Some(code.parse().unwrap()), 1, at("10:00:00"));
        }
        caught_up.extend(gaps.done(Done { req, rows }, at("10:00:00"), |_, _, _| true));
    }
    caught_up.sort_unstable();
    assert_eq!(caught_up, [symbol(1), symbol(2), symbol(4)]);
    assert!(gaps.is_done() && gaps.missing().contains_key(&symbol(3)));
    let soon = at("10:00:00") + TimeDelta::seconds(PAUSE_S_MAX);
    assert_eq!(gaps.next(11, soon, &mut numbers), None, "the next agent is spared for a while");
}
