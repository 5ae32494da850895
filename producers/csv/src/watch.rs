//! When to look at the folders again: the system's word that something changed, and a look now and then without it.
//!
//! Knows folders and time; must not know which files count nor what is done with them. A missed word costs a wait of
//! [`Pace::rescan`], never a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

/// How quickly changes are taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A look without any word, for file systems that send none.
    pub rescan: Duration,
    /// A file that is still being written is left alone until nothing has come for so long …
    pub quiet: Duration,
    /// … but not longer than this.
    pub busy_max: Duration,
}

/// Waits for changes below some folders.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    changes: mpsc::Receiver<()>,
    // Held so that the channel stays open where the system cannot watch.
    _teller: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    roots: BTreeMap<PathBuf, bool>,
    last: Instant,
    first_word: Option<Instant>,
}

impl Watch {
    /// Watches `roots`, each with whether the folders below it count. What the system cannot watch is looked at every
    /// [`Pace::rescan`], and said so.
    pub fn new(roots: BTreeMap<PathBuf, bool>, pace: Pace) -> Watch {
        let (teller, changes) = mpsc::channel(1);
        let word = teller.clone();
        let told = move |event: notify::Result<notify::Event>| {
            let reading = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
            if !reading && let Err(mpsc::error::TrySendError::Closed(())) = word.try_send(()) {
                tracing::debug!("a change came after the end of the watch");
            }
        };
        let watcher =
            notify::recommended_watcher(told).inspect_err(|error| unwatched(Path::new("anything"), error));
        let mut watch = Watch {
            pace,
            changes,
            _teller: teller,
            watcher: watcher.ok(),
            roots,
            last: Instant::now(),
            first_word: None,
        };
        watch.place();
        watch
    }

    fn place(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for (root, deep) in &self.roots {
            let mode = if *deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            if let Err(error) = watcher.watch(root, mode) {
                unwatched(root, &error);
            }
        }
    }

    /// Returns when it is time to look again: a while after a change, or after [`Pace::rescan`] without one. Safe to
    /// drop while it waits.
    pub async fn due(&mut self) {
        let rescan = self.last + self.pace.rescan;
        if self.first_word.is_none() {
            match timeout_at(rescan, self.changes.recv()).await {
                Ok(_) => self.first_word = Some(Instant::now()),
                Err(_) => return self.looked(),
            }
        }
        self.settle().await;
        self.looked();
    }

    /// Waits until nothing more has come for a while.
    async fn settle(&mut self) {
        let latest = self.first_word.unwrap_or(self.last) + self.pace.busy_max;
        loop {
            let quiet = Instant::now() + self.pace.quiet;
            if quiet >= latest {
                return sleep_until(latest).await;
            }
            if timeout_at(quiet, self.changes.recv()).await.is_err() {
                return;
            }
        }
    }

    fn looked(&mut self) {
        self.first_word = None;
        self.last = Instant::now();
    }
}

fn unwatched(root: &Path, error: &notify::Error) {
    tracing::warn!(
        root = %root.display(),
        error = %error,
        "changes are not announced by the system here; the folder is looked at every csv.rescan_s instead"
    );
}
