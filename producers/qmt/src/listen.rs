//! The listener that agents dial. Knows sockets, limits and who is connected; must not know bars.
//!
//! Nobody who is refused harms one who is in: a connection costs a task and one line of memory until its hello is in order,
//! and has a few seconds for it. A whole line must come every so often; bytes that trickle in do not count.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::AgentSettings,
    protocol::{Message, Reply},
    session::{Bye, Door, Session, Step},
    units::VolUnit,
};

/// Lines of all agents that wait to be taken; beyond it, and beyond `agent.queue_bytes_max`, nobody is read.
const LINES_WAIT_MAX: usize = 65_536;
/// What a line weighs besides its bytes, and what an object in it weighs at least when it is read.
const LINE_BYTES: usize = 256;
const OBJECT_BYTES: usize = 192;
/// Lines of ours that wait to be sent to an agent.
const REPLIES_WAIT_MAX: usize = 256;
/// Between two tries to accept when the system has no room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens at the door.
#[derive(Debug)]
pub enum Event {
    /// An agent is in.
    Came(Agent),
    /// It said something.
    Said {
        /// Which connection.
        id: u64,
        /// What.
        message: Message,
        /// Its place among the lines that wait.
        room: Room,
    },
    /// It is gone.
    Gone {
        /// Which connection.
        id: u64,
    },
}

