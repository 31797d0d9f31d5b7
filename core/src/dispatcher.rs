//! The one thread on which the callbacks of the host run.
//!
//! It delivers events and log records in order, so a slow or blocked host can never stall the registrar. The thread
//! starts with the first delivery. While the system refuses to start it, deliveries wait; a subscription that is full
//! counts what it drops.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::latch::latch;
use crate::thread::{OwnThread, Thread, spawn_thread};

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// How long a job may wait for others. See [`Dispatcher::push_lazily`].
const PATIENCE: Duration = Duration::from_millis(20);

/// The pause before the next attempt to start the thread.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Dispatcher {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    thread: Option<Thread>,
    /// Runs the next attempt to start the thread. Dropped with the runtime, because it keeps file descriptors open.
    runtime: Option<Handle>,
    /// The thread could not be started, and the runtime will try again.
    retrying: bool,
    /// The runtime will wake the thread for the jobs that wait for others.
    waking: bool,
    closing: bool,
}

thread_local! {
    /// Jobs to run when the current callback returns.
    static AFTER_CALLBACK: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
}

impl Dispatcher {
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        let queue = Queue { runtime: Some(runtime), ..Queue::default() };
        Arc::new(Self { queue: Mutex::new(queue), ..Self::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. Never blocks, and never runs the job on the calling thread.
    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let mut queue = self.lock();
        if queue.closing {
            return;
        }
        queue.jobs.push_back(job);
        self.wake(queue);
    }

    /// As [`push`](Self::push), but the thread need not run the job before the next one that is pushed, or for
    /// [`PATIENCE`], so that it wakes once for many.
    pub(crate) fn push_lazily(self: &Arc<Self>, job: Job) {
        let mut queue = self.lock();
        if queue.closing {
            return;
        }
        queue.jobs.push_back(job);
        let waking = mem::replace(&mut queue.waking, true);
        let runtime = if waking { None } else { queue.runtime.clone() };
        drop(queue);
        if let Some(runtime) = runtime {
            runtime.spawn(wake_later(Arc::downgrade(self)));
        }
    }

    fn wake(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let retry = !self.has_thread(&mut queue) && !mem::replace(&mut queue.retrying, true);
        let retry_on = if retry { queue.runtime.clone() } else { None };
        drop(queue);
        self.ready.notify_one();
        if let Some(runtime) = retry_on {
            runtime.spawn(start_thread_later(Arc::downgrade(self)));
        }
    }

    /// Starts the thread unless it is running. Returns false when the system refuses to start it.
    fn has_thread(self: &Arc<Self>, queue: &mut Queue) -> bool {
        if queue.thread.as_ref().is_some_and(|thread| !thread.was_killed()) {
            return true;
        }
        let dispatcher = Arc::clone(self);
        queue.thread = spawn_thread(OwnThread::Dispatcher, move || dispatcher.run()).ok();
        queue.thread.is_some()
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            // A callback of a Rust host may panic. The host's panic hook reports that, and the deliveries to other
            // callbacks continue.
            let _ = catch_unwind(AssertUnwindSafe(job));
            for job in AFTER_CALLBACK.take() {
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
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

    /// Waits until everything that is queued now is delivered. Returns false when the deadline passes first.
    pub(crate) fn flush(self: &Arc<Self>, deadline: Instant) -> bool {
        let queue = self.lock();
        if queue.thread.is_none() && queue.jobs.is_empty() {
            return true;
        }
        drop(queue);
        let (opener, reached) = latch();
        self.push(Box::new(move || drop(opener)));
        reached.wait_until(deadline)
    }

    /// Delivers what is queued, ends the thread and joins it. On the thread itself it does not join.
    pub(crate) fn close(self: &Arc<Self>) {
        let thread = {
            let mut queue = self.lock();
            if !queue.jobs.is_empty() {
                self.has_thread(&mut queue);
            }
            queue.closing = true;
            queue.runtime = None;
            queue.thread.take()
        };
        self.ready.notify_one();
        if let Some(thread) = thread
            && OwnThread::current() != Some(OwnThread::Dispatcher)
        {
            thread.join();
        }
    }
}

/// Has the thread run the jobs that have waited for others.
async fn wake_later(dispatcher: Weak<Dispatcher>) {
    tokio::time::sleep(PATIENCE).await;
    let Some(dispatcher) = dispatcher.upgrade() else { return };
    let mut queue = dispatcher.lock();
    queue.waking = false;
    if !queue.jobs.is_empty() && !queue.closing {
        dispatcher.wake(queue);
    }
}

/// Starts the thread as soon as the system permits. It then delivers what was queued before.
async fn start_thread_later(dispatcher: Weak<Dispatcher>) {
    loop {
        tokio::time::sleep(RETRY_PAUSE).await;
        let Some(dispatcher) = dispatcher.upgrade() else { return };
        let mut queue = dispatcher.lock();
        if queue.closing || dispatcher.has_thread(&mut queue) {
            queue.retrying = false;
            return;
        }
    }
}

/// Runs the job on this thread right after the current callback returns. Only for the dispatcher's own thread.
pub(crate) fn after_callback(job: impl FnOnce() + Send + 'static) {
    AFTER_CALLBACK.with_borrow_mut(|jobs| jobs.push(Box::new(job)));
}

/// A callback of the host, with a queue limit of its own. When a slow callback is at its limit, new items are dropped,
/// and the next delivered item says how many. Other callbacks are not affected. Dropping the last reference drops the
/// callback, which tells the host that it will not be called again.
pub(crate) struct Subscription<T> {
    callback: Box<dyn Fn(&T) + Send + Sync>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    closed: AtomicBool,
}

impl<T: Send + 'static> Subscription<T> {
    /// How many items may wait for delivery.
    const CAPACITY: usize = 1024;

    pub(crate) fn new(callback: impl Fn(&T) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            callback: Box::new(callback),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Queues one item, or counts it as dropped and returns false. `item` receives the number dropped since the last
    /// one was queued.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        dispatcher: &Arc<Dispatcher>,
        item: impl FnOnce(u64) -> T,
    ) -> bool {
        self.deliver_by(Dispatcher::push, dispatcher, item)
    }

    /// As [`deliver`](Self::deliver), with another way to queue it.
    pub(crate) fn deliver_by(
        self: &Arc<Self>,
        push: fn(&Arc<Dispatcher>, Job),
        dispatcher: &Arc<Dispatcher>,
        item: impl FnOnce(u64) -> T,
    ) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= Self::CAPACITY {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let item = item(self.dropped.swap(0, Ordering::Relaxed));
        let subscription = Arc::clone(self);
        push(
            dispatcher,
            Box::new(move || {
                subscription.waiting.fetch_sub(1, Ordering::Relaxed);
                if !subscription.closed.load(Ordering::Acquire) {
                    (subscription.callback)(&item);
                }
            }),
        );
        true
    }

    /// Ends delivery: no call begins after this returns.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    // scenario: slow-listener
    #[test]
    fn a_blocked_callback_drops_the_newest_items_and_counts_them() {
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
        // The first item has left the queue, which is full after CAPACITY more.
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

    // scenario: callback-fails
    #[test]
    fn deliveries_continue_after_a_callback_panics() {
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
    fn after_callback_jobs_run_before_the_next_delivery() {
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

    #[tokio::test(start_paused = true)]
    async fn lazy_deliveries_wait_for_the_next_one_or_for_a_moment() {
        let dispatcher = Dispatcher::new(Handle::current());
        let (seen, mut all_seen) = tokio::sync::mpsc::unbounded_channel();
        let subscription = Subscription::new(move |item: &u32| {
            let _ = seen.send(*item);
        });
        let has_thread = || dispatcher.lock().thread.is_some();

        subscription.deliver_by(Dispatcher::push_lazily, &dispatcher, |_| 0);
        subscription.deliver_by(Dispatcher::push_lazily, &dispatcher, |_| 1);
        assert!(!has_thread());
        // The clock advances to the next timer while everything waits.
        assert_eq!((all_seen.recv().await, all_seen.recv().await), (Some(0), Some(1)));

        subscription.deliver_by(Dispatcher::push_lazily, &dispatcher, |_| 2);
        subscription.deliver(&dispatcher, |_| 3);
        assert!(dispatcher.flush(soon()));
        assert_eq!((all_seen.try_recv(), all_seen.try_recv()), (Ok(2), Ok(3)));

        subscription.deliver_by(Dispatcher::push_lazily, &dispatcher, |_| 4);
        dispatcher.close();
        assert_eq!(all_seen.try_recv(), Ok(4));
    }

    #[test]
    fn a_lazy_delivery_happens_before_the_end() {
        let dispatcher = Arc::new(Dispatcher::default());
        let (seen, all_seen) = mpsc::channel();
        let subscription = Subscription::new(move |item: &u32| {
            let _ = seen.send(*item);
        });
        subscription.deliver_by(Dispatcher::push_lazily, &dispatcher, |_| 0);
        dispatcher.close();
        assert_eq!(all_seen.try_iter().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn no_thread_starts_without_a_delivery() {
        let dispatcher = Arc::new(Dispatcher::default());
        assert!(dispatcher.flush(Instant::now()));
        dispatcher.close();
        assert!(dispatcher.queue.lock().expect("not poisoned").thread.is_none());
    }
}
