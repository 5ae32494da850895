//! What a reader does when the server, its stream or the sink is not what it was: on a real server, case by case. Where it
//! stops, it names the command that lets it go on, and that command does.

mod pipe;

use std::{fs, path::Path};

use sqep::{
    EntryId,
    marks::{MarkError, Start},
    redis::groups::{How, Resumed, Steered, resume, retire},
};

use self::pipe::{ANY, Memory, NEVER, Pipe, STREAM, bar, bars};

/// What the reader stopped with.
fn stopped(ended: anyhow::Result<sqep::deliver::Account>) -> (MarkError, String) {
    let error = ended.expect_err("the reader stops");
    let text = format!("{error:#}");
    (error.downcast::<MarkError>().unwrap_or_else(|error| panic!("{error:#}")), text)
}

/// Carries out the command that `text` names.
async fn as_told(pipe: &Pipe, text: &str) -> anyhow::Result<Resumed> {
    let named = format!("`sqep group resume sink --new --stream '{STREAM}'`");
    assert!(text.contains(&named), "{text} does not name {named}");
    let how = How { new: true, ..How::default() };
    match resume(&mut pipe.connection().await?, &pipe.keys(), "sink", Start::Earliest, how).await? {
        Steered::Done(resumed) => Ok(resumed),
        other => panic!("{other:?}"),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[tokio::test]
async fn after_flushall_everything_published_again_is_there_once_and_newer() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let before = sink.mark.clone().expect("mark");
    pipe.redis.command::<()>(&["FLUSHALL"]).await?;
    pipe.publish(&[vec![bar(1, 1, 11.0)], bars(3)[1..].to_vec()]).await?;
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(account.written, 3);
    assert_eq!(sink.closes(), [11.0, 10.0, 10.0], "what came after the flush wins");
    let after = sink.mark.expect("mark");
    assert_ne!(before.born, after.born);
    assert!(after.id > before.id, "ids go on where the sink stands");
    Ok(())
}

#[tokio::test]
async fn after_a_flush_a_clock_that_is_behind_does_not_let_old_rows_win() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    // The server's clock was a century ahead when the first rows came.
    let ahead = EntryId::new(5_000_000_000_000, 0);
    pipe.redis.command::<()>(&["XGROUP", "CREATE", STREAM, "other", "0", "MKSTREAM"]).await?;
    pipe.redis.command::<()>(&["XSETID", STREAM, &ahead.to_string()]).await?;
    pipe.publish(&[bars(2)]).await?;
    assert!(pipe.ids().await?[0] > ahead, "a clock behind the last id does not hold the server up");
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.publish(&[vec![bar(1, 1, 11.0)]]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(sink.closes(), [11.0, 10.0]);

    pipe.redis.command::<()>(&["FLUSHALL"]).await?;
    // The reader comes first, as after a crash of both: it raises the ids above what the sink holds.
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.publish(&[vec![bar(1, 1, 12.0)]]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(sink.closes(), [12.0, 10.0]);
    Ok(())
}

#[tokio::test]
async fn a_lost_append_only_file_is_a_new_stream_and_heals() -> anyhow::Result<()> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.redis.server.kill()?;
    fs::remove_dir_all(pipe.redis.folder().join("appendonlydir"))?;
    pipe.redis.server.restart().await?;
    pipe.publish(&[bars(4)]).await?;
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.written, sink.rows.len()), (4, 4));
    Ok(())
}

/// A server whose file is put back to what it was before the last three bars of five, which the sink has.
async fn set_back(crash: std::time::Duration) -> anyhow::Result<(Pipe, Memory)> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(2)]).await?;
    pipe.deliver(&mut sink, "sink", crash).await?;
    pipe.redis.server.kill()?;
    let (file, kept) = (pipe.redis.folder().join("appendonlydir"), pipe.redis.folder().join("kept"));
    copy(&file, &kept)?;
    pipe.redis.server.restart().await?;
    pipe.publish(&[bars(5)[2..].to_vec()]).await?;
    pipe.deliver(&mut sink, "sink", crash).await?;
    pipe.redis.server.kill()?;
    fs::remove_dir_all(&file)?;
    copy(&kept, &file)?;
    pipe.redis.server.restart().await?;
    Ok((pipe, sink))
}

