//! What a program tells the service manager that started it: ready, alive, how it goes, ending.
//!
//! Knows systemd's datagrams; must not know what a loop does: that it reads off the meters. Without a manager it says
//! nothing.

use std::{
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::print::without_secrets;
use crate::meter::{Loop, Meter, Meters, Reading};

/// How often the manager hears how it goes.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// How often the meters are looked at; oftener if the watchdog is impatient.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The manager's ear.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    socket: Arc<UnixDatagram>,
    address: SocketAddr,
    /// The manager ends a program that is silent for longer.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager named by the environment, if there is one.
    pub(super) fn from_environment() -> anyhow::Result<Option<Manager>> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let variable = |name| std::env::var(name).ok();
        let for_us = |pid: String| pid == std::process::id().to_string();
        let watchdog = variable("WATCHDOG_USEC")
            .filter(|_| variable("WATCHDOG_PID").is_none_or(for_us))
            .and_then(|text| text.parse().ok())
            .map(Duration::from_micros);
        Manager::new(&name, watchdog).map(Some)
    }

    fn new(name: &OsStr, watchdog: Option<Duration>) -> anyhow::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
            _ => SocketAddr::from_pathname(name),
        };
        let address = address.with_context(|| format!("NOTIFY_SOCKET {} names no socket", name.display()))?;
        let socket = UnixDatagram::unbound().context("a socket to the service manager")?;
        socket.set_nonblocking(true).context("a socket to the service manager")?;
        Ok(Manager { socket: Arc::new(socket), address, watchdog })
    }

    /// The program is about to end.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=settling what is in hand");
    }

    fn say(&self, text: &str) {
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.address) {
            warn!("the service manager does not listen: {error}");
        }
    }

    /// Says ready once every loop is connected, alive for as long as they move, and now and then how it goes.
    pub(super) async fn tell(self, meters: Meters) {
        let every = self.watchdog.map_or(LOOK_EVERY, |watchdog| LOOK_EVERY.min(watchdog / 2));
        let (mut ticks, mut ready) = (interval(every), false);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rates = Rates::default();
        loop {
            ticks.tick().await;
            let first = !ready && meters.connected();
            if first {
                ready = true;
                self.say("READY=1");
            }
            if self.watchdog.is_some() && meters.move_on().is_ok() {
                self.say("WATCHDOG=1");
            }
            if first || rates.since.is_none_or(|since| since.elapsed() >= STATUS_EVERY) {
                self.say(&format!("STATUS={}", rates.line(&meters)));
            }
        }
    }
}

/// What the meters showed last, to tell how fast they run.
#[derive(Debug, Default)]
struct Rates {
    since: Option<Instant>,
    last: Vec<(Loop, Reading)>,
}

impl Rates {
    /// How every loop goes, on one line.
    fn line(&mut self, meters: &Meters) -> String {
        let ms = self.since.map_or(0, |since| since.elapsed().as_millis());
        self.since = Some(Instant::now());
        let all: Vec<_> = meters.all().into_iter().map(|meter| (meter.read(), meter)).collect();
        let parts: Vec<String> = all
            .iter()
            .map(|(now, meter)| {
                let before = self.last.iter().find(|(of, _)| of == meter.of()).map(|(_, reading)| reading);
                let rate = |now: u64, before: Option<u64>| {
                    u128::from(now.saturating_sub(before.unwrap_or(now))) * 1_000 / ms.max(1)
                };
                let taken = rate(now.rows_in, before.map(|before| before.rows_in));
                let given = rate(now.rows_out, before.map(|before| before.rows_out));
                format!("{meter}: {}, {taken} rows/s in, {given} out", state(meter, now))
            })
            .collect();
        self.last = all.into_iter().map(|(now, meter)| (meter.of().clone(), now)).collect();
        if parts.is_empty() {
            "starting".to_owned()
        } else {
            without_secrets(&parts.join("; ").replace('\n', " "))
        }
    }
}

/// What there is to say of one loop: its trouble, if it has one, else its lag.
fn state(meter: &Meter, now: &Reading) -> String {
    if let Err(lasted) = meter.moves() {
        return format!("stuck for {lasted:.0?}");
    }
    if let Err(why) = meter.ready() {
        return why;
    }
    match (&now.held_back, now.behind, meter.lag_ms()) {
        (Some(reason), ..) => format!("holding back: {reason}"),
        (None, Some(behind), Some(ms)) => format!("lag {} entries, {} s", behind.entries, ms / 1_000),
        _ => "at work".to_owned(),
    }
}
