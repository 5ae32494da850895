//! A server that trusts nobody: TLS with client certificates, and one user a program with the least rights.
//!
//! The users are those of `deploy/redis/users.acl`; the certificates are made by the test.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use sqep::{
    redis::{
        RedisInlet, RedisOutlet, RedisSettings, Server,
        embedded::Embedded,
        keys::{Keys, StreamSettings},
        unique,
    },
    transport::{Outlet, TransportError},
};
use sqep_testkit::{programs::program, suite::transport};

const STREAM: &str = "sqep:{bar:1d:0}";
const PRODUCER: &str = "sqep-csv";
const CONSUMER: &str = "sqep-parquet";
const FEATURES: &str = "sqep-features";
const OPERATOR: &str = "sqep-operator";
/// The test's own hand, which may do everything.
const MASTER: &str = "master";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A CA of its own.
fn authority() -> anyhow::Result<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("ca {}", unique()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Writes `NAME.crt` and `NAME.key`, signed by the CA.
fn certify(ca: &Authority, folder: &Path, name: &str, usage: ExtendedKeyUsagePurpose) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, ca)?;
    fs::write(folder.join(format!("{name}.crt")), certificate.pem())?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}

/// A port nobody listens on, for a server that cannot choose one itself.
fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A guarded server and what its guests bring along.
struct Guarded {
    _server: Embedded,
    port: u16,
    socket: PathBuf,
    folder: tempfile::TempDir,
}