#[tokio::test]
async fn an_older_append_only_file_stops_the_reader_until_the_operator_has_spoken() -> anyhow::Result<()> {
    let (pipe, mut sink) = set_back(NEVER).await?;
    let mark = sink.mark.clone().expect("mark").id;
    let (error, text) = stopped(pipe.deliver(&mut sink, "sink", NEVER).await);
    assert!(matches!(error, MarkError::Behind { mark: told, .. } if told == mark), "{text}");
    assert!(text.contains("older snapshot or append-only file"), "{text}");

    as_told(&pipe, &text).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.publish(&[vec![bar(1, 1, 11.0)], bars(5)[2..].to_vec()]).await?;
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(account.written, 4);
    assert_eq!(sink.closes(), [11.0, 10.0, 10.0, 10.0, 10.0]);
    assert!(pipe.ids().await?.last().is_some_and(|last| *last > mark), "new ids exceed what the sink holds");
    Ok(())
}

#[tokio::test]
async fn a_server_that_lost_its_last_seconds_in_a_crash_heals() -> anyhow::Result<()> {
    let (pipe, mut sink) = set_back(ANY).await?;
    let account = pipe.deliver(&mut sink, "sink", ANY).await?;
    assert_eq!(account.written, 2, "what the server still holds is read again");
    assert_eq!(sink.rows.len(), 5);
    Ok(())
}

