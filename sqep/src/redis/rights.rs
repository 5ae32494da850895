//! What the user that a server takes us for may not do of an operator's work. Knows the commands and keys of each work;
//! carries none of them out: they are queued in a transaction that is dropped, and the server judges each right as it
//! queues. So it needs no right to ask about rights, and no version.

use redis::{RedisResult, Value};

use super::{Connection, denied, keys::Keys};
use crate::transport::TransportError;

/// A command of a work: its words before the key, the key, and words after it that do nothing should they be obeyed.
type Act = (&'static str, &'static [&'static str], String, &'static [&'static str]);

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The program's command that needs it.
    pub work: &'static str,
    /// Command and key.
    pub act: String,
}

/// What each work does beyond looking. A name that no group has stands for any.
fn acts(keys: &Keys) -> Vec<Act> {
    let lane = keys.replay("-");
    let (stream, dead, counts) = (keys.stream().to_owned(), keys.dead(), keys.dead_counts());
    vec![
        ("sqep tail", &["XREVRANGE"], stream.clone(), &["+", "-", "COUNT", "1"]),
        ("sqep tail", &["XREAD", "COUNT", "1", "STREAMS"], stream.clone(), &["$"]),
        ("sqep trim", &["XTRIM"], stream.clone(), &["MINID", "=", "0-0"]),
        ("sqep trim", &["SET"], keys.trimmed(), &["0-0", "NX"]),
        ("sqep trim", &["HSETNX"], keys.grown(), &["0", ""]),
        ("sqep trim", &["HKEYS"], keys.grown(), &[]),
        ("sqep trim", &["HDEL"], keys.grown(), &["-"]),
        ("sqep group", &["XGROUP", "CREATE"], stream.clone(), &["-", "0-0"]),
        ("sqep group", &["XGROUP", "DESTROY"], stream.clone(), &["-"]),
        ("sqep group", &["HSET"], keys.groups(), &["-", "0-0"]),
        ("sqep group", &["HDEL"], keys.groups(), &["-"]),
        ("sqep group", &["SET"], keys.resume("-"), &["0-0", "NX"]),
        ("sqep group", &["DEL"], keys.lease("-"), &[]),
        ("sqep dead", &["XRANGE"], dead.clone(), &["-", "+", "COUNT", "1"]),
        ("sqep dead", &["XDEL"], dead.clone(), &["0-1"]),
        ("sqep dead", &["XADD"], dead, &["NOMKSTREAM", "0-1", "-", ""]),
        ("sqep dead", &["XADD"], stream.clone(), &["NOMKSTREAM", "0-1", "-", ""]),
        ("sqep dead", &["HINCRBY"], counts.clone(), &["-", "0"]),
        ("sqep dead", &["HDEL"], counts, &["-"]),
        ("sqep replay", &["XGROUP", "CREATE"], lane.stream().to_owned(), &["-", "0-0"]),
        ("sqep replay", &["XSETID"], stream, &["0-0"]),
        ("sqep replay", &["XSETID"], lane.stream().to_owned(), &["0-0"]),
        ("sqep replay", &["SET"], keys.born(), &["", "NX"]),
        ("sqep replay", &["SET"], lane.source(), &["", "NX"]),
        ("sqep replay", &["SET"], lane.partitions(), &["0", "NX"]),
        ("sqep replay", &["XADD"], lane.stream().to_owned(), &["NOMKSTREAM", "0-1", "-", ""]),
        ("sqep replay", &["HSET"], lane.cursor("-"), &["-", ""]),
        ("sqep replay", &["HSET"], keys.replays(), &["-", ""]),
        ("sqep replay", &["DEL"], lane.born(), &[]),
    ]
}

impl Connection {
    /// What this user is denied of an operator's work on the stream of `keys`. Takes the connection: nobody else may say
    /// anything on it while a transaction is open.
    pub async fn denied_to_operator(mut self, keys: &Keys) -> Result<Vec<Denied>, TransportError> {
        // Only where this holds is nothing of what follows obeyed.
        self.ask::<Value>(&redis::cmd("MULTI")).await?;
        let (acts, mut pipeline) = (acts(keys), redis::pipe());
        pipeline.ignore_errors();
        for (_, command, key, rest) in &acts {
            pipeline.cmd(command[0]).arg(&command[1..]).arg(key).arg(*rest);
        }
        let replies: Vec<RedisResult<Value>> = self.ask_all(pipeline.cmd("DISCARD")).await?;
        let refused = |reply: &RedisResult<Value>| reply.as_ref().is_err_and(denied);
        let lacking = acts.into_iter().zip(replies).filter(|(_, reply)| refused(reply));
        Ok(lacking.map(|((work, command, key, _), _)| Denied { work, act: told(command, &key) }).collect())
    }
}

fn told(command: &[&str], key: &str) -> String {
    let subcommand = if command[0] == "XGROUP" { command } else { &command[..1] };
    format!("{} {key}", subcommand.join(" "))
}