impl Guarded {
    async fn start() -> anyhow::Result<Guarded> {
        let folder = tempfile::Builder::new().prefix("sqep-guarded-").tempdir()?;
        let path = folder.path();
        let ca = authority()?;
        fs::write(path.join("ca.crt"), ca.pem())?;
        fs::write(path.join("other-ca.crt"), authority()?.pem())?;
        certify(&ca, path, "redis", ExtendedKeyUsagePurpose::ServerAuth)?;
        certify(&ca, path, "client", ExtendedKeyUsagePurpose::ClientAuth)?;
        certify(&authority()?, path, "stranger", ExtendedKeyUsagePurpose::ClientAuth)?;
        fs::write(path.join("users.acl"), users()?)?;
        for user in [PRODUCER, CONSUMER, FEATURES, OPERATOR] {
            fs::write(path.join(user), format!("{user}-secret\n"))?;
        }
        let file = |name: &str| path.join(name).display().to_string();
        let (acl, ca, cert, key) = (file("users.acl"), file("ca.crt"), file("redis.crt"), file("redis.key"));
        for _ in 0..10 {
            let port = free_port()?;
            let tls = port.to_string();
            let options =
                ["--aclfile", &acl, "--tls-port", &tls, "--bind", "127.0.0.1", "--tls-ca-cert-file", &ca];
            let options = [&options[..], &["--tls-cert-file", &cert, "--tls-key-file", &key]].concat();
            // Somebody else may have taken the port meanwhile.
            if let Ok(server) = Embedded::start_with(&path.join("data"), &options).await {
                let socket = path.join("data/redis.sock");
                return Ok(Guarded { _server: server, port, socket, folder });
            }
        }
        anyhow::bail!("no server would start: {}", fs::read_to_string(path.join("data/redis.log"))?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Settings of one user, with everything in order.
    fn settings(&self, user: &str) -> RedisSettings {
        RedisSettings {
            url: format!("rediss://{user}@localhost:{}", self.port),
            password_file: Some(self.path(user)),
            tls_ca_file: Some(self.path("ca.crt")),
            tls_cert_file: Some(self.path("client.crt")),
            tls_key_file: Some(self.path("client.key")),
            ..RedisSettings::default()
        }
    }

    /// The same as variables of a program.
    fn environment(&self, user: &str) -> Vec<(String, String)> {
        let settings = self.settings(user);
        let path =
            |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        [
            ("URL", settings.url.clone()),
            ("PASSWORD_FILE", path(&settings.password_file)),
            ("TLS_CA_FILE", path(&settings.tls_ca_file)),
            ("TLS_CERT_FILE", path(&settings.tls_cert_file)),
            ("TLS_KEY_FILE", path(&settings.tls_key_file)),
        ]
        .map(|(name, value)| (format!("SQEP__REDIS__{name}"), value))
        .to_vec()
    }

    /// Runs a program as a user: exit code and everything that was printed.
    fn run(&self, user: &str, name: &str, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
        let output =
            Command::new(program(name)?).args(arguments).env_clear().envs(self.environment(user)).output()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!text.contains("-secret"), "{name} shows a password: {text}");
        Ok((output.status.code().unwrap_or(-1), text))
    }

    /// Sends a command as a user, by the socket, where no certificate is asked for.
    async fn ask<T: redis::FromRedisValue>(&self, user: &str, words: &[&str]) -> redis::RedisResult<T> {
        let url = format!("redis+unix://{}?user={user}&pass={user}-secret", self.socket.display());
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }

    /// What users were denied since it was last asked, but for the question how the server persists: a program that may
    /// not ask it goes on without.
    async fn denied(&self) -> anyhow::Result<Vec<String>> {
        let log: Vec<HashMap<String, redis::Value>> = self.ask(MASTER, &["ACL", "LOG"]).await?;
        self.ask::<()>(MASTER, &["ACL", "LOG", "RESET"]).await?;
        let text = |entry: &HashMap<String, redis::Value>, name: &str| {
            redis::from_redis_value_ref::<String>(&entry[name]).unwrap_or_default()
        };
        let told = log.iter().map(|entry| format!("{} {}", text(entry, "username"), text(entry, "object")));
        Ok(told.filter(|told| !told.ends_with(" config|get")).collect())
    }
}

/// The users as delivered, each with a password of its own, and one more who may do everything.
fn users() -> anyhow::Result<String> {
    let delivered = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/redis/users.acl");
    let mut text = String::new();
    for line in fs::read_to_string(delivered)?.lines() {
        let user = line.split(' ').nth(1).unwrap_or_default();
        text += &line.replace(">CHANGE-ME", &format!(">{user}-secret"));
        text += "\n";
    }
    Ok(text + &format!("user {MASTER} on >{MASTER}-secret ~* &* +@all\n"))
}

const HEADER: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount";
const ROW: &str = "000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377";

#[tokio::test(flavor = "multi_thread")]
async fn every_program_does_its_work_as_its_own_user_over_tls() -> anyhow::Result<()> {
    let server = Guarded::start().await?;
    let file = server.path("000001.csv").display().to_string();
    let row = |day: u32| ROW.replace("20180718", &format!("201807{day}"));
    let good: Vec<String> = [16, 17, 18, 19, 20].into_iter().map(row).collect();
    let bad = row(13).replace("8.75", "-8.75");
    fs::write(&file, format!("{HEADER}\n{bad}\n{}\n", good.join("\n")))?;
    let archive = server.path("archive").display().to_string();
    let state = format!("features.state={}", server.path("state").display());
    let features = ["--set", "reader.start=earliest", "--set", "features.latest=true", "--set", &state];
    let (root, second) = (format!("parquet.root={archive}"), format!("parquet.root={archive}-second"));
    let publish = ["--once", "--set", "csv.dialect=tushare", &file];
    let (code, text) = server.run(PRODUCER, "sqep-csv", &publish)?;
    assert!(code == 0 && text.contains("refused 1"), "a row lies in the dead letters: {text}");
    server.ask::<String>(MASTER, &["XADD", STREAM, "*", "v", "9"]).await?;
    for (user, name, arguments) in [
        (PRODUCER, "sqep-csv", &["--check", "--set", "csv.dialect=tushare", &file][..]),
        (CONSUMER, "sqep-parquet", &["--check", "--set", "reader.start=earliest", "--set", &root]),
        (CONSUMER, "sqep-parquet", &["--once", "--set", "reader.start=earliest", "--set", &root]),
        (FEATURES, "sqep-features", &[&features[..], &["--check"]].concat()),
        (FEATURES, "sqep-features", &[&features[..], &["--once"]].concat()),
        (
            CONSUMER,
            "sqep-parquet",
            &["--once", "--set", "stream.kind=feature:1d", "--set", "reader.start=earliest", "--set", &root],
        ),
        (FEATURES, "sqep-features", &[&features[..], &["--once", "--resume"]].concat()),
        (OPERATOR, "sqep", &["status"]),
        (OPERATOR, "sqep", &["tail", "bar:1d", "--from-start", "--once"]),
        (OPERATOR, "sqep", &["top", "--looks", "1"]),
        (OPERATOR, "sqep", &["audit", "--archive", &archive, "--against", "stream"]),
        (OPERATOR, "sqep", &["group", "list"]),
        (OPERATOR, "sqep", &["group", "resume", "parquet"]),
        (CONSUMER, "sqep-parquet", &["--once", "--set", &root]),
        (OPERATOR, "sqep", &["replay", "--into", "second", "--archive", &archive]),
        (CONSUMER, "sqep-parquet", &["--once", "--set", "reader.group=second", "--set", &second]),
        (OPERATOR, "sqep", &["group", "retire", "second"]),
        (OPERATOR, "sqep", &["dead", "list"]),
        (OPERATOR, "sqep", &["dead", "export", "--out", "-"]),
        (OPERATOR, "sqep", &["dead", "redrive", "--dry-run"]),
        (OPERATOR, "sqep", &["dead", "purge", "--yes"]),
        (OPERATOR, "sqep", &["trim", "--set", "stream.keep_hours_min=0"]),
    ] {
        let (code, text) = server.run(user, name, arguments)?;
        assert_eq!(server.denied().await?, [""; 0], "{name} {arguments:?}: {text}");
        assert_eq!(code, 0, "{name} {arguments:?}: {text}");
    }
    assert_eq!(server.ask::<u64>(MASTER, &["XLEN", STREAM]).await?, 0, "everything was settled and trimmed");
    assert_eq!(server.ask::<u64>(MASTER, &["XLEN", &Keys::of(STREAM).dead()]).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transport_keeps_its_promises_under_the_users_of_a_producer_and_a_consumer() -> anyhow::Result<()>
{
    const LEASE: Duration = Duration::from_secs(30);
    let server = Guarded::start().await?;
    let connect = |user: &str| Server::new(&server.settings(user));
    let settings = StreamSettings::default();
    let mut outlet = RedisOutlet::new(connect(PRODUCER)?, settings.clone(), "suite");
    let mut inlet = RedisInlet::new(connect(CONSUMER)?, settings.clone(), 0, "group", LEASE, None);
    let lease = Keys::of(STREAM).lease("group");
    transport::transport(&mut outlet, &mut inlet, || async {
        Ok(server.ask(MASTER, &["SET", &lease, "somebody/1/1/else"]).await?)
    })
    .await?;
    assert!(outlet.room().await?.is_none(), "a producer may look whom it waits for");
    server.ask::<()>(MASTER, &["FLUSHALL"]).await?;
    let mut outlet = RedisOutlet::new(connect(PRODUCER)?, settings.clone(), "suite");
    let mut inlet = RedisInlet::new(connect(CONSUMER)?, settings, 0, "group", LEASE, None);
    transport::raise(&mut outlet, &mut inlet).await?;
    assert_eq!(server.denied().await?, [""; 0]);
    Ok(())
}

/// What each user must not do, beside what everybody must not.
const FORBIDDEN: [(&str, &[&[&str]]); 4] = [
    (
        PRODUCER,
        &[
            &["XRANGE", STREAM, "-", "+"],
            &["XREVRANGE", STREAM, "+", "-"],
            &["XREAD", "STREAMS", STREAM, "0"],
            &["XREADGROUP", "GROUP", "parquet", "parquet", "STREAMS", STREAM, ">"],
            &["XINFO", "STREAM", STREAM],
            &["XINFO", "STREAM", STREAM, "FULL"],
            &["XCLAIM", STREAM, "parquet", "x", "0", "1-1"],
            &["XAUTOCLAIM", STREAM, "parquet", "x", "0", "0"],
            &["DUMP", STREAM],
            &["COPY", STREAM, "mine"],
            &["EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", "1", STREAM],
            &["XGROUP", "CREATE", STREAM, "mine", "0"],
            &["XTRIM", STREAM, "MAXLEN", "0"],
            &["XDEL", STREAM, "1-1"],
            &["DEL", STREAM],
            &["SET", STREAM, "gone"],
            &["SET", "sqep:{bar:1d:0}:lease:parquet", "mine"],
            &["HSET", "sqep:{bar:1d:0}:groups", "parquet", "9-9"],
            &["XRANGE", "sqep:{bar:1d:0}:dead", "-", "+"],
        ],
    ),
    (
        CONSUMER,
        &[
            &["XADD", STREAM, "*", "v", "1"],
            &["EVAL", "return redis.call('XADD', KEYS[1], '*', 'v', '1')", "1", STREAM],
            &["XTRIM", STREAM, "MAXLEN", "0"],
            &["XDEL", STREAM, "1-1"],
            &["DEL", STREAM],
            &["SET", STREAM, "gone"],
            &["RESTORE", STREAM, "0", "x"],
            &["COPY", "mine", STREAM],
            &["RENAME", STREAM, "mine"],
            &["SET", "sqep:{bar:1d:0}:source", "mine"],
            &["HSET", "sqep:{bar:1d:0}:cursor:csv", "seq", "9"],
            &["XDEL", "sqep:{bar:1d:0}:dead", "1-1"],
            &["DEL", "sqep:{bar:1d:0}:dead"],
        ],
    ),
    (
        FEATURES,
        &[
            &["XADD", STREAM, "*", "v", "1"],
            &["XTRIM", STREAM, "MAXLEN", "0"],
            &["XDEL", STREAM, "1-1"],
            &["DEL", STREAM],
            &["DEL", "sqep:{feature:1d:0}"],
            &["XTRIM", "sqep:{feature:1d:0}", "MAXLEN", "0"],
            &["SET", "sqep:{bar:1d:0}:source", "mine"],
            &["HSET", "sqep:{bar:1d:0}:cursor:csv", "seq", "9"],
            &["XDEL", "sqep:{bar:1d:0}:dead", "1-1"],
        ],
    ),
    (
        OPERATOR,
        &[&["SET", "other", "key"], &["DEL", "other"], &["RENAME", STREAM, "mine"], &["GET", "other"]],
    ),
];

/// What no user may do.
const ALWAYS: [&[&str]; 13] = [
    &["FLUSHALL"],
    &["FLUSHDB"],
    &["CONFIG", "SET", "maxmemory", "1"],
    &["CONFIG", "REWRITE"],
    &["ACL", "LIST"],
    &["ACL", "SETUSER", "mine", "on"],
    &["ACL", "WHOAMI"],
    &["KEYS", "*"],
    &["SHUTDOWN"],
    &["REPLICAOF", "127.0.0.1", "1"],
    &["CLIENT", "KILL", "ID", "1"],
    &["MONITOR"],
    &["GET", "other"],
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_has_no_need_of_is_refused() -> anyhow::Result<()> {
    let server = Guarded::start().await?;
    server.ask::<String>(MASTER, &["XADD", STREAM, "1-1", "v", "1"]).await?;
    server.ask::<()>(MASTER, &["XGROUP", "CREATE", STREAM, "parquet", "0"]).await?;
    for (user, acts) in FORBIDDEN {
        for act in acts.iter().chain(&ALWAYS) {
            let told = server.ask::<redis::Value>(user, act).await.expect_err(&format!("{user}: {act:?}"));
            let text = told.to_string();
            let known = ["NoPerm", "ACL failure in script", "The user executing the script can't"];
            assert!(known.iter().any(|known| text.contains(known)), "{user}: {act:?}: {text}");
        }
    }
    for user in [PRODUCER, CONSUMER, FEATURES] {
        let told = server.ask::<redis::Value>(user, &["CONFIG", "GET", "*"]).await;
        assert!(told.is_err(), "{user} sees the passwords of others");
    }
    let nobody = redis::Client::open(format!("redis+unix://{}", server.socket.display()))?;
    let mut nobody = nobody.get_multiplexed_async_connection().await?;
    let told = redis::cmd("PING").query_async::<String>(&mut nobody).await;
    assert!(told.is_err_and(|error| error.to_string().contains("NOAUTH")), "the default user is off");
    assert_eq!(server.ask::<u64>(MASTER, &["XLEN", STREAM]).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_right_is_told_where_it_stands() -> anyhow::Result<()> {
    let server = Guarded::start().await?;
    let mut outlet =
        RedisOutlet::new(Server::new(&server.settings(CONSUMER))?, StreamSettings::default(), "suite");
    let Err(TransportError::Wrong(told)) = outlet.open().await else { panic!("a consumer must not publish") };
    assert!(format!("{told:#}").contains("deploy/redis/users.acl"), "{told:#}");
    Ok(())
}

async fn refused(settings: &RedisSettings) -> String {
    let server = match Server::new(settings) {
        Ok(server) => server,
        Err(error) => return format!("at once: {error:#}"),
    };
    match server.connect().await {
        Ok(_) => panic!("let in: {settings:?}"),
        Err(TransportError::Wrong(error)) => format!("wrong: {error:#}"),
        Err(TransportError::Gone(error)) => format!("gone: {error:#}"),
    }
}

/// A change of settings that are right, when it is refused, and the words that must be told: the key at fault and why.
type Wrong = (fn(RedisSettings, &Guarded) -> RedisSettings, &'static str, &'static str, &'static str);

/// Files that cannot be what they are named as.
const WRONG_FILES: [Wrong; 9] = [
    (
        |good, all| RedisSettings { tls_ca_file: Some(all.path("no-such")), ..good },
        "at once",
        "redis.tls_ca_file",
        "no-such",
    ),
    (
        |good, all| RedisSettings { tls_ca_file: Some(all.path("empty")), ..good },
        "at once",
        "redis.tls_ca_file",
        "empty",
    ),
    (
        |good, all| RedisSettings { tls_ca_file: Some(all.path("client.key")), ..good },
        "at once",
        "redis.tls_ca_file",
        "client.key",
    ),
    (
        |good, all| RedisSettings { tls_cert_file: Some(all.path("client.key")), ..good },
        "at once",
        "redis.tls_cert_file",
        "client.key",
    ),
    (
        |good, all| RedisSettings { tls_key_file: Some(all.path("client.crt")), ..good },
        "at once",
        "redis.tls_key_file",
        "client.crt",
    ),
    (
        |good, all| RedisSettings { tls_key_file: Some(all.path("stranger.key")), ..good },
        "at once",
        "redis.tls_key_file",
        "do not belong together",
    ),
    (|good, _| RedisSettings { tls_key_file: None, ..good }, "at once", "redis.tls_key_file", "client.crt"),
    (|good, _| RedisSettings { tls_cert_file: None, ..good }, "at once", "redis.tls_cert_file", "client.key"),
    (
        |good, _| RedisSettings { url: good.url.replace("rediss", "redis"), ..good },
        "at once",
        "redis.tls_ca_file",
        "rediss://",
    ),
];

/// Files of somebody else, and another name.
const WRONG_PEERS: [Wrong; 5] = [
    (
        |good, all| RedisSettings { tls_ca_file: Some(all.path("other-ca.crt")), ..good },
        "wrong",
        "redis.tls_ca_file",
        "not trusted",
    ),
    (|good, _| RedisSettings { tls_ca_file: None, ..good }, "wrong", "redis.tls_ca_file", "not trusted"),
    (
        |good, _| RedisSettings { tls_cert_file: None, tls_key_file: None, ..good },
        "wrong",
        "redis.tls_cert_file",
        "certificate",
    ),
    (
        |good, all| RedisSettings {
            tls_cert_file: Some(all.path("stranger.crt")),
            tls_key_file: Some(all.path("stranger.key")),
            ..good
        },
        "wrong",
        "redis.tls_cert_file",
        "certificate",
    ),
    (
        |good, _| RedisSettings { url: good.url.replace("localhost", "127.0.0.1"), ..good },
        "wrong",
        "redis.url",
        "another name",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_of_tls_is_named_with_its_key() -> anyhow::Result<()> {
    let server = Guarded::start().await?;
    let good = server.settings(PRODUCER);
    Server::new(&good)?.connect().await?;
    fs::write(server.path("empty"), "")?;
    for (change, when, key, what) in WRONG_FILES.into_iter().chain(WRONG_PEERS) {
        let settings = change(good.clone(), &server);
        let told = refused(&settings).await;
        assert!(told.starts_with(when) && told.contains(key) && told.contains(what), "{settings:?}: {told}");
        assert!(!told.contains("PRIVATE KEY-----"), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_taken_up_without_a_restart() -> anyhow::Result<()> {
    let server = Guarded::start().await?;
    let client = Server::new(&server.settings(PRODUCER))?;
    client.connect().await?;
    let (cert, key) = (server.path("client.crt"), server.path("client.key"));
    let old = (fs::read(&cert)?, fs::read(&key)?);
    fs::copy(server.path("stranger.crt"), &cert)?;
    fs::copy(server.path("stranger.key"), &key)?;
    assert!(client.connect().await.is_err(), "the files are read for every connection");
    fs::remove_file(&key)?;
    assert!(matches!(client.connect().await, Err(TransportError::Gone(_))), "half a renewal is waited for");
    fs::write(&cert, old.0)?;
    fs::write(&key, old.1)?;
    client.connect().await?;
    Ok(())
}