/// A line's share of the bytes that may wait; given back when it is dropped.
#[derive(Debug, Default)]
pub struct Room(#[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>);

/// An agent that is in.
#[derive(Clone)]
pub struct Agent {
    /// Its connection.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Unit of its volumes.
    pub unit: VolUnit,
    /// Codes it offers.
    pub codes: Vec<String>,
    link: mpsc::Sender<Reply>,
    end: CancellationToken,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent without a connection: what is said to it comes out of the other end.
    pub fn loose(id: u64, name: &str, codes: &[&str]) -> (Agent, mpsc::Receiver<Reply>) {
        let (link, said) = mpsc::channel(REPLIES_WAIT_MAX);
        let codes = codes.iter().map(|&code| code.to_owned()).collect();
        let end = CancellationToken::new();
        (Agent { id, name: name.to_owned(), unit: VolUnit::Lots, codes, link, end }, said)
    }

    /// Ends its connection; it will come again.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Whether its connection was ended from here.
    pub fn is_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Says something to it; `false`: it does not listen.
    pub fn say(&self, reply: Reply) -> bool {
        self.link.try_send(reply).is_ok()
    }
}

/// What all connections share.
struct Hall {
    door: Door,
    settings: AgentSettings,
    tls: Option<TlsAcceptor>,
    events: mpsc::Sender<Event>,
    names: Mutex<BTreeSet<String>>,
    ids: AtomicU64,
    /// Bytes of lines that may wait.
    room: Arc<Semaphore>,
    room_bytes_max: u32,
    stop: CancellationToken,
}

/// Lets agents in until `stop`; what happens comes out of the receiver.
pub fn listen(
    listener: TcpListener,
    door: Door,
    settings: AgentSettings,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> mpsc::Receiver<Event> {
    let (events, happened) = mpsc::channel(LINES_WAIT_MAX);
    let room_bytes_max = settings.room_bytes();
    let hall = Hall {
        door,
        room: Arc::new(Semaphore::new(usize::try_from(room_bytes_max).unwrap_or(usize::MAX))),
        room_bytes_max,
        settings,
        tls,
        events,
        names: Mutex::new(BTreeSet::new()),
        ids: AtomicU64::new(1),
        stop,
    };
    tokio::spawn(accept(listener, Arc::new(hall)));
    happened
}

async fn accept(listener: TcpListener, hall: Arc<Hall>) {
    let room = Arc::new(Semaphore::new(hall.settings.connections_max.max(1)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hall.stop.cancelled() => return,
            () = hall.events.closed() => return,
        };
        let (mut stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("agents cannot be let in: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            warn!("{from} is refused: {} connections are open", hall.settings.connections_max);
            drop(stream.try_write(Reply::bye(&Bye::Full.to_string()).line().as_bytes()));
            continue;
        };
        let hall = Arc::clone(&hall);
        tokio::spawn(async move {
            // Small lines both ways: waiting to fill a packet would only cost time.
            drop(stream.set_nodelay(true));
            let bye = match &hall.tls {
                None => serve(&mut stream, &hall).await,
                Some(tls) => match timeout(seconds(hall.settings.hello_s_max), tls.accept(&mut stream)).await
                {
                    Ok(Ok(encrypted)) => serve(encrypted, &hall).await,
                    Ok(Err(error)) => return warn!("{from} does not speak TLS with us: {error}"),
                    Err(_) => Bye::Silence,
                },
            };
            info!("the connection from {from} has ended: {bye}");
            drop(place);
        });
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(1))
}

/// A connection from its first to its last line.
async fn serve(stream: impl AsyncRead + AsyncWrite + Send, hall: &Hall) -> Bye {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = BufReader::new(read);
    let patience = seconds(hall.settings.silence_s_max);
    let mut session = Session::new(hall.door.clone(), hall.settings.lines_per_s_max, Instant::now());
    let first = timeout(seconds(hall.settings.hello_s_max), next(&mut reader, hall)).await;
    let entered = match first.unwrap_or(Err(Some(Bye::Silence))) {
        Ok(line) => match session.take(&line, Instant::now()) {
            Ok(Step::Enter(hello)) => hall.name(&hello.agent).then_some(hello).ok_or(Bye::Taken),
            Ok(Step::Pass(_)) => Err(Bye::Hello),
            Err(bye) => Err(bye),
        },
        Err(bye) => Err(bye.unwrap_or(Bye::Hello)),
    };
    let hello = match entered {
        Ok(hello) => hello,
        Err(bye) => {
            say(&mut write, &Reply::bye(&bye.to_string()), patience).await;
            return bye;
        }
    };
    let (link, mut replies) = mpsc::channel(REPLIES_WAIT_MAX);
    let id = hall.ids.fetch_add(1, Ordering::Relaxed);
    let unit = hall.door.unit.or(hello.unit.volume).unwrap_or(VolUnit::Lots);
    info!("agent {} is in ({}, volume in {unit})", hello.agent, hello.api);
    let welcome = Reply::Ok { v: crate::protocol::VERSION, session: hello.session.clone() };
    let end = hall.stop.child_token();
    let agent = Agent { id, name: hello.agent.clone(), unit, codes: hello.codes, link, end: end.clone() };
    let mut bye = Bye::Stop;
    if say(&mut write, &welcome, patience).await && hall.events.send(Event::Came(agent)).await.is_ok() {
        let talk = talk(&mut reader, &mut session, hall, id);
        let answers = async {
            while let Some(reply) = replies.recv().await {
                let last = matches!(reply, Reply::Bye { .. });
                if !say(&mut write, &reply, patience).await || last {
                    break;
                }
            }
        };
        bye = tokio::select! {
            bye = talk => bye,
            () = answers => Bye::Stop,
            () = end.cancelled() => Bye::Stop,
        };
        // First the news that it is gone, then its name is free: nobody comes before the other is gone.
        drop(hall.events.send(Event::Gone { id }).await);
    }
    hall.leave(&hello.agent);
    say(&mut write, &Reply::bye(&bye.to_string()), Duration::from_secs(1)).await;
    bye
}

impl Hall {
    /// Takes a name; `false`: it is taken.
    fn name(&self, name: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    /// Room for a line, when there is some; `None`: nobody takes lines any more.
    async fn room(&self, line: &[u8]) -> Option<Room> {
        let objects = line.split(|&byte| byte == b'{').count();
        let weight = LINE_BYTES + line.len().max(objects.saturating_mul(OBJECT_BYTES));
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.room_bytes_max);
        Arc::clone(&self.room).acquire_many_owned(weight).await.ok().map(|room| Room(Some(room)))
    }

    fn leave(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Passes lines on until the agent goes, or must. A line waits for room before it is read into rows, so that what waits
/// is bounded by bytes; as long as it waits, nothing more is taken from the socket, and silence is not the agent's.
async fn talk<S: AsyncRead + Unpin>(
    reader: &mut BufReader<S>,
    session: &mut Session,
    hall: &Hall,
    id: u64,
) -> Bye {
    let patience = seconds(hall.settings.silence_s_max);
    loop {
        let line = match timeout(patience, next(reader, hall)).await {
            Ok(Ok(line)) => line,
            Ok(Err(bye)) => return bye.unwrap_or(Bye::Stop),
            Err(_) => return Bye::Silence,
        };
        let Some(room) = hall.room(&line).await else { return Bye::Stop };
        let message = match session.take(&line, Instant::now()) {
            Ok(Step::Pass(message)) => message,
            Ok(Step::Enter(_)) => return Bye::Hello,
            Err(bye) => return bye,
        };
        if hall.events.send(Event::Said { id, message, room }).await.is_err() {
            return Bye::Stop;
        }
    }
}

/// The next line. `Err(None)`: the other side has closed.
async fn next<S: AsyncRead + Unpin>(reader: &mut BufReader<S>, hall: &Hall) -> Result<Vec<u8>, Option<Bye>> {
    let mut line = Vec::new();
    loop {
        let buffer = reader.fill_buf().await.map_err(|_| None)?;
        if buffer.is_empty() {
            return Err(None);
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        if line.len() + used > hall.settings.line_bytes_max {
            return Err(Some(Bye::Line));
        }
        line.extend_from_slice(&buffer[..used]);
        reader.consume(used);
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Sends a line; `false`: it could not be sent in time.
async fn say<S: AsyncWrite>(write: &mut WriteHalf<S>, reply: &Reply, patience: Duration) -> bool {
    let line = reply.line();
    let sent = async {
        write.write_all(line.as_bytes()).await?;
        write.flush().await
    };
    matches!(timeout(patience, sent).await, Ok(Ok(())))
}
