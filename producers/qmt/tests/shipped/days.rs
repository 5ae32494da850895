//! What the day brings beside its minutes: factors and limits before the open, day bars after the close.

use sqep::{DayBar, Kind, MinuteBar, RefDay, kind::Grid};

use crate::{
    common::{Rig, dat, days},
    program::{BROKEN, Program, day_of, end, said},
    standin::CODES,
};

#[tokio::test(flavor = "multi_thread")]
async fn factor_limits_and_treatment_come_before_the_open_and_in_the_day_bar_after_the_close() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let program = Program::start(&rig, folder.path(), "2025-01-02T08:54:00", &[], &[]);
    let refs = day_of::<RefDay>(&rig, Kind::RefDay).await;
    drop(program);
    let known = |code: u32| *refs.iter().find(|row| row.symbol.code().cast_unsigned() == code).unwrap();
    // Ex-days where QMT has them; else what the reference prices tell.
    assert!((known(600_000).adjust.unwrap() - 1.05 * 1.02).abs() < 1e-9, "{refs:?}");
    assert!((known(1).adjust.unwrap() - 1.01).abs() < 1e-3, "{refs:?}");
    assert_eq!((known(1).st, known(600_000).st, known(510_300).st), (Some(true), Some(false), None));
    let limits = refs.iter().map(|row| row.buy_limit.unwrap() / row.sell_limit.unwrap());
    assert!(limits.clone().all(|ratio| (ratio - 1.1 / 0.9).abs() < 0.01), "{refs:?}");

    let program = Program::start(&rig, folder.path(), "2025-01-02T14:59:20", &[], &[]);
    let bars = day_of::<DayBar>(&rig, Kind::BarDay).await;
    drop(program);
    let minutes = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    for (bar, known) in bars.iter().zip(&refs) {
        let sum: f64 = minutes.rows.values().filter(|row| row.symbol == bar.symbol).map(|row| row.vol).sum();
        assert!((bar.vol - sum).abs() < 0.5, "{bar:?}: its minutes add up to {sum}");
        let told = (bar.adjust, bar.st, bar.buy_limit, bar.sell_limit);
        assert_eq!(told, (known.adjust, known.st, known.buy_limit, known.sell_limit), "{bar:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_evening_was_missed_has_its_bar_in_the_next_morning() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let _program = Program::start(&rig, folder.path(), "2025-01-03T08:56:00", &[], &[]);
    let bars = day_of::<DayBar>(&rig, Kind::BarDay).await;
    assert!(bars.iter().all(|bar| bar.vol > 0.0 && bar.adjust.is_some()), "{bars:?}");
    assert!(
        bars.iter().all(|bar| bar.buy_limit.is_none()),
        "limits of another day are not guessed: {bars:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_days_that_another_source_feeds_is_not_overwritten() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    dat(folder.path(), "SH/86400/600000.DAT", &days(0, 3));
    let path = folder.path().to_str().unwrap();
    rig.run(&["--once", "--set", "qmt.source=dat", "--set", "qmt.name=files", path]).good();
    let (code, text) = end(Program::start(&rig, folder.path(), "2025-01-02T09:00:00", &[], &[]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("bar:1d") && text.contains("files"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_security_that_always_fails_keeps_no_day_bar_from_the_others_and_is_named() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T14:59:20", &[], &BROKEN);
    let bars = day_of::<DayBar>(&rig, Kind::BarDay).await;
    assert!(bars.iter().all(|bar| CODES.contains(&bar.symbol.code().cast_unsigned())), "{bars:?}");
    // The end of the day goes on without it, and says so.
    let log = said(program.child.stderr.take().unwrap(), "end of day: QMT does not give");
    let line = log.last().unwrap();
    assert!(line.contains("600999.SH") && line.contains("周期错误") && !line.contains("600000.SH"), "{line}");
    assert!(log.iter().any(|line| line.contains("end of day: 3 securities compared, 0 differ")), "{log:?}");
}
