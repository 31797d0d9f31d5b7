//! The callbacks that wait for a change of the state.

/// A call that ends a wait.
pub(super) type Job = Box<dyn FnOnce() + Send>;
/// Returns the call that ends the wait, once the wait is over.
type Outcome<S> = Box<dyn FnMut(&mut S) -> Option<Job> + Send>;

/// Which thread calls back at the end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The dispatcher's thread, after the events that came before.
    Dispatched,
    /// The thread whose change ends the wait, as long as no event callback is set. This saves a thread's wake-up
    /// for callbacks that only notify another thread.
    AtOnce,
}

/// The pending waits on a state of type `S`.
pub(super) struct Waiters<S> {
    pending: Vec<Waiter<S>>,
    last: u64,
}

struct Waiter<S> {
    number: u64,
    outcome: Outcome<S>,
    delivery: Delivery,
}

impl<S> Default for Waiters<S> {
    fn default() -> Self {
        Self { pending: Vec::new(), last: 0 }
    }
}

impl<S> Waiters<S> {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds a wait. `outcome` is called after every change that may end one.
    pub(super) fn add(&mut self, number: u64, delivery: Delivery, outcome: Outcome<S>) {
        self.pending.push(Waiter { number, outcome, delivery });
    }

    /// Removes the waits that are over.
    pub(super) fn take_finished(&mut self, state: &mut S) -> Vec<(Delivery, Job)> {
        let mut finished = Vec::new();
        for mut waiter in std::mem::take(&mut self.pending) {
            match (waiter.outcome)(state) {
                Some(job) => finished.push((waiter.delivery, job)),
                None => self.pending.push(waiter),
            }
        }
        finished
    }

    /// Removes a wait that has not finished. Dropping what is returned may run the host's code.
    #[must_use]
    pub(super) fn cancel(&mut self, number: u64) -> Option<impl Sized + use<S>> {
        let at = self.pending.iter().position(|waiter| waiter.number == number)?;
        Some(self.pending.swap_remove(at))
    }
}
