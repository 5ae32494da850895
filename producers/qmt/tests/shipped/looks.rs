//! What the agent says of its looks, read line by line: a look that failed is not told as one. Must not know the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::standin::{Agent, RUN, shipped};

/// By then everything has happened that is waited for.
const SCENE_MAX: Duration = Duration::from_secs(60);

/// The other side of an agent that was told what to look at, spoken by hand.
struct Listener {
    stream: BufReader<TcpStream>,
    /// Acknowledgements said so far.
    acks: u64,
    began: Instant,
    _agent: Agent,
    _folder: TempDir,
}

impl Listener {
    fn start(codes: &[&str], more: &[&str], habits: &[(&str, &str)]) -> Listener {
        let folder = tempfile::tempdir().unwrap();
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", door.local_addr().unwrap().port());
        #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where ours does")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let agent = Agent(shipped(RUN, &address, folder.path(), epoch, more, habits).spawn().unwrap());
        let stream = door.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut listener = Listener {
            stream: BufReader::new(stream),
            acks: 0,
            began: Instant::now(),
            _agent: agent,
            _folder: folder,
        };
        assert_eq!(listener.hear()["t"], "hello");
        listener.say(&json!({"t": "ok", "v": 1, "session": "s1"}));
        listener.say(&json!({"t": "sub", "codes": codes, "period": "1m", "start": "20250102000000"}));
        listener
    }

    fn say(&mut self, line: &Value) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        assert!(self.began.elapsed() < SCENE_MAX, "nothing of it in {SCENE_MAX:?}");
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The next line; a heartbeat is acknowledged by the next number.
    fn next(&mut self) -> Value {
        let line = self.hear();
        if line["t"] == "hb" {
            self.acks += 1;
            let seq = self.acks;
            self.say(&json!({"t": "ack", "seq": seq}));
        }
        line
    }
}

#[test]
fn a_look_in_which_a_security_fails_for_the_first_time_is_not_told_as_one() {
    // A download takes a fifth of a second, in which acknowledgements come; of each third look the read after it fails.
    let habits = [("STANDIN_DOWNLOAD_S", "12"), ("STANDIN_FAIL", "6")];
    let mut listener = Listener::start(&["600000.SH"], &["--subscribe-max", "0"], &habits);
    let (mut failed, mut told, mut looks) = (Vec::new(), 0, 0);
    while failed.len() < 4 || looks < 6 {
        let line = listener.next();
        if line["t"] == "err" {
            assert_eq!(line["code"], "600000.SH", "{line}");
            failed.push((told, listener.acks));
        }
        let Some(swept) = line["swept"].as_u64().filter(|&swept| swept != told) else { continue };
        // What it had heard when the look began that failed, and after: acknowledgements before its failure.
        let of_it = failed.iter().find(|&&(before, until)| before < swept && swept < until);
        assert_eq!(of_it, None, "{swept} is of a look that failed: {failed:?}");
        (told, looks) = (swept, looks + 1);
    }
}

#[test]
fn a_look_in_which_what_is_subscribed_cannot_be_read_is_not_told_as_one() {
    let mut listener = Listener::start(&["600000.SH"], &[], &[("STANDIN_FAIL", "7")]);
    let (mut failures, mut told, mut looks) = (0, Value::Null, 0);
    while failures < 8 || looks < 20 {
        let line = listener.next();
        failures += u32::from(line["t"] == "err" && line["code"].is_null());
        if line["t"] == "hb" && line["connected"] == false {
            assert_eq!(line["swept"], told, "after {failures} failures");
        } else if line["t"] == "hb" && line["swept"] != told {
            (told, looks) = (line["swept"].clone(), looks + 1);
        }
    }
}
