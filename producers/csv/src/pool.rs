//! Threads that work off jobs in the order they were given. Knows threads; must not know what a job does.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads. Dropping it forgets jobs that have not begun and lets the others end by themselves.
#[derive(Debug)]
pub(crate) struct Pool {
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    jobs: Mutex<Jobs>,
    come: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("waiting", &self.jobs().waiting.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `workers` threads, at least one.
    pub(crate) fn new(workers: usize) -> io::Result<Pool> {
        let desk = Arc::new(Desk::default());
        for at in 0..workers.max(1) {
            let desk = Arc::clone(&desk);
            thread::Builder::new().name(format!("csv-{at}")).spawn(move || desk.work())?;
        }
        Ok(Pool { desk })
    }

    /// Gives a job. The caller bounds how many wait.
    pub(crate) fn give(&self, job: impl FnOnce() + Send + 'static) {
        self.desk.jobs().waiting.push_back(Box::new(job));
        self.desk.come.notify_one();
    }

    /// Forgets jobs that have not begun.
    pub(crate) fn clear(&self) {
        self.desk.jobs().waiting.clear();
    }
}

impl Desk {
    /// The list is whole at every moment, whatever panicked.
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The panic was printed by its hook, and who waits for the job sees its channel close.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the reading threads panicked");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.come.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut jobs = self.desk.jobs();
        jobs.waiting.clear();
        jobs.closed = true;
        drop(jobs);
        self.desk.come.notify_all();
    }
}
