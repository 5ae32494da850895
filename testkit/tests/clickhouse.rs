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
