//! A password is nowhere to be seen: not in what a program prints, whatever happens, nor in what it could print.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use sqep::redis::{RedisSettings, Server, without_password};
use sqep_testkit::{TestRedis, programs::program};

/// Nothing that is waited for may take longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What must not be seen.
const SECRET: &str = "hunter2-Aa+7";
/// The same as a URL writes it.
const WRITTEN: &str = "hunter2-Aa%2B7";

/// Exit code and everything a program printed, at the greatest verbosity.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = Command::new(program(name).expect("built"))
        .args(arguments)
        .env_clear()
        .env("SQEP_LOG", "trace")
        .envs(environment.iter().copied())
        .output()
        .expect("starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn hidden(what: &str, text: &str) {
    for secret in [SECRET, WRITTEN, "hunter2", "Aa%2B7", "Aa+7"] {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

/// A server that wants the password `SECRET` of everybody.
async fn guarded() -> TestRedis {
    TestRedis::start_with(&["--requirepass", SECRET]).await.expect("redis")
}

const ROW: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n\
                   000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_by_url_file_or_credential_lets_in_and_is_not_shown() {
    let redis = guarded().await;
    let folder = tempfile::tempdir().expect("folder");
    let (url, by_url) = (redis.url(), format!("{}?pass={WRITTEN}", redis.url()));
    let file = write(folder.path(), "password", &format!("{SECRET}\n"));
    write(folder.path(), "redis.password", SECRET);
    let credentials = folder.path().display().to_string();
    let rows = write(folder.path(), "000001.csv", ROW);
    let root = format!("parquet.root={}/archive", folder.path().display());
    let publish = ["--once", "--set", "csv.dialect=tushare", &rows];
    let deliver = ["--once", "--set", "reader.start=earliest", "--set", &root];
    for environment in [
        vec![("SQEP__REDIS__URL", by_url.as_str())],
        vec![("SQEP__REDIS__URL", &url), ("SQEP__REDIS__PASSWORD_FILE", &file)],
        vec![("SQEP__REDIS__URL", &url), ("CREDENTIALS_DIRECTORY", &credentials)],
    ] {
        for (name, arguments) in [
            ("sqep-csv", &publish[..]),
            ("sqep-parquet", &deliver),
            ("sqep", &["status"]),
            ("sqep", &["status", "--json"]),
        ] {
            let (code, text) = run(name, arguments, &environment);
            assert_eq!(code, 0, "{name}: {text}");
            hidden(name, &text);
            let (code, text) = run(name, &[arguments, &["--print-config"]].concat(), &environment);
            assert_eq!(code, 0, "{name}: {text}");
            assert!(text.contains("[redis]") && text.contains("url = \"redis+unix://"), "{text}");
            hidden(name, &text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_shown_whatever_fails() {
    let redis = TestRedis::start_with(&["--requirepass", "another"]).await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "password", SECRET);
    let rows = write(folder.path(), "000001.csv", ROW);
    let socket = redis.url();
    let urls = [
        format!("{socket}?pass={WRITTEN}"),
        format!("{socket}?user=me&pass={WRITTEN}"),
        format!("redis://me:{WRITTEN}@127.0.0.1:1/0"),
        format!("rediss://me:{WRITTEN}@127.0.0.1:1"),
        format!("redis://:{WRITTEN}@127.0.0.1:port"),
        format!("redis//me:{WRITTEN}@127.0.0.1"),
        format!("redis://me:{SECRET}/with/slashes@127.0.0.1:1"),
        format!("redis://me:{SECRET}?#@127.0.0.1:1"),
        format!("redis://127.0.0.1:{SECRET}"),
        format!("me:{SECRET}@127.0.0.1"),
        format!("redis+unix:///no/such/socket?pass={SECRET}"),
        format!("unix:no-such?pass={SECRET}"),
        format!("http://me:{SECRET}@127.0.0.1:1"),
        SECRET.to_owned(),
    ];
    let short = ("SQEP__REDIS__ONCE_PATIENCE_S_MAX", "0");
    for url in &urls {
        for (name, arguments) in [
            ("sqep-csv", &["--once", "--set", "csv.dialect=tushare", &rows][..]),
            ("sqep-csv", &["--check", &rows]),
            ("sqep", &["status"]),
        ] {
            let (code, text) = run(name, arguments, &[("SQEP__REDIS__URL", url), short]);
            assert!(code == 1 || code == 2, "{name} with {url}: {text}");
            assert!(text.contains("redis"), "{text}");
            hidden(name, &text);
        }
        let (code, text) = run("sqep-csv", &["--print-config"], &[("SQEP__REDIS__URL", url)]);
        assert_eq!(code, 0, "{text}");
        hidden("--print-config", &text);
        let (_, text) = run("sqep-csv", &["--once", "--set", &format!("redis.url={url}"), &rows], &[short]);
        hidden("--set", &text);
    }
    let (code, text) = run(
        "sqep-csv",
        &["--once", "--set", "csv.dialect=tushare", &rows],
        &[("SQEP__REDIS__URL", &socket), ("SQEP__REDIS__PASSWORD_FILE", &file), short],
    );
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("refuses the user or password"), "{text}");
    hidden("a wrong password", &text);
}

#[test]
fn a_password_is_not_shown_by_an_error_on_the_configuration() {
    let folder = tempfile::tempdir().expect("folder");
    let url = format!("redis://me:{WRITTEN}@127.0.0.1:1");
    for text in [
        format!("redis = \"{url}\"\n"),
        format!("[redis]\nurl = [\"{url}\"]\n"),
        format!("[redis]\nurl = {url}\n"),
        format!("[redis]\nurl = \"{url}\n"),
        format!("[redis]\nuri = \"{url}\"\n"),
        format!("[redis]\npassword = \"{SECRET}\"\n"),
        format!("[redis]\nurl = \"{url}\"\nresponse_timeout_s_max = \"{url}\"\n"),
    ] {
        let file = write(folder.path(), "sqep.toml", &text);
        let (code, told) = run("sqep-csv", &["--once", "--config", &file], &[]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("sqep.toml: line"), "{told}");
        hidden(&text, &told);
    }
    for (variable, value) in [
        ("SQEP__REDIS", url.clone()),
        ("SQEP__REDIS__PASSWORD", SECRET.to_owned()),
        ("SQEP__REDIS__URL__HOST", url.clone()),
        ("SQEP__REDIS__CONNECT_TIMEOUT_S_MAX", url.clone()),
    ] {
        let (code, told) = run("sqep-csv", &["--once"], &[(variable, &value)]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(variable), "{told}");
        hidden(variable, &told);
    }
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    for set in [
        format!("redis.url=redis://me:{WRITTEN}@127.0.0.1:1"),
        format!("redis.url=redis+unix:///socket?pass={WRITTEN}"),
        format!("redis://me:{WRITTEN}@127.0.0.1"),
    ] {
        let (code, told) = run("sqep-csv", &["--once", "--set", &set], &[]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("SQEP__REDIS__URL") || told.contains("section.key=value"), "{told}");
        hidden(&set, &told);
    }
}

#[test]
fn what_debug_and_serde_show_of_settings_and_server_holds_no_password() {
    for url in [
        format!("redis://me:{WRITTEN}@127.0.0.1:1/0"),
        format!("redis+unix:///socket?user=me&pass={WRITTEN}"),
        format!("rediss://:{WRITTEN}@redis.example:6380"),
    ] {
        let settings = RedisSettings { url: url.clone(), ..RedisSettings::default() };
        hidden("Debug of settings", &format!("{settings:?} {settings:#?}"));
        hidden("settings as TOML", &toml::to_string(&settings).expect("serializes"));
        hidden("settings as JSON", &serde_json::to_string(&settings).expect("serializes"));
        let server = Server::new(&settings).expect("a URL");
        hidden("Debug of a server", &format!("{server:?} {}", server.name()));
        hidden("the URL", &without_password(&url));
        assert!(
            without_password(&url).starts_with(url.split("://").next().expect("scheme")),
            "the place stays"
        );
    }
}

/// What a program answers on its port; nothing while nobody listens.
fn get(address: &str, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        drop(write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"));
        drop(stream.read_to_string(&mut answer));
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_health_and_command_line_of_a_running_program_show_no_password() {
    let mut redis = guarded().await;
    let folder = tempfile::tempdir().expect("folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let address = free.to_string();
    let log = std::fs::File::create(folder.path().join("log")).expect("a log");
    let mut program = Command::new(program("sqep-parquet").expect("built"))
        .args(["--set", "reader.start=earliest", "--set", &format!("http.listen={address}")])
        .args(["--set", &format!("parquet.root={}/archive", folder.path().display())])
        .env_clear()
        .env("SQEP_LOG", "trace")
        .env("SQEP__REDIS__URL", format!("{}?pass={WRITTEN}", redis.url()))
        .stderr(log)
        .spawn()
        .expect("starts");
    let until = |wanted: &str| {
        let since = Instant::now();
        while !get(&address, "/readyz").starts_with(wanted) {
            assert!(since.elapsed() < WAIT_MAX, "/readyz never says {wanted}: {}", get(&address, "/readyz"));
        }
        for path in ["/metrics", "/healthz", "/readyz", "/"] {
            hidden(path, &get(&address, path));
        }
    };
    until("HTTP/1.1 200");
    redis.server.kill().expect("killed");
    until("HTTP/1.1 503");
    let arguments = std::fs::read(format!("/proc/{}/cmdline", program.id())).expect("a process");
    hidden("the command line", &String::from_utf8_lossy(&arguments));
    program.kill().expect("killed");
    program.wait().expect("ended");
    hidden("the log", &std::fs::read_to_string(folder.path().join("log")).expect("a log"));
}

#[test]
fn what_print_config_prints_is_read_again_as_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["sqep-csv", "sqep-parquet"] {
        let arguments =
            ["--set", "stream.kind=bar:1m", "--set", "redis.connect_timeout_s_max=7", "--print-config"];
        let (code, first) = run(name, &arguments, &[("SQEP_LOG", "off")]);
        assert_eq!(code, 0, "{first}");
        for line in [
            "kind = \"bar:1m\"",
            "connect_timeout_s_max = 7",
            "prefix = \"sqep\"",
            "response_timeout_s_max = 15",
        ] {
            assert!(first.contains(line), "{line} is not in {first}");
        }
        let file = write(folder.path(), name, &first);
        let (code, again) = run(name, &["--config", &file, "--print-config"], &[("SQEP_LOG", "off")]);
        assert_eq!((code, again), (0, first));
    }
}

#[tokio::test]
async fn a_server_that_repeats_what_it_was_asked_does_not_make_us_tell() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let parrot = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut lines = BufReader::new(stream.try_clone().expect("clones")).lines();
        let asked = lines.by_ref().take(5).filter_map(Result::ok).collect::<Vec<_>>().join(" ");
        // As a server answers to a command it does not know.
        let told = format!("-ERR unknown command 'AUTH', with args beginning with: {asked}\r\n");
        for _ in 0..4 {
            drop(stream.write_all(told.as_bytes()));
        }
        asked
    });
    let url = format!("redis://:{WRITTEN}@127.0.0.1:{port}");
    let server = Server::new(&RedisSettings { url, ..RedisSettings::default() }).expect("a URL");
    let error = server.connect().await.expect_err("no server of ours");
    let asked = parrot.join().expect("ends");
    assert!(asked.contains(SECRET), "the server was told the password: {asked}");
    hidden("the error", &format!("{error} {error:?} {error:#}"));
}
