//! The one thread on which the host's callbacks run.
//!
//! Events and log records cross from the runtime to the host here, in order, so that a slow or blocked host
//! can never stall the registrar. The thread starts with the first thing to deliver.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::gate::gate;
use crate::thread::{OwnThread, spawn_thread};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(crate) struct Dispatcher {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    thread: Option<JoinHandle<()>>,
    closing: bool,
}

thread_local! {
    /// Jobs that wait for the running callback to return.
    static AFTER_CALLBACK: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
}

impl Dispatcher {
    /// Queues a job. Never blocks and never runs it on the calling thread.
    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closing {
            return;
        }
        if queue.thread.is_none() {
            let dispatcher = Arc::clone(self);
            // Without a thread there is nobody to deliver to; the host sees a gap in its `dropped` count.
            let Ok(thread) = spawn_thread(OwnThread::Dispatcher, move || dispatcher.run()) else { return };
            queue.thread = Some(thread);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.ready.notify_one();
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            // A callback of a Rust host may panic. That is reported by the host's panic hook and must not
            // end the deliveries of everybody else.
            let _ = catch_unwind(AssertUnwindSafe(job));
            for job in AFTER_CALLBACK.take() {
                job();
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closing {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything queued so far was delivered; false when the deadline came first.
    pub(crate) fn flush(self: &Arc<Self>, deadline: Instant) -> bool {
        if self.queue.lock().unwrap_or_else(PoisonError::into_inner).thread.is_none() {
            return true;
        }
        let (opener, reached) = gate();
        self.push(Box::new(move || drop(opener)));
        reached.wait_until(deadline)
    }

    /// Delivers what is queued and ends the thread. Called from the thread itself it only asks for that.
    pub(crate) fn close(&self) {
        let thread = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.closing = true;
            queue.thread.take()
        };
        self.ready.notify_one();
        if let Some(thread) = thread
            && OwnThread::current() != Some(OwnThread::Dispatcher)
        {
            let _ = thread.join();
        }
    }
}

/// Runs the job on this thread as soon as the current callback has returned. Only for the dispatcher's
/// own thread.
pub(crate) fn after_callback(job: impl FnOnce() + Send + 'static) {
    AFTER_CALLBACK.with_borrow_mut(|jobs| jobs.push(Box::new(job)));
}

/// A host's callback with its own bound: a slow one loses its newest items and is told how many, and takes
/// no room from others. Dropping the last reference drops the callback, which is how a host learns that it
/// was called for the last time.
pub(crate) struct Subscription<T> {
    callback: Box<dyn Fn(&T) + Send + Sync>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    closed: AtomicBool,
}

impl<T: Send + 'static> Subscription<T> {
    /// Items that may wait for delivery at a time.
    const CAPACITY: usize = 1024;

    pub(crate) fn new(callback: impl Fn(&T) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            callback: Box::new(callback),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Queues one item, or counts it as dropped. `item` gets the number dropped since the last one queued.
    pub(crate) fn deliver(self: &Arc<Self>, dispatcher: &Arc<Dispatcher>, item: impl FnOnce(u64) -> T) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= Self::CAPACITY {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let item = item(self.dropped.swap(0, Ordering::Relaxed));
        let subscription = Arc::clone(self);
        dispatcher.push(Box::new(move || {
            subscription.waiting.fetch_sub(1, Ordering::Relaxed);
            if !subscription.closed.load(Ordering::Acquire) {
                (subscription.callback)(&item);
            }
        }));
    }

    /// No delivery begins after this.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_blocked_callback_loses_the_newest_and_is_told_how_many() {
        let dispatcher = Arc::new(Dispatcher::default());
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (seen, all_seen) = mpsc::channel();
        let released = Mutex::new(released);
        let subscription = Subscription::new(move |item: &(usize, u64)| {
            let _ = entered.send(());
            let _ = released.lock().expect("one caller").recv();
            let _ = seen.send(*item);
        });

        subscription.deliver(&dispatcher, |dropped| (0, dropped));
        has_entered.recv_timeout(Duration::from_secs(10)).expect("the callback runs");
        // The first one has left the queue; it is full after CAPACITY more.
        for n in 1..=Subscription::<(usize, u64)>::CAPACITY + 5 {
            subscription.deliver(&dispatcher, |dropped| (n, dropped));
        }
        drop(release);
        assert!(dispatcher.flush(soon()));
        subscription.deliver(&dispatcher, |dropped| (9999, dropped));
        dispatcher.close();

        let seen: Vec<_> = all_seen.try_iter().collect();
        let in_order: Vec<_> = (0..=Subscription::<(usize, u64)>::CAPACITY).map(|n| (n, 0)).collect();
        assert_eq!(seen[..seen.len() - 1], in_order);
        assert_eq!(seen.last(), Some(&(9999, 5)));
    }

    #[test]
    fn a_panicking_callback_does_not_end_the_deliveries() {
        let dispatcher = Arc::new(Dispatcher::default());
        let (seen, all_seen) = mpsc::channel();
        let subscription = Subscription::new(move |item: &u32| {
            assert!(*item != 1, "a test callback that panics");
            let _ = seen.send(*item);
        });
        for n in 0..3 {
            subscription.deliver(&dispatcher, |_| n);
        }
        dispatcher.close();
        assert_eq!(all_seen.try_iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn jobs_after_the_callback_run_before_the_next_one() {
        let dispatcher = Arc::new(Dispatcher::default());
        let (seen, all_seen) = mpsc::channel();
        let subscription = Subscription::new(move |item: &u32| {
            let after = seen.clone();
            let item = *item;
            after_callback(move || after.send(item + 100).expect("the test listens"));
            seen.send(item).expect("the test listens");
        });
        for n in 0..2 {
            subscription.deliver(&dispatcher, |_| n);
        }
        dispatcher.close();
        assert_eq!(all_seen.try_iter().collect::<Vec<_>>(), [0, 100, 1, 101]);
    }

    #[test]
    fn without_deliveries_there_is_no_thread() {
        let dispatcher = Arc::new(Dispatcher::default());
        assert!(dispatcher.flush(Instant::now()));
        dispatcher.close();
        assert!(dispatcher.queue.lock().expect("not poisoned").thread.is_none());
    }
}
