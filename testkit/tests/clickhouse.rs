//! The ClickHouse of the tests itself: it answers as a server does and fails as it is asked to.

use sqep_testkit::{TestClickHouse, clickhouse::Mishap};

fn refused(server: &TestClickHouse, sql: &str) -> String {
    server.ask(sql).expect_err("must be refused").to_string()
}

/// The whole of an error, with what was asked.
fn told(server: &TestClickHouse, sql: &str) -> String {
    format!("{:#}", server.ask(sql).expect_err("must be refused"))
}

#[test]
fn it_is_the_real_engine_with_a_database_of_its_own() -> anyhow::Result<()> {
    let server = TestClickHouse::start()?;
    server.ask("CREATE TABLE t (a Int32, b String) ENGINE = ReplacingMergeTree ORDER BY a")?;
    server.ask("INSERT INTO t VALUES (1, 'one'), (2, 'it''s')")?;
    server.ask("INSERT INTO t VALUES (1, 'uno')")?;
    assert_eq!(server.ask("SELECT a, b FROM t FINAL ORDER BY a")?, "1\tuno\n2\tit\\'s\n");
    assert_eq!(
        server.ask_with("SELECT {x:Int32} + 1, {day:Date}", &[("x", "41"), ("day", "2025-01-02")])?,
        "42\t2025-01-02\n"
    );
    assert!(told(&server, "SELECT * FROM nothing").contains("Code: 60"));
    assert!(refused(&server, "SELECT").contains("asked: SELECT"));
    server.clear()?;
    assert_eq!(server.ask("SHOW TABLES")?, "");
    Ok(())
}

#[test]
fn it_fails_as_often_as_it_is_asked_to_and_where() -> anyhow::Result<()> {
    let server = TestClickHouse::front(&[])?;
    server.ask("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")?;
    server.fail(&[Mishap::Code { code: 252 }.befalls(2, "^INSERT INTO t")])?;
    for _ in 0..2 {
        assert!(told(&server, "INSERT INTO t VALUES (1)").contains("Code: 252"));
    }
    assert_eq!(server.ask("SELECT count() FROM t")?, "0\n");
    server.ask("INSERT INTO t VALUES (1)")?;
    server.fail(&[Mishap::Drop.befalls(1, "^INSERT"), Mishap::Lose.befalls(1, "^SELECT sum")])?;
    assert!(server.ask("INSERT INTO t VALUES (2)").is_err(), "dropped before it was done");
    assert!(server.ask("SELECT sum(a) FROM t").is_err(), "done, and the answer lost");
    assert_eq!(server.ask("SELECT count() FROM t")?, "1\n");
    Ok(())
}

#[test]
fn what_it_has_taken_survives_its_death() -> anyhow::Result<()> {
    let mut server = TestClickHouse::front(&[])?;
    server.ask("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")?;
    server.ask("INSERT INTO t SELECT number FROM numbers(1000)")?;
    server.kill()?;
    assert!(server.is_dead()? && server.ask("SELECT 1").is_err());
    server.restart()?;
    assert_eq!(server.ask("SELECT count() FROM t")?, "1000\n");
    Ok(())
}

#[test]
fn it_lets_in_who_knows_the_password_and_forgets_settings_it_is_told_to() -> anyhow::Result<()> {
    let options = [("FRONT_USER", "sqep"), ("FRONT_PASSWORD", "hunter2"), ("FRONT_WITHOUT", "async_insert")];
    let server = TestClickHouse::front(&options)?;
    assert_eq!(server.user(), ("sqep", "hunter2"));
    assert_eq!(server.ask("SELECT count() FROM system.settings WHERE name = 'async_insert'")?, "0\n");
    assert_eq!(server.ask("SELECT 1")?, "1\n");
    Ok(())
}

/// Three rows of `t (a Int32, b Nullable(String))`, as a program would send them.
const BODY: &[u8] =
    b"\x02\x01a\x01b\x05Int32\x10Nullable(String)\x01\0\0\0\x00\x03one\x02\0\0\0\x01\x03\0\0\0\x00\x05three";