#[tokio::test]
async fn another_server_of_the_same_name_is_not_taken_for_ours() -> anyhow::Result<()> {
    let (pipe, other) = (Pipe::new().await?, Pipe::new().await?);
    let (mut sink, mut theirs) = (Memory::default(), Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    other.publish(&[vec![bar(7, 4, 10.0)]]).await?;
    other.deliver(&mut theirs, "sink", NEVER).await?;

    let held = sink.rows.clone();
    let (error, text) = stopped(other.deliver(&mut sink, "sink", NEVER).await);
    assert!(matches!(error, MarkError::OtherStream { .. }), "{text}");
    assert!(text.contains("another server, or two sinks under one group"), "{text}");
    assert_eq!(sink.rows, held, "nothing was written");

    as_told(&other, &text).await?;
    assert_eq!(other.deliver(&mut sink, "sink", NEVER).await?.written, 1);
    assert_eq!(sink.rows.len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_deleted_archive_is_noticed_and_filled_again_on_demand() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let mut empty = Memory::default();
    let (error, text) = stopped(pipe.deliver(&mut empty, "sink", NEVER).await);
    assert!(matches!(error, MarkError::NoMark { .. }), "{text}");
    assert!(text.contains("emptied or is another one"), "{text}");
    as_told(&pipe, &text).await?;
    assert_eq!(pipe.deliver(&mut empty, "sink", NEVER).await?.written, 3);
    assert_eq!(empty.rows.keys().collect::<Vec<_>>(), sink.rows.keys().collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn an_archive_restored_older_goes_on_at_its_mark_while_the_stream_has_the_rest() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(2)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let mut older = sink.clone();
    pipe.publish(&[bars(5)[2..].to_vec()]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(pipe.deliver(&mut older, "sink", NEVER).await?.written, 3);
    assert_eq!(older.rows, sink.rows);
    Ok(())
}

#[tokio::test]
async fn an_archive_restored_older_than_the_stream_begins_stops_the_reader() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(2)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let mut older = sink.clone();
    pipe.publish(&[bars(3)[2..].to_vec(), bars(4)[3..].to_vec()]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.publish(&[bars(5)[4..].to_vec()]).await?;
    let trimmed = pipe::trim(&pipe).await?;
    assert_eq!(trimmed.entries, 3, "all that is settled is gone");

    let (error, text) = stopped(pipe.deliver(&mut older, "sink", NEVER).await);
    let gone = trimmed.upto.expect("an id");
    assert!(matches!(error, MarkError::Trimmed { trimmed, .. } if trimmed == gone), "{text}");
    assert!(text.contains("not on the stream any more"), "{text}");
    let resumed = as_told(&pipe, &text).await?;
    assert_eq!(resumed.at, gone);
    assert_eq!(pipe.deliver(&mut older, "sink", NEVER).await?.written, 1, "all that is left is read");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_was_waited_for_in_vain_is_told_what_it_missed() -> anyhow::Result<()> {
    let (mut pipe, mut sink, mut counted) = (Pipe::new().await?, Memory::default(), Memory::default());
    pipe.publish(&[bars(1)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.settings.groups = vec!["counted".to_owned()];
    // Entries of a day long ago: the ids of the server's own clock would have to grow old first.
    pipe.redis.command::<()>(&["DEL", STREAM]).await?;
    pipe.redis.command::<()>(&["XGROUP", "CREATE", STREAM, "sink", "0", "MKSTREAM"]).await?;
    pipe.redis.command::<()>(&["HSET", &pipe.keys().groups(), "sink", "1-0"]).await?;
    for id in ["1-0", "2-0", "3-0"] {
        pipe.redis.command::<()>(&["XADD", STREAM, id, "v", "9"]).await?;
    }
    sink.mark =
        sink.mark.map(|mark| sqep::Mark { id: EntryId::new(1, 0), before: EntryId::new(1, 0), ..mark });
    pipe.deliver(&mut counted, "counted", NEVER).await?;
    let trimmed = pipe::trim(&pipe).await?;
    assert_eq!(trimmed.entries, 3);
    assert!(trimmed.losses()[0].contains("\"sink\""), "{:?}", trimmed.losses());

    let (error, text) = stopped(pipe.deliver(&mut sink, "sink", NEVER).await);
    assert!(matches!(error, MarkError::Trimmed { .. }), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_group_is_not_moved_while_its_reader_is_at_work_nor_where_the_stream_has_nothing()
-> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(1), bars(2)[1..].to_vec()]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let (keys, mut connection) = (pipe.keys(), pipe.connection().await?);
    let last = *pipe.ids().await?.last().expect("entries");
    let mut word =
        async |group: &str, at: Start, how: How| resume(&mut connection, &keys, group, at, how).await;

    pipe.redis.command::<()>(&["SET", &pipe.keys().lease("sink"), "host/1/2/token", "PX", "60000"]).await?;
    let held = word("sink", Start::Earliest, How::default()).await?;
    assert_eq!(held, Steered::Held("host/1/2/token".to_owned()));
    let forced = word("sink", Start::Latest, How { force: true, ..How::default() }).await?;
    assert_eq!(forced, Steered::Done(Resumed { at: last, last }));
    assert!(!pipe.redis.command::<bool>(&["EXISTS", &pipe.keys().lease("sink")]).await?);

    assert_eq!(word("snik", Start::Earliest, How::default()).await?, Steered::Unknown, "a slip of the pen");
    let beyond = word("sink", Start::After(last.next()), How::default()).await?;
    assert_eq!(beyond, Steered::Beyond(last));
    pipe.redis.command::<()>(&["SET", &pipe.keys().trimmed(), "7-0"]).await?;
    let trimmed = word("sink", Start::After(EntryId::new(6, 0)), How::default()).await?;
    assert_eq!(trimmed, Steered::Trimmed(EntryId::new(7, 0)));
    Ok(())
}

#[tokio::test]
async fn a_word_to_a_group_is_obeyed_once() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let mut connection = pipe.connection().await?;
    let dry = How { dry: true, ..How::default() };
    resume(&mut connection, &pipe.keys(), "sink", Start::Earliest, dry).await?;
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 0, "a dry run says and does nothing");
    resume(&mut connection, &pipe.keys(), "sink", Start::Earliest, How::default()).await?;
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 3);
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 0);
    Ok(())
}

#[tokio::test]
async fn a_retired_group_leaves_nothing_behind() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.publish(&[bars(3)]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    let (keys, mut connection) = (pipe.keys(), pipe.connection().await?);
    pipe.redis.command::<()>(&["SET", &keys.lease("sink"), "host/1/2/token"]).await?;
    let how = How::default();
    let held = retire(&mut connection, &keys, "sink", how).await?;
    assert!(matches!(held, Steered::Held(_)), "{held:?}");
    let dry = retire(&mut connection, &keys, "sink", How { force: true, dry: true, new: false }).await?;
    assert!(matches!(&dry, Steered::Done(Some(pin)) if pin.group == "sink" && pin.pending == 0), "{dry:?}");
    let done = retire(&mut connection, &keys, "sink", How { force: true, ..how }).await?;
    assert_eq!(done, dry, "a dry run says what is done");
    assert_eq!(retire(&mut connection, &keys, "sink", how).await?, Steered::Unknown);
    let groups: Vec<redis::Value> = pipe.redis.command(&["XINFO", "GROUPS", STREAM]).await?;
    assert!(groups.is_empty(), "{groups:?}");
    let left: u64 = pipe.redis.command(&["EXISTS", &keys.lease("sink"), &keys.groups()]).await?;
    assert_eq!(left, 0);
    Ok(())
}
