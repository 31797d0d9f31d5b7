//! Work that may block: files, name look-ups, binding an address by name.
//!
//! It runs on a few threads of the library's own, which exist only while there is work. tokio has such a pool,
//! but that one panics when the system has no thread to give; here this is an error like any other.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode, Result};
use crate::process;
use crate::thread::{OwnThread, Thread, spawn_thread};

/// More than one, so that one slow file does not delay the others.
pub(crate) const MAX_THREADS: usize = 4;

/// How long a thread waits for the next job before it ends.
const LINGER: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Starts `job` on a thread where it may block. It runs to its end even if the future is dropped.
///
/// The future fails with [`ErrorCode::Io`] when no thread can be started.
pub(crate) fn blocking<R: Send + 'static>(job: impl FnOnce() -> Result<R> + Send + 'static) -> Blocking<R> {
    let (done, outcome) = oneshot::channel();
    let job = Box::new(move || {
        let _ = done.send(job());
    });
    let refused = process::current().threads_for_blocking.submit(job).err();
    Blocking { refused, outcome }
}

/// The outcome of a [`blocking`] job.
pub(crate) struct Blocking<R> {
    refused: Option<Error>,
    outcome: oneshot::Receiver<Result<R>>,
}

impl<R> Future for Blocking<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.outcome).poll(context).map(|outcome| {
            outcome
                .unwrap_or_else(|_| Err(Error::new(ErrorCode::Panic, "a bug ended a task; please report it")))
        })
    }
}

/// The threads that run [`blocking`] jobs, at most [`MAX_THREADS`] of them in a process.
#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    /// There is a job, or no runtime any more.
    wanted: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Those that run, by number.
    threads: BTreeMap<u64, Thread>,
    last_number: u64,
    idle: usize,
    /// The thread that ended last. It has joined the one that ended before it.
    last_ended: Option<Thread>,
    /// Without one, threads end as soon as they have nothing to do.
    runtimes: usize,
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for an idle thread or a new one. At the limit, or when the system gives no further thread,
    /// it waits for one of those that are busy.
    fn submit(&'static self, job: Job) -> Result<()> {
        let mut state = self.lock();
        if state.jobs.len() >= state.idle
            && state.threads.len() < MAX_THREADS
            && let Err(error) = self.start_thread(&mut state)
            && state.threads.is_empty()
        {
            return Err(Error::new(
                ErrorCode::Io,
                format!("cannot start a thread for files and name look-ups: {error}"),
            ));
        }
        state.jobs.push_back(job);
        drop(state);
        self.wanted.notify_one();
        Ok(())
    }

    fn start_thread(&'static self, state: &mut State) -> io::Result<()> {
        let number = state.last_number + 1;
        let thread = spawn_thread(OwnThread::Io, move || self.work(number))?;
        state.last_number = number;
        state.threads.insert(number, thread);
        Ok(())
    }

    fn work(&self, number: u64) {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                // The future of a job that panics fails.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
            }
            if state.runtimes == 0 {
                break;
            }
            state.idle += 1;
            let waited = self.wanted.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.idle -= 1;
            if waited.1.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        let this = state.threads.remove(&number);
        let former = std::mem::replace(&mut state.last_ended, this);
        drop(state);
        self.ended.notify_all();
        if let Some(former) = former {
            former.join();
        }
    }

    /// Keeps idle threads for a while, until the last user is dropped.
    pub(crate) fn use_by_runtime(&'static self) -> Use {
        self.lock().runtimes += 1;
        Use(self)
    }
}

/// A runtime that may give the threads work.
pub(crate) struct Use(&'static Threads);

impl Use {
    /// How long the end of the last runtime waits for a job under way. A name look-up cannot be cancelled.
    const GRACE: Duration = Duration::from_millis(100);
}

impl Drop for Use {
    /// After the last runtime no thread is left, but for those that the system still blocks after
    /// [`Use::GRACE`]. They end when their job does.
    fn drop(&mut self) {
        let Self(threads) = self;
        let mut state = threads.lock();
        state.runtimes -= 1;
        if state.runtimes > 0 {
            return;
        }
        let abandoned = std::mem::take(&mut state.jobs);
        threads.wanted.notify_all();
        let waited = threads
            .ended
            .wait_timeout_while(state, Self::GRACE, |state| state.runtimes == 0 && !state.threads.is_empty());
        let last_ended = waited.unwrap_or_else(PoisonError::into_inner).0.last_ended.take();
        drop(abandoned);
        if let Some(thread) = last_ended {
            thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(30);

    fn threads() -> &'static Threads {
        Box::leak(Box::default())
    }

    fn count(threads: &Threads) -> usize {
        threads.lock().threads.len()
    }

    #[test]
    fn jobs_beyond_the_limit_wait_and_none_is_lost() {
        const JOBS: usize = 3 * MAX_THREADS;
        let threads = threads();
        let using = threads.use_by_runtime();
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Arc::new(Mutex::new(released));
        for job in 0..JOBS {
            let (entered, released) = (entered.clone(), std::sync::Arc::clone(&released));
            let job = move || {
                entered.send(job).expect("the test listens");
                let _ = released.lock().expect("no panic").recv();
            };
            threads.submit(Box::new(job)).expect("a thread");
        }
        let running: Vec<_> =
            (0..MAX_THREADS).map(|_| has_entered.recv_timeout(SOON).expect("it runs")).collect();
        assert_eq!(running.len(), MAX_THREADS);
        assert!(has_entered.try_recv().is_err(), "no more than the limit at a time");
        drop(release);
        for _ in MAX_THREADS..JOBS {
            has_entered.recv_timeout(SOON).expect("it runs");
        }
        drop(using);
        assert_eq!(count(threads), 0);
    }

    #[test]
    fn a_job_that_panics_ends_no_thread() {
        let threads = threads();
        let using = threads.use_by_runtime();
        let (done, is_done) = mpsc::channel();
        threads.submit(Box::new(|| panic!("a test job that panics"))).expect("a thread");
        threads.submit(Box::new(move || done.send(()).expect("the test listens"))).expect("a thread");
        is_done.recv_timeout(SOON).expect("it runs");
        drop(using);
    }

    #[test]
    fn the_last_runtime_does_not_wait_for_a_job_that_is_stuck() {
        let threads = threads();
        let (first, second) = (threads.use_by_runtime(), threads.use_by_runtime());
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let job = move || {
            entered.send(()).expect("the test listens");
            while released.recv().is_ok() {}
        };
        threads.submit(Box::new(job)).expect("a thread");
        has_entered.recv_timeout(SOON).expect("it runs");
        drop(first);
        let began = Instant::now();
        drop(second);
        assert!(began.elapsed() < SOON);
        assert_eq!(count(threads), 1, "it is still stuck");
        drop(release);
        let began = Instant::now();
        while count(threads) > 0 {
            assert!(began.elapsed() < SOON, "it ends when its job does");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_idle_thread_ends() {
        let threads = threads();
        let using = threads.use_by_runtime();
        threads.submit(Box::new(|| ())).expect("a thread");
        let began = Instant::now();
        while count(threads) > 0 {
            assert!(began.elapsed() < SOON);
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(using);
    }
}
