//! The program and agents that dial it: who is let in, who is not, and that the one does not suffer from the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sqep::{Kind, MinuteBar, kind::Grid, shanghai};

use crate::common::{Rig, at};

const TOKEN: &str = "0123456789abcdef0123";
const MINUTES: Kind = Kind::BarMinute(Grid::M1);

/// The program, listening.
struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Program {
    fn start(rig: &Rig, more: &[&str]) -> Program {
        let fixed = [
            "--set",
            "agent.listen=127.0.0.1:0",
            "--set",
            "stream.kind=bar:1m",
            "--set",
            "qmt.codes=600000.SH,000001.SZ",
            // A Sunday: whenever a test is run, nothing is traded.
            "--rehearse",
            "2025-01-05T12:00:00",
        ];
        let mut command = rig.command(&[&fixed[..], more].concat());
        command.env("SQEP__AGENT__TOKEN", TOKEN).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut line, mut out) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        out.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(address.contains(':'), "{line:?} {}", errors(&mut child));
        Program { child, out, address }
    }

    fn dial(&self) -> Agent<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Agent { stream: BufReader::new(stream) }
    }

    /// An agent that is in and was told what to do.
    fn enter(&self, name: &str) -> (Agent<TcpStream>, Value) {
        let mut agent = self.dial();
        agent.say(&hello(name, TOKEN));
        assert_eq!(agent.hear()["t"], "ok");
        assert_eq!(agent.hear()["t"], "sub");
        let hist = agent.hear();
        assert_eq!(hist["t"], "hist", "{hist}");
        (agent, hist)
    }
}

