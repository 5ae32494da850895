//! A server that was away and comes back as another: what it can and what it holds is asked anew, and nothing is taken for
//! granted that it does not hold any more.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use sqep::{DayBar, EntryId, Kind, Mark, Record, RefDay, Sink, WriteError};
use sqep_clickhouse::{ClickHouseSink, Key};
use sqep_testkit::{TestClickHouse, clickhouse::Mishap};
use tokio_util::sync::CancellationToken;

use crate::common::{self, held, key, sink, sink_of, write};

const DAY: Kind = Kind::BarDay;
/// The statement that takes marks back.
const TAKEN_BACK: &str = "^INSERT INTO sqep_mark .* '', '', '', false FROM .*HAVING";
type Bars = ClickHouseSink<DayBar>;

fn bar(frame: &str) -> Vec<(DayBar, u64)> {
    let bar =
        DayBar { symbol: "000001.SZ".parse().unwrap(), frame: frame.parse().unwrap(), ..DayBar::blank() };
    vec![(DayBar { open: 1.0, high: 1.0, low: 1.0, close: 1.0, vol: 100.0, ..bar }, 1)]
}

fn mark(ms: u64) -> Mark {
    Mark { born: "b".into(), id: EntryId::new(ms, 0), before: EntryId::ZERO }
}

fn later(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Later(error)) => format!("{error:#}"),
        other => panic!("must be Later, is {other:?}"),
    }
}

/// A sink that has written and kept a mark; and what ends whoever reads for it.
async fn loaded(server: &TestClickHouse) -> (Bars, CancellationToken) {
    let changed = CancellationToken::new();
    let mut sink = sink::<DayBar>(server, DAY).beside(1_000, changed.clone());
    assert_eq!(sink.mark(0).await.unwrap(), None);
    write(&mut sink, &bar("2025-01-02")).await.unwrap();
    sink.save(0, &mark(7)).await.unwrap();
    assert_eq!(sink.mark(0).await.unwrap(), Some(mark(7)));
    (sink, changed)
}

