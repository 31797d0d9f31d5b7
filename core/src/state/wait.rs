//! Waiting for a registration, a secret or a token: on a thread, in a task, or by callback.

use std::sync::PoisonError;
use std::time::Instant;

use super::store::{Inner, Store};
use super::waiters::{Delivery, Job};
use crate::error::{Error, ErrorCode, Result};
use crate::status::State;

/// What a caller can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the node is registered.
    Registered,
    /// Until the node has a node secret.
    Secret,
}

impl Store {
    /// Blocks until the node is registered or has a secret, it stops, or the deadline passes.
    pub(crate) fn wait(&self, what: Wait, deadline: Option<Instant>) -> Result<()> {
        self.wait_for(deadline, |inner| inner.reached(what), |inner| inner.wait_timed_out(what))
    }

    /// As [`Store::wait`], but calls `done`. Returns a number to cancel the wait with.
    pub(crate) fn wait_then(
        &self,
        what: Wait,
        delivery: Delivery,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<u64> {
        self.wait_for_then(delivery, move |inner| inner.reached(what), done)
    }

    /// As [`Store::wait`], for any async runtime and without a timer of its own.
    pub(crate) async fn wait_async(&self, what: Wait) -> Result<()> {
        self.wait_for_async(|inner| inner.reached(what)).await
    }

    /// Blocks until there is an outcome, or the deadline passes.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>>,
        timed_out: impl FnOnce(&Inner) -> Error,
    ) -> Result<T> {
        let mut inner = self.lock();
        loop {
            let (found, wakes) = self.change(&mut inner, |inner| (outcome(inner), None));
            if let Some(jobs) = wakes {
                self.wake_waits();
                // The lock is held, so the host's code must not run here.
                jobs.into_iter().for_each(|job| self.events().call(job));
            }
            if let Some(result) = found {
                return result;
            }
            inner = match deadline {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(timed_out(&inner));
                    }
                    self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// As [`Store::wait_for`], but calls `done`. Returns a number to cancel the wait with.
    pub(super) fn wait_for_then<T: Send + 'static>(
        &self,
        delivery: Delivery,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<u64> {
        let mut done = Some(done);
        let mut waiter = move |inner: &mut Inner| {
            let result = outcome(inner)?;
            let done = done.take()?;
            Some(Box::new(move || done(result)) as Job)
        };
        self.update(|inner| {
            inner.check_running()?;
            let number = inner.waiters.next_number();
            match waiter(inner) {
                Some(done) => self.events().call(done),
                None => inner.waiters.add(number, delivery, Box::new(waiter)),
            }
            Ok(number)
        })
    }

    /// As [`Store::wait_for`], for any async runtime and without a timer of its own.
    pub(super) async fn wait_for_async<T>(
        &self,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut changed = self.changed_for_tasks.subscribe();
        loop {
            if let Some(result) = self.update(&mut outcome) {
                return result;
            }
            if changed.changed().await.is_err() {
                return Err(Error::stopped());
            }
        }
    }

    /// Cancels a wait that has not finished. Its callback is dropped on the calling thread.
    pub(crate) fn cancel_wait(&self, number: u64) {
        let mut inner = self.lock();
        let cancelled = inner.waiters.cancel(number);
        // Dropping it runs the host's code, which must not happen under the lock.
        drop(inner);
        drop(cancelled);
    }
}

impl Inner {
    /// The outcome of a wait for this, if it is over.
    fn reached(&self, what: Wait) -> Option<Result<()>> {
        if self.stopped {
            return Some(Err(self.stopped_error()));
        }
        if what == Wait::Secret && self.is_unreachable() && !self.status.has_secret {
            return Some(Err(Error::new(
                ErrorCode::NotFound,
                "no secret can arrive, because DDS cannot call this node; if DDS knows the node's URL, set callback_bind, \
                 or pass its requests on to this node from your own web server; otherwise use an access token, which \
                 needs no callback",
            )));
        }
        let reached = match what {
            Wait::Registered => self.status.state == State::Registered,
            Wait::Secret => self.status.has_secret,
        };
        reached.then_some(Ok(()))
    }

    fn wait_timed_out(&self, what: Wait) -> Error {
        let missing = match what {
            Wait::Registered => "not registered in time",
            Wait::Secret => "no secret from DDS in time",
        };
        let reason = match (self.cut_off(), &self.last_error) {
            (Some(error), _) => format!("; {error}"),
            (None, Some(error)) => format!("; last attempt: {error}"),
            (None, None) => String::new(),
        };
        Error::new(ErrorCode::Timeout, format!("{missing} (status {}){reason}", self.status.state))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    #[test]
    fn a_task_wakes_only_for_a_change_that_may_end_its_wait() {
        #[derive(Default)]
        struct Count(AtomicUsize);

        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let (store, wakes) = (Store::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut wait = pin!(store.wait_async(Wait::Registered));
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let registration = store.begin_attempt().expect("not registered");
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        assert!(store.finish_attempt(registration, None));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(matches!(poll(), Poll::Ready(Ok(()))));
    }
}