fn errors(child: &mut Child) -> String {
    drop(child.kill());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The other side, spoken by hand.
struct Agent<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Agent<S> {
    fn say(&mut self, line: &Value) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line that is no acknowledgement; null when the connection has ended.
    fn hear(&mut self) -> Value {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
                return Value::Null;
            }
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["t"] != "ack" {
                return value;
            }
        }
    }

    /// The end of the connection, with a word or without.
    fn hear_the_end(&mut self) {
        let last = self.hear();
        assert!(last.is_null() || last["reason"] == "stop" && self.hear().is_null(), "{last}");
    }

    fn history(&mut self, req: &Value, code: &str, minutes: &[&str]) {
        let row = |minute: &&str| {
            let time = shanghai::instant_ms(at(&format!("2025-01-02T{minute}:00"))).unwrap();
            json!({"time": time, "open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 5, "amount": 5000.0})
        };
        let rows: Vec<Value> = minutes.iter().map(row).collect();
        self.say(
            &json!({"t":"bars","seq":2,"period":"1m","src":"history","req":req,"code":code,"rows":rows}),
        );
        self.say(&json!({"t":"done","req":req,"rows":rows.len()}));
    }
}

fn hello(name: &str, token: &str) -> Value {
    json!({"t":"hello","v":1,"agent":name,"session":"s1","token":token,"api":"xtdata","unit":{"volume":"lot"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_asked_for_history_and_its_bars_come_onto_the_stream_once() {
    let rig = Rig::start().await;
    let mut program = Program::start(&rig, &["--once"]);
    let (mut agent, hist) = program.enter("pc1");
    assert_eq!((&hist["period"], hist["codes"].as_array().unwrap().len()), (&json!("1m"), 2));
    agent.history(&hist["req"], "600000.SH", &["09:30", "09:31", "09:32"]);
    // A run with --once ends when the gaps are filled.
    agent.hear_the_end();
    assert!(program.child.wait().unwrap().success());
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    assert_eq!((stream.count, stream.rows.len()), (3, 3));

    let mut program = Program::start(&rig, &["--once"]);
    let mut agent = program.dial();
    agent.say(&hello("pc1", TOKEN));
    let heard: Vec<Value> = (0..3).map(|_| agent.hear()).collect();
    // The one security goes on behind its mark, the other from today; what overlaps is not published again.
    let hist = heard.iter().find(|line| line["t"] == "hist").unwrap();
    assert_eq!(hist["start"], "20250102093300", "{heard:?}");
    agent.history(&hist["req"], "600000.SH", &["09:31", "09:32", "09:33"]);
    let rest = agent.hear();
    assert_eq!(rest["codes"], json!(["000001.SZ"]), "who misses a day is asked for apart");
    agent.history(&rest["req"], "000001.SZ", &[]);
    agent.hear_the_end();
    assert!(program.child.wait().unwrap().success());
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    assert_eq!((stream.count, stream.rows.len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_harms_nobody_who_is_in() {
    let rig = Rig::start().await;
    let limits = ["--set", "agent.hello_s_max=1", "--set", "agent.connections_max=4"];
    let program = Program::start(&rig, &limits);
    let (mut first, hist) = program.enter("pc1");

    let mut second = program.dial();
    second.say(&hello("pc1", TOKEN));
    assert_eq!(second.hear(), json!({"t":"bye","reason":"taken"}), "one of a name");
    assert_eq!(second.hear(), Value::Null, "and the connection ends");

    let mut wrong = program.dial();
    wrong.say(&hello("pc2", "0123456789abcdef0124"));
    assert_eq!(wrong.hear(), json!({"t":"bye","reason":"token"}));

    // A slow loris: a byte every now and then, and never a line.
    let mut slow = program.dial();
    let began = Instant::now();
    let mut drip = slow.stream.get_ref().try_clone().unwrap();
    let dripped = std::thread::spawn(move || {
        (0..10_000)
            .take_while(|_| {
                std::thread::park_timeout(Duration::from_millis(20));
                drip.write_all(b" ").is_ok()
            })
            .count()
    });
    assert_eq!(slow.hear(), json!({"t":"bye","reason":"silence"}));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(slow);
    let dripped = dripped.join().unwrap();
    assert!((10..1_000).contains(&dripped), "{dripped} bytes did not keep it alive");

    // 100 MiB without an end: it is cut off long before.
    let mut long = program.dial();
    let block = vec![b'x'; 1 << 20];
    let sent = (0..100).take_while(|_| long.stream.get_mut().write_all(&block).is_ok()).count();
    assert!(sent < 100, "{sent} MiB were taken");

    let crowd: Vec<_> = (0..6).map(|_| program.dial()).collect();
    let mut refused = 0;
    for mut one in crowd {
        refused += usize::from(one.hear() == json!({"t":"bye","reason":"full"}));
    }
    assert!(refused >= 3, "{refused} of six beside the one that is in");

    first.history(&hist["req"], "600000.SH", &["09:30", "09:31"]);
    first.say(&json!({"t":"hb","seq":9,"now":0,"connected":true}));
    let mut line = String::new();
    first.stream.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), r#"{"t":"ack","seq":9}"#, "the first is heard as before");
    drop(first);
    // Its name is free again.
    let again = (0..50).find_map(|_| {
        let mut agent = program.dial();
        agent.say(&hello("pc1", TOKEN));
        (agent.hear()["t"] == "ok").then_some(())
    });
    assert!(again.is_some());
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    assert_eq!(stream.rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_or_a_flood_of_lines_over_the_limit_ends_the_connection() {
    let rig = Rig::start().await;
    let limits = ["--set", "agent.line_bytes_max=2000", "--set", "agent.lines_per_s_max=20"];
    let program = Program::start(&rig, &limits);
    let (mut agent, _) = program.enter("pc1");
    agent.say(&json!({"t":"hb","now":0,"pad":"x".repeat(3_000)}));
    assert_eq!(agent.hear(), json!({"t":"bye","reason":"line"}));
    let (mut agent, _) = program.enter("pc2");
    // In one piece, so that the other side has read all of it when it says why it goes.
    let line = json!({"t":"instrument","day":"20250102","code":"600000.SH"});
    agent.stream.get_mut().write_all(format!("{line}\n").repeat(205).as_bytes()).unwrap();
    let last =
        std::iter::repeat_with(|| agent.hear()).find(|line| line.is_null() || line["t"] == "bye").unwrap();
    assert_eq!(last["reason"], "rate", "{last}");
    let (mut agent, _) = program.enter("pc3");
    agent.stream.get_mut().write_all(b"no json\n").unwrap();
    assert_eq!(agent.hear(), json!({"t":"bye","reason":"json"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_value_costs_its_row_an_odd_line_itself_and_neither_the_connection() {
    let rig = Rig::start().await;
    let mut program = Program::start(&rig, &["--once"]);
    let (mut agent, hist) = program.enter("pc1");
    let time = shanghai::instant_ms(at("2025-01-02T09:31:00")).unwrap();
    let good = json!({"time": time, "open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 5, "amount": 5000.0, "suspendFlag": 0.0});
    let with = |key: &str, value: Value| {
        let mut row = good.clone();
        row[key] = value;
        row
    };
    let mut untimed = good.clone();
    untimed.as_object_mut().unwrap().remove("time");
    let rows = [with("volume", json!("5")), good.clone(), untimed, with("suspendFlag", json!("no"))];
    agent.say(&json!({"t":"bars","period":"15m","src":"live","code":"600000.SH","rows":[]}));
    agent.say(
        &json!({"t":"bars","period":"1m","src":"history","req":hist["req"],"code":"600000.SH","rows":rows}),
    );
    agent.say(&json!({"t":"done","req":hist["req"],"rows":rows.len()}));
    // All of it is heard, and the run ends.
    agent.hear_the_end();
    let output = wait(&mut program);
    assert!(output.contains("read 5 = appended 1 + refused 4 + skipped 0"), "{output}");
    assert_eq!(rig.stream::<MinuteBar>(MINUTES).await.count, 1);
}

/// What the program says at its end.
fn wait(program: &mut Program) -> String {
    assert!(program.child.wait().unwrap().success());
    let mut text = String::new();
    program.out.read_to_string(&mut text).unwrap();
    text
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_an_agent_is_not_read_beyond_the_limit() {
    let mut rig = Rig::start().await;
    let program = Program::start(&rig, &["--set", "agent.lines_per_s_max=1000000"]);
    let (mut agent, hist) = program.enter("pc1");
    agent.history(&hist["req"], "600000.SH", &["09:30"]);
    agent.say(&json!({"t":"hb","seq":1,"now":0}));
    while rig.stream::<MinuteBar>(MINUTES).await.count == 0 {}
    rig.redis.server.kill().unwrap();
    // A day of bars a line, until nothing is taken any more.
    let line = |day: i64| {
        let row = |minute: i64| {
            let time = 1_735_781_460_000 + day * 86_400_000 + minute * 60_000;
            format!(r#"{{"time":{time},"open":10,"high":10,"low":10,"close":10,"volume":5,"amount":5000}}"#)
        };
        let rows: Vec<String> = (0..120).map(row).collect();
        format!(r#"{{"t":"bars","period":"1m","src":"live","code":"600000.SH","rows":[{}]}}"#, rows.join(","))
            + "\n"
    };
    agent.stream.get_mut().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut taken = 0;
    for line in (0..60_000).map(|day| line(day % 600)) {
        if agent.stream.get_mut().write_all(line.as_bytes()).is_err() {
            break;
        }
        taken += line.len();
    }
    assert!(taken < 200 << 20, "{} MiB were taken", taken >> 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{} MiB taken, {} MiB at the peak", taken >> 20, kib >> 10);
    assert!(kib < 120 << 10, "{kib} KiB at the peak");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_a_short_one_or_half_a_certificate_is_wrong_configuration() {
    let rig = Rig::start().await;
    let base = ["--once", "--set", "stream.kind=bar:1m", "--set", "agent.listen=127.0.0.1:0"];
    for (token, more, part) in [
        ("", vec![], "no token for agents"),
        ("short", vec![], "fewer than 16 characters"),
        (TOKEN, vec!["--set", "agent.tls_cert_file=/x"], "set agent.tls_key_file"),
        (TOKEN, vec!["--set", "stream.kind=bar:1d"], "an agent gives minutes"),
        ("", vec!["--set", "agent.token=0123456789abcdef0123"], "shows a secret"),
    ] {
        let mut command = rig.command(&[&base[..], more.as_slice()].concat());
        let output = command.env("SQEP__AGENT__TOKEN", token).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(part), "{part} in {text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_the_listener_speaks_tls_and_nothing_else() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let cert_set = format!("agent.tls_cert_file={}", cert.display());
    let key_set = format!("agent.tls_key_file={}", key.display());
    let program =
        Program::start(&rig, &["--set", &cert_set, "--set", &key_set, "--set", "agent.hello_s_max=1"]);
    let mut plain = program.dial();
    plain.say(&hello("pc1", TOKEN));
    let mut answer = Vec::new();
    drop(plain.stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"{"), "no word in the clear");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(&program.address).unwrap();
    let mut agent = Agent { stream: BufReader::new(StreamOwned::new(client, stream)) };
    agent.say(&hello("pc1", TOKEN));
    assert_eq!(agent.hear(), json!({"t":"ok","v":1,"session":"s1"}));
}