/// What the loop does: the same batch until it is written or the reader is ended.
async fn until_told(sink: &mut Bars, changed: &CancellationToken) -> String {
    for _ in 0..3 {
        let told = later(write(sink, &bar("2025-01-03")).await);
        if changed.is_cancelled() {
            return told;
        }
    }
    panic!("nobody notices");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_dropped_while_the_server_was_away_takes_its_mark_with_it() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let (mut reader, changed) = loaded(&server).await;
    server.kill().unwrap();
    later(write(&mut reader, &bar("2025-01-03")).await);
    server.restart().unwrap();
    server.ask("DROP TABLE bar_1d SYNC").unwrap();
    let told = until_told(&mut reader, &changed).await;
    assert!(
        told.contains("is not what it was") && told.contains("rows up to 7-0") && told.contains("none"),
        "{told}"
    );
    later(reader.save(0, &mark(8)).await);
    assert!(held::<DayBar>(&server, DAY).unwrap().is_empty(), "nothing goes into it meanwhile");
    // Whoever begins again, in this life or another, finds no mark.
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), None);
    assert_eq!(reader.mark(0).await.unwrap(), None);
    write(&mut reader, &bar("2025-01-03")).await.unwrap();
    reader.save(0, &mark(8)).await.unwrap();
    assert_eq!(reader.mark(0).await.unwrap(), Some(mark(8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_dropped_between_two_starts_takes_its_mark_with_it() {
    let server = TestClickHouse::start().unwrap();
    drop(loaded(&server).await);
    sink::<RefDay>(&server, Kind::RefDay).save(0, &mark(5)).await.unwrap();
    server.ask("DROP TABLE bar_1d SYNC").unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), None);
    let other = sink::<RefDay>(&server, Kind::RefDay).mark(0).await.unwrap();
    assert_eq!(other, Some(mark(5)), "that of another table stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_emptied_or_set_back_is_noticed_even_if_no_question_failed() {
    let server = TestClickHouse::start().unwrap();
    let (mut reader, changed) = loaded(&server).await;
    server.clear().unwrap();
    let told = until_told(&mut reader, &changed).await;
    assert!(told.contains("is not what it was"), "{told}");
    let (mut reader, changed) = loaded(&server).await;
    server.ask("TRUNCATE TABLE sqep_mark").unwrap();
    sink::<DayBar>(&server, DAY).save(0, &mark(3)).await.unwrap();
    write(&mut reader, &bar("2025-01-03")).await.unwrap();
    let told = later(reader.save(0, &mark(8)).await);
    assert!(changed.is_cancelled() && told.contains("its mark is 3-0"), "{told}");
    assert_eq!(reader.mark(0).await.unwrap(), Some(mark(3)), "what it lacks is read again from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_as_another_version_is_asked_what_it_can() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let (mut reader, changed) = loaded(&server).await;
    server.kill().unwrap();
    later(write(&mut reader, &bar("2025-01-03")).await);
    server.restart_as(&[("FRONT_VERSION", "23.8.9.54")]).unwrap();
    let told = later(write(&mut reader, &bar("2025-01-03")).await);
    assert!(told.contains("version 23.8.9.54, this program needs 24.3"), "{told}");
    server.kill().unwrap();
    later(write(&mut reader, &bar("2025-01-03")).await);
    server.restart_as(&[("FRONT_WITHOUT", "async_insert,optimize_on_insert")]).unwrap();
    write(&mut reader, &bar("2025-01-03")).await.unwrap();
    reader.save(0, &mark(8)).await.unwrap();
    assert_eq!(held::<DayBar>(&server, DAY).unwrap().len(), 2);
    assert!(!changed.is_cancelled(), "it holds what it held");
    assert_eq!(server.said("^INSERT INTO bar_1d .* WITH .*async_insert=").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_reader_finds_out_of_a_server_that_came_back_holds_for_those_beside_it() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let (mut reader, _changed) = loaded(&server).await;
    let mut other = reader.beside(1_000, CancellationToken::new());
    write(&mut other, &bar("2025-01-03")).await.unwrap();
    server.kill().unwrap();
    later(write(&mut reader, &bar("2025-01-03")).await);
    later(write(&mut other, &bar("2025-01-03")).await);
    server.restart_as(&[("FRONT_WITHOUT", "async_insert,optimize_on_insert")]).unwrap();
    for each in [&mut reader, &mut other] {
        write(each, &bar("2025-01-03")).await.unwrap();
    }
    assert_eq!(server.said("^SELECT version").unwrap(), 1, "one of them asks");
    assert_eq!(server.said("^INSERT INTO bar_1d .* WITH .*max_insert_block_size=").unwrap(), 2);
    assert_eq!(server.said("^INSERT INTO bar_1d .* WITH .*async_insert=").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_anew_when_it_lacks_what_it_had_and_not_for_every_refusal() {
    let server = TestClickHouse::front(&[]).unwrap();
    let (mut reader, _changed) = loaded(&server).await;
    let asked = || server.said("^SELECT version").unwrap();
    for (code, again) in [(252, 0), (241, 0), (60, 1), (81, 1), (115, 1)] {
        let before = asked();
        server.fail(&[Mishap::Code { code }.befalls(1, "^INSERT INTO bar_1d .*FORMAT")]).unwrap();
        later(write(&mut reader, &bar("2025-01-03")).await);
        write(&mut reader, &bar("2025-01-03")).await.unwrap();
        assert_eq!(asked() - before, again, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_other_prefixes_and_groups_keep_their_own_marks() {
    let server = TestClickHouse::start().unwrap();
    let of = |prefix: &str, group: &str| {
        let key = Key { prefix: prefix.to_owned(), group: group.to_owned(), ..key(DAY) };
        sink_of::<DayBar>(common::config(&server), key)
    };
    let readers = [("sqep", "clickhouse"), ("sqep", "second"), ("other", "clickhouse")];
    for (ms, (prefix, group)) in (10..).zip(readers) {
        let mut reader = of(prefix, group);
        assert_eq!(reader.mark(0).await.unwrap(), None, "{prefix} {group}");
        reader.save(0, &mark(ms)).await.unwrap();
    }
    for (ms, (prefix, group)) in (10..).zip(readers) {
        assert_eq!(of(prefix, group).mark(0).await.unwrap(), Some(mark(ms)), "{prefix} {group}");
        assert_eq!(of(prefix, group).mark(1).await.unwrap(), None, "each partition has its own");
    }
    server.ask("OPTIMIZE TABLE sqep_mark FINAL").unwrap();
    assert_eq!(server.ask("SELECT count() FROM sqep_mark").unwrap(), "3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_from_before_marks_had_readers_counts_until_there_is_one() {
    let server = TestClickHouse::start().unwrap();
    let first = &sqep_clickhouse::STATEMENTS[0];
    assert_eq!(first.file, "001_mark.sql");
    server.ask(first.text.trim_end().trim_end_matches(';')).unwrap();
    server.ask("INSERT INTO sqep_mark (kind, partition, seq, born, id, before) VALUES ('bar:1d', 0, 9, 'b', '7-0', '0-0')").unwrap();
    // With its table, as it was then.
    let days = sqep_clickhouse::STATEMENTS.iter().find(|script| script.file == "003_bars.sql").unwrap();
    for sql in days.text.split(";\n").filter(|sql| sql.contains("CREATE")) {
        server.ask(sql).unwrap();
    }
    server.ask("INSERT INTO bar_1d (symbol, frame) VALUES (2000001, '2025-01-02')").unwrap();
    let mut reader = sink::<DayBar>(&server, DAY);
    assert_eq!(reader.mark(0).await.unwrap(), Some(mark(7)));
    let other = Key { group: "second".to_owned(), ..key(DAY) };
    let mut second = sink_of::<DayBar>(common::config(&server), other);
    assert_eq!(second.mark(0).await.unwrap(), Some(mark(7)), "its rows are there, whoever loaded them");
    second.save(0, &mark(12)).await.unwrap();
    reader.save(0, &mark(8)).await.unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(mark(8)));
    assert_eq!(second.mark(0).await.unwrap(), Some(mark(12)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_emptied_between_two_starts_takes_the_marks_of_its_rows_with_it() {
    let server = TestClickHouse::front(&[]).unwrap();
    for emptied in ["TRUNCATE TABLE bar_1d", "ALTER TABLE bar_1d DROP PARTITION 2025"] {
        drop(loaded(&server).await);
        sink::<RefDay>(&server, Kind::RefDay).save(0, &mark(5)).await.unwrap();
        assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(mark(7)));
        server.ask(emptied).unwrap();
        let mut reader = sink::<DayBar>(&server, DAY);
        assert_eq!(reader.mark(0).await.unwrap(), None, "{emptied}");
        let other = sink::<RefDay>(&server, Kind::RefDay).mark(0).await.unwrap();
        assert_eq!(other, Some(mark(5)), "a table that never held rows has lost none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_emptied_while_the_server_was_away_takes_the_marks_of_its_rows_with_it() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let (mut reader, changed) = loaded(&server).await;
    server.kill().unwrap();
    later(write(&mut reader, &bar("2025-01-03")).await);
    server.restart().unwrap();
    server.ask("TRUNCATE TABLE bar_1d").unwrap();
    let told = until_told(&mut reader, &changed).await;
    assert!(told.contains("rows up to 7-0") && told.contains("none"), "{told}");
    assert_eq!(reader.mark(0).await.unwrap(), None);
}

/// A mark of a past is kept before its first rows and moves after the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_is_known_to_be_lost_once_its_first_rows_were_there_and_not_before() {
    let server = TestClickHouse::front(&[]).unwrap();
    let mut reader = sink::<DayBar>(&server, DAY);
    reader.save(0, &Mark::in_replay()).await.unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(Mark::in_replay()));
    write(&mut reader, &bar("2025-01-02")).await.unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(Mark::in_replay()));
    server.ask("TRUNCATE TABLE bar_1d").unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), None);
}

/// The first rows may be there when the loader dies, without a word on them beside the mark.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_there_at_a_start_are_missed_at_the_next() {
    let server = TestClickHouse::front(&[]).unwrap();
    sink::<DayBar>(&server, DAY).save(0, &mark(7)).await.unwrap();
    server.ask("INSERT INTO bar_1d (symbol, frame) VALUES (2000001, '2025-01-02')").unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(mark(7)));
    server.ask("TRUNCATE TABLE bar_1d").unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), None);
}

/// Two programs start at once: one has made the table that the other found missing, and kept a mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_a_table_that_another_program_made_meanwhile_is_not_taken_back() {
    let server = TestClickHouse::front(&[]).unwrap();
    drop(loaded(&server).await);
    server.ask("DROP TABLE bar_1d SYNC").unwrap();
    server.fail(&[Mishap::Delay { ms: 15_000 }.befalls(1, "^INSERT INTO sqep_mark .*HAVING")]).unwrap();
    let mut slow = sink::<DayBar>(&server, DAY);
    let slow = tokio::spawn(async move { slow.prepare().await });
    while server.said(TAKEN_BACK).unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut quick = sink::<DayBar>(&server, DAY);
    quick.prepare().await.unwrap();
    quick.save(0, &mark(8)).await.unwrap();
    assert!(!slow.is_finished(), "it still waits to take marks back");
    server.fail(&[]).unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(quick.mark(0).await.unwrap(), Some(mark(8)));
}

/// What is there and out of sight is not gone: its marks stay, and it is not made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_detached_keeps_its_marks() {
    let server = TestClickHouse::front(&[]).unwrap();
    drop(loaded(&server).await);
    server.ask("DETACH TABLE bar_1d").unwrap();
    let told = sink::<DayBar>(&server, DAY).prepare().await.unwrap_err().to_string();
    assert!(told.contains("bar_1d"), "{told}");
    assert_eq!(server.said(TAKEN_BACK).unwrap(), 0);
    assert_eq!(server.said("detached_tables").unwrap(), 0, "a list that few may read");
    server.ask("ATTACH TABLE IF NOT EXISTS bar_1d").unwrap();
    assert_eq!(sink::<DayBar>(&server, DAY).mark(0).await.unwrap(), Some(mark(7)));
    assert_eq!(held::<DayBar>(&server, DAY).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_written_through_to_disk_as_the_rows_are() {
    let server = TestClickHouse::start().unwrap();
    drop(loaded(&server).await);
    for table in ["bar_1d", "feature_1m", "sqep_mark"] {
        let made = server.ask(&format!("SHOW CREATE TABLE {table}")).unwrap();
        assert!(
            made.contains("fsync_after_insert = 1") && made.contains("fsync_part_directory = 1"),
            "{made}"
        );
    }
}