/// Posts an insert; what became of it.
fn insert(server: &TestClickHouse, body: &[u8]) -> anyhow::Result<String> {
    use std::io::{Read, Write};

    let host = server.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&host)?;
    let path = format!(
        "/?database={}&query=INSERT%20INTO%20t%20(a,%20b)%20FORMAT%20RowBinaryWithNamesAndTypes",
        server.database()
    );
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn an_insert_can_be_struck_in_its_middle_when_some_of_its_rows_are_there() -> anyhow::Result<()> {
    let mut server = TestClickHouse::front(&[])?;
    server.ask("CREATE TABLE t (a Int32, b Nullable(String)) ENGINE = MergeTree ORDER BY a")?;
    server.fail(&[Mishap::Cut { rows: 2 }.befalls(1, "^INSERT INTO t")])?;
    assert_eq!(insert(&server, BODY)?, "", "no answer");
    assert_eq!(server.ask("SELECT * FROM t ORDER BY a")?, "1\tone\n2\t\\N\n");
    server.fail(&[Mishap::Break { bytes: 50 }.befalls(1, "^INSERT INTO t")])?;
    assert_eq!(insert(&server, BODY)?, "", "no answer");
    assert_eq!(server.ask("SELECT count() FROM t")?, "2\n", "what is not a block is not there");
    server.fail(&[Mishap::Hold { rows: 1, ms: 60_000 }.befalls(1, "^INSERT INTO t")])?;
    assert_eq!(server.held()?, 0);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let held = scope.spawn(|| insert(&server, BODY));
        while server.held()? == 0 {
            std::thread::yield_now();
        }
        assert_eq!(server.ask("SELECT count() FROM t")?, "3\n", "others are served meanwhile");
        server.fail(&[Mishap::Die { rows: 3 }.befalls(1, "^INSERT INTO t")])?;
        assert_eq!(held.join().expect("no panic")?, "", "no answer");
        Ok(())
    })?;
    assert_eq!(server.held()?, 0);
    assert!(insert(&server, BODY).map_or(true, |answer| answer.is_empty()));
    assert!(server.is_dead()?);
    server.restart()?;
    assert_eq!(server.ask("SELECT count() FROM t")?, "6\n");
    assert!(insert(&server, BODY)?.contains(" 200 "));
    assert_eq!(server.ask("SELECT count() FROM t")?, "9\n");
    server.ask("ALTER TABLE t ADD CONSTRAINT mine CHECK a < 3")?;
    assert!(insert(&server, BODY)?.contains("Code: 469"), "what the table refuses is said");
    assert_eq!(server.ask("SELECT count() FROM t")?, "9\n");
    Ok(())
}

#[test]
fn it_tells_what_it_was_given_and_says_it_is_who_it_was_told_to_be() -> anyhow::Result<()> {
    let mut server = TestClickHouse::front(&[("FRONT_VERSION", "22.8.1.1")])?;
    assert_eq!(server.ask("SELECT version()")?, "22.8.1.1\n");
    assert_eq!(server.said("^SELECT version")?, 1);
    assert_eq!(server.said("DROP")?, 0);
    server.restart_as(&[])?;
    assert_ne!(server.ask("SELECT version()")?, "22.8.1.1\n");
    Ok(())
}

#[test]
fn the_server_of_the_environment_is_used_and_left_as_it_was() -> anyhow::Result<()> {
    let server = TestClickHouse::front(&[("FRONT_USER", "sqep"), ("FRONT_PASSWORD", "hunter2")])?;
    let url = server.url().replace("http://", "http://sqep:hunter2@");
    let other = "it_is_the_real_engine_with_a_database_of_its_own";
    let run = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", other])
        .env("SQEP_CLICKHOUSE_URL", url)
        // Nothing else could have answered.
        .env_remove("SQEP_PYTHON")
        .output()?;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert_eq!(server.said("^CREATE TABLE t ")?, 1, "it was asked");
    assert_eq!(
        server.ask("SELECT count() FROM system.databases WHERE name LIKE 'sqep_test_%'")?,
        "1\n",
        "its own"
    );
    Ok(())
}
