//! Work that may block: files, name look-ups, binding an address by name.
//!
//! It runs on a few threads of the library, which exist only while there is work. tokio has such a pool, but it
//! panics when the system refuses to start a thread; here that is an ordinary error.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode, Result};
use crate::fork::PerProcess;
use crate::thread::{OwnThread, Thread, spawn_thread};

/// More than one, so that one slow file does not delay the others.
pub(crate) const MAX_THREADS: usize = 4;

/// How long an idle thread waits for the next job before it ends.
const LINGER: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on a thread where it may block. The job runs to its end even if the future is dropped.
///
/// The future fails with [`ErrorCode::Io`] when no thread can be started.
pub(crate) fn blocking<R: Send + 'static>(job: impl FnOnce() -> Result<R> + Send + 'static) -> Blocking<R> {
    let (done, outcome) = oneshot::channel();
    let job = Box::new(move || {
        let _ = done.send(job());
    });
    let refused = POOL.get().submit(job).err();
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

static POOL: PerProcess<Pool> = PerProcess::new();

/// The threads that run [`blocking`] jobs, at most [`MAX_THREADS`] of them in a process.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    /// Signalled when there is a job, and when the last user is gone.
    wake: Condvar,
    /// Signalled when a thread ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The running threads, by number.
    threads: BTreeMap<u64, Thread>,
    last_number: u64,
    idle: usize,
    /// The thread that ended last. It has joined the one that ended before it.
    last_ended: Option<Thread>,
    /// Without users, threads end as soon as they have nothing to do.
    users: usize,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for an idle thread or a new one. At the limit, or when the system refuses to start another
    /// thread, the job waits for a busy one.
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
        self.wake.notify_one();
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
            if state.users == 0 {
                break;
            }
            state.idle += 1;
            let waited = self.wake.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.idle -= 1;
            if waited.1.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        let this = state.threads.remove(&number);
        let previous = std::mem::replace(&mut state.last_ended, this);
        drop(state);
        self.ended.notify_all();
        if let Some(previous) = previous {
            previous.join();
        }
    }

    fn add_user(&'static self) -> PoolUser {
        self.lock().users += 1;
        PoolUser(self)
    }
}

/// Lets idle threads wait for the next job, until the last such user is dropped.
pub(crate) fn use_pool() -> PoolUser {
    POOL.get().add_user()
}

pub(crate) struct PoolUser(&'static Pool);

impl PoolUser {
    /// How long the drop of the last user waits for running jobs. A name look-up cannot be cancelled.
    const GRACE: Duration = Duration::from_millis(100);
}

impl Drop for PoolUser {
    /// Discards the jobs that wait when the last user is dropped, and ends the threads. A thread that the system still
    /// blocks after [`PoolUser::GRACE`] ends when its job does.
    fn drop(&mut self) {
        let Self(pool) = self;
        let mut state = pool.lock();
        state.users -= 1;
        if state.users > 0 {
            return;
        }
        let abandoned = std::mem::take(&mut state.jobs);
        pool.wake.notify_all();
        let waited = pool
            .ended
            .wait_timeout_while(state, Self::GRACE, |state| state.users == 0 && !state.threads.is_empty());
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

    fn pool() -> &'static Pool {
        Box::leak(Box::default())
    }

    fn count(pool: &Pool) -> usize {
        pool.lock().threads.len()
    }

    #[test]
    fn jobs_beyond_the_limit_wait_for_a_thread() {
        const JOBS: usize = 3 * MAX_THREADS;
        let pool = pool();
        let user = pool.add_user();
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Arc::new(Mutex::new(released));
        for job in 0..JOBS {
            let (entered, released) = (entered.clone(), std::sync::Arc::clone(&released));
            let job = move || {
                entered.send(job).expect("the test listens");
                let _ = released.lock().expect("no panic").recv();
            };
            pool.submit(Box::new(job)).expect("a thread starts");
        }
        let running: Vec<_> =
            (0..MAX_THREADS).map(|_| has_entered.recv_timeout(SOON).expect("it runs")).collect();
        assert_eq!(running.len(), MAX_THREADS);
        assert!(has_entered.try_recv().is_err(), "no more than the limit at a time");
        drop(release);
        for _ in MAX_THREADS..JOBS {
            has_entered.recv_timeout(SOON).expect("it runs");
        }
        drop(user);
        assert_eq!(count(pool), 0);
    }

    #[test]
    fn a_thread_survives_a_job_that_panics() {
        let pool = pool();
        let user = pool.add_user();
        let (done, is_done) = mpsc::channel();
        pool.submit(Box::new(|| panic!("a test job that panics"))).expect("a thread starts");
        pool.submit(Box::new(move || done.send(()).expect("the test listens"))).expect("a thread starts");
        is_done.recv_timeout(SOON).expect("it runs");
        drop(user);
    }

    #[test]
    fn the_last_user_does_not_wait_for_a_job_that_hangs() {
        let pool = pool();
        let (first, second) = (pool.add_user(), pool.add_user());
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let job = move || {
            entered.send(()).expect("the test listens");
            while released.recv().is_ok() {}
        };
        pool.submit(Box::new(job)).expect("a thread starts");
        has_entered.recv_timeout(SOON).expect("it runs");
        drop(first);
        let began = Instant::now();
        drop(second);
        assert!(began.elapsed() < SOON);
        assert_eq!(count(pool), 1, "it still hangs");
        drop(release);
        let began = Instant::now();
        while count(pool) > 0 {
            assert!(began.elapsed() < SOON, "it ends when its job does");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_idle_thread_ends_by_itself() {
        let pool = pool();
        let user = pool.add_user();
        pool.submit(Box::new(|| ())).expect("a thread starts");
        let began = Instant::now();
        while count(pool) > 0 {
            assert!(began.elapsed() < SOON);
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(user);
    }
}
