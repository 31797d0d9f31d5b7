//! Three replicas on a simulated store and a paused clock. Requests and replies are delayed, lost and repeated, processes
//! are stopped for a while or die, and the store is out of reach.
//!
//! `POSEMESH_SCHEDULES` sets the number of schedules (default 300). A schedule that fails is repeated by
//! `POSEMESH_SCHEDULE=<its number>` alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::exchange::Exchange;
use super::super::remote::{OPERATION_TIMEOUT, RemoteKey, Reply, Swap};
use super::super::seal::Seal;
use super::super::term::{Clock, Term};
use super::Membership;
use crate::config::CallbackPolicy;
use crate::error::{Error, ErrorCode};
use crate::secret::Secret;
use crate::state::callback::Acceptance;
use crate::state::record::Owner;
use crate::state::store::Store;
use crate::status::State;

const REPLICAS: usize = 3;
/// How long faults happen, and how long the replicas then have to agree.
const TROUBLE: Duration = Duration::from_secs(60);
const PEACE: Duration = Duration::from_secs(30);

/// The store: a value, and those that listen for changes.
#[derive(Default)]
struct Server {
    value: Option<Vec<u8>>,
    listeners: BTreeMap<u64, Arc<Notify>>,
    /// Whether faults still happen.
    calm: bool,
}

/// One process's way to the store.
struct Connection {
    id: u64,
    server: Arc<Mutex<Server>>,
    random: Mutex<StdRng>,
    changed: Arc<Notify>,
    /// Until when no request arrives.
    cut_until: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

impl Connection {
    fn new(id: u64, server: &Arc<Mutex<Server>>, seed: u64) -> Self {
        let changed = Arc::<Notify>::default();
        lock(server).listeners.insert(id, Arc::clone(&changed));
        Self {
            id,
            server: Arc::clone(server),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            changed,
            cut_until: Mutex::default(),
        }
    }

    /// Has the store carry out a request, now, later or twice, and returns its reply, if that arrives in time.
    async fn request<T: Send + 'static>(
        &self,
        carry_out: impl Fn(&mut Server) -> (T, bool) + Send + 'static,
    ) -> crate::error::Result<T> {
        let failed = || Error::new(ErrorCode::Io, "the simulated store does not respond");
        let (to_server, to_client, lost, again) = self.fate();
        let (sender, reply) = oneshot::channel();
        if !lost {
            let (server, id) = (Arc::clone(&self.server), self.id);
            tokio::spawn(async move {
                sleep(to_server).await;
                let result = apply(&server, id, &carry_out);
                if let Some(pause) = again {
                    let server = Arc::clone(&server);
                    tokio::spawn(async move {
                        sleep(pause).await;
                        apply(&server, id, &carry_out);
                    });
                }
                if let Some(to_client) = to_client {
                    sleep(to_client).await;
                    let _ = sender.send(result);
                }
            });
        }
        let reply = async {
            match reply.await {
                Ok(reply) => reply,
                // Nothing says that the request or the reply is lost.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::time::timeout(OPERATION_TIMEOUT, reply).await.map_err(|_| failed())
    }

    /// How long the request takes; how long the reply does, if it arrives; whether the request is lost; and when it is
    /// carried out again, if it is.
    fn fate(&self) -> (Duration, Option<Duration>, bool, Option<Duration>) {
        let mut random = lock(&self.random);
        let millis = |random: &mut StdRng, most: u64| Duration::from_millis(random.gen_range(0..=most));
        if lock(&self.server).calm {
            return (millis(&mut random, 20), Some(millis(&mut random, 20)), false, None);
        }
        let mut cut = lock(&self.cut_until);
        if random.gen_bool(0.01) {
            *cut = Some(Instant::now() + millis(&mut random, 20_000));
        }
        if cut.is_some_and(|until| Instant::now() < until) {
            return (Duration::ZERO, None, true, None);
        }
        let most = [5, 5, 50, 500, 3_000, 15_000][random.gen_range(0..6)];
        let to_server = millis(&mut random, most);
        let to_client = (!random.gen_bool(0.05)).then(|| millis(&mut random, most));
        let again = random.gen_bool(0.05).then(|| millis(&mut random, 20_000));
        (to_server, to_client, random.gen_bool(0.05), again)
    }
}

fn apply<T>(server: &Mutex<Server>, id: u64, carry_out: &impl Fn(&mut Server) -> (T, bool)) -> T {
    let mut server = lock(server);
    let (result, changed) = carry_out(&mut server);
    if changed {
        let others = server.listeners.iter().filter(|(listener, _)| **listener != id);
        others.for_each(|(_, listener)| listener.notify_one());
    }
    result
}

impl RemoteKey for Connection {
    fn read(&self) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(self.request(|server| (server.value.clone(), false)))
    }

    fn swap<'a>(&'a self, expected: Option<&'a [u8]>, value: &'a [u8]) -> Reply<'a, Swap> {
        let (expected, value) = (expected.map(<[u8]>::to_vec), value.to_vec());
        Box::pin(self.request(move |server| {
            if server.value != expected {
                return (Swap::Changed(server.value.clone()), false);
            }
            server.value = Some(value.clone());
            (Swap::Done, true)
        }))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Messages get lost, too.
        let lost = lock(&self.random).gen_bool(0.1);
        Box::pin(async move {
            self.changed.notified().await;
            if lost {
                std::future::pending::<()>().await;
            }
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        lock(&self.server).listeners.remove(&self.id);
        Box::pin(std::future::ready(()))
    }
}

/// A process: it leads or follows, and registers while it leads.
#[derive(Clone)]
struct Process {
    store: Arc<Store>,
    term: Arc<Term>,
    /// It may act, as far as it knows.
    leads: Rc<Cell<bool>>,
    greatest_version: Rc<Cell<u64>>,
}

/// What all processes of a schedule have in common.
#[derive(Clone, Default)]
struct World {
    processes: Rc<RefCell<Vec<Process>>>,
    /// The secrets that DDS knows to be taken, by version.
    taken: Rc<RefCell<BTreeMap<u64, String>>>,
    registrations: Rc<Cell<u64>>,
}

impl World {
    fn check(&self) {
        let processes = self.processes.borrow();
        let leaders = processes.iter().filter(|process| process.leads.get() && !process.term.is_over());
        assert!(leaders.count() <= 1, "two leaders at once");
        for process in processes.iter() {
            let version = process.store.status().secret_version;
            assert!(version >= process.greatest_version.get(), "a version has fallen");
            process.greatest_version.set(version);
        }
    }
}

/// Registers as a leader does.
async fn register(world: &World, process: &Process) {
    let store = &process.store;
    let mut observed = store.observe();
    loop {
        observed.wait_for(|now| now.state != State::Registered).await.expect("the store is there");
        let Some(registration) = store.begin_attempt() else { continue };
        store.hand_in(registration);
        store.confirm_leadership().await;
        // The request to DDS.
        assert!(process.leads.get() && !process.term.is_over(), "registers after its term");
        world.check();
        world.registrations.set(world.registrations.get() + 1);
        sleep(Duration::from_millis(300)).await;
        store.finish_attempt(registration, None);
    }
}

async fn live(world: World, process: Process, mut membership: Membership) {
    let term = membership.term();
    loop {
        process.leads.set(false);
        membership.follow().await;
        process.leads.set(true);
        world.check();
        tokio::select! {
            () = membership.lead() => {}
            () = term.within(register(&world, &process)) => {}
        }
        world.check();
    }
}

/// Runs a process until it dies, and stops it at times.
async fn run_until_death(random: &mut StdRng, ends: Instant, process: impl Future<Output = ()>) {
    let mut process = pin!(process);
    let dies =
        random.gen_bool(0.3).then(|| Instant::now() + Duration::from_millis(random.gen_range(0..60_000)));
    let dies = dies.filter(|at| *at < ends);
    let mut stopped_until = Instant::now();
    loop {
        let runs_until = stopped_until + Duration::from_millis(random.gen_range(0..40_000));
        let runs_until = if runs_until < ends { runs_until } else { ends + PEACE * 2 };
        let mut alarm = pin!(sleep_until(dies.map_or(runs_until, |dies| dies.min(runs_until))));
        poll_fn(|context| {
            if alarm.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            process.as_mut().poll(context)
        })
        .await;
        if dies.is_some_and(|at| at <= Instant::now()) {
            return;
        }
        // Nothing of the process happens now, as after SIGSTOP.
        let longest = if random.gen_bool(0.5) { 1_000 } else { 30_000 };
        stopped_until = Instant::now() + Duration::from_millis(random.gen_range(0..longest));
        sleep_until(stopped_until.min(ends)).await;
    }
}

/// A machine: starts a process again whenever it dies.
async fn machine(world: World, server: Arc<Mutex<Server>>, nth: usize, mut random: StdRng, ends: Instant) {
    for life in 0.. {
        let store = Arc::<Store>::default();
        let id = (nth as u64) << 32 | life;
        let connection = Connection::new(id, &server, random.r#gen());
        let exchange = Exchange::new(
            Box::new(connection),
            "the simulation".into(),
            Seal::for_test(),
            Owner::default(),
            Arc::clone(&store),
            Clock::Tokio,
        );
        let membership = Membership::new(exchange);
        let process = Process {
            store,
            term: Arc::clone(&membership.term),
            leads: Rc::default(),
            greatest_version: Rc::default(),
        };
        world.processes.borrow_mut()[nth] = process.clone();
        run_until_death(&mut random, ends, live(world.clone(), process.clone(), membership)).await;
        process.leads.set(false);
        lock(&server).listeners.remove(&id);
        sleep(Duration::from_millis(random.gen_range(0..5_000))).await;
    }
}

/// DDS: calls a replica back at times, and remembers what was taken.
async fn call_back(world: World, mut random: StdRng, ends: Instant) {
    for nth in 0.. {
        sleep(Duration::from_millis(random.gen_range(0..6_000))).await;
        if Instant::now() >= ends {
            return;
        }
        let process = world.processes.borrow()[random.gen_range(0..REPLICAS)].clone();
        let (secret, world) = (format!("secret {nth}"), world.clone());
        let rearms = random.gen_bool(0.1);
        tokio::task::spawn_local(async move {
            if rearms {
                let _ = process.store.rearm();
            }
            let accepted =
                process.store.receive_secret(Some(CallbackPolicy::Open), Secret::new(secret.as_str())).await;
            if let Acceptance::New(version) = accepted {
                let former = world.taken.borrow_mut().insert(version, secret);
                assert_eq!(former, None, "two secrets with one version");
            }
        });
    }
}

fn placeholder() -> Process {
    Process {
        store: Arc::default(),
        term: Arc::new(Term::new(Clock::Tokio)),
        leads: Rc::default(),
        greatest_version: Rc::default(),
    }
}

/// Returns how many registrations and how many secrets there were.
async fn schedule(number: u64) -> (u64, usize) {
    let mut random = StdRng::seed_from_u64(number);
    let (world, server) = (World::default(), Arc::<Mutex<Server>>::default());
    let ends = Instant::now() + TROUBLE;
    world.processes.borrow_mut().extend((0..REPLICAS).map(|_| placeholder()));
    let mut tasks = Vec::new();
    for nth in 0..REPLICAS {
        let random = StdRng::seed_from_u64(random.r#gen());
        tasks.push(tokio::task::spawn_local(machine(world.clone(), Arc::clone(&server), nth, random, ends)));
    }
    tasks.push(tokio::task::spawn_local(call_back(
        world.clone(),
        StdRng::seed_from_u64(random.r#gen()),
        ends,
    )));
    while Instant::now() < ends + PEACE {
        sleep(Duration::from_millis(250)).await;
        world.check();
        if Instant::now() >= ends {
            lock(&server).calm = true;
        }
        for task in &tasks {
            assert!(!task.is_finished() || Instant::now() >= ends, "a task has failed");
        }
    }
    let processes = world.processes.borrow().clone();
    let leaders = processes.iter().filter(|process| process.leads.get() && !process.term.is_over());
    assert_eq!(leaders.count(), 1, "somebody leads in the end");
    let statuses: Vec<_> = processes.iter().map(|process| process.store.status()).collect();
    let taken = world.taken.borrow().clone();
    for (process, status) in processes.iter().zip(&statuses) {
        assert_eq!(status.state, State::Registered);
        assert_eq!(status.secret_version, statuses[0].secret_version, "all have the same secret");
        let secret = process.store.secret();
        let secret = secret.as_deref().map(|secret| secret.expose().to_owned());
        if let Some((version, last)) = taken.last_key_value() {
            assert!(status.secret_version >= *version, "a secret is lost");
            if status.secret_version == *version {
                assert_eq!(secret.as_ref(), Some(last), "a secret is lost");
            }
        }
    }
    for task in tasks {
        task.abort();
        if let Err(error) = task.await {
            assert!(!error.is_panic(), "a task has failed");
        }
    }
    (world.registrations.get(), taken.len())
}

fn run(number: u64) -> (u64, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, schedule(number))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn at_most_one_process_leads_and_no_secret_is_lost() {
    if let Some(number) = variable("POSEMESH_SCHEDULE") {
        run(number);
        return;
    }
    let schedules = variable("POSEMESH_SCHEDULES").unwrap_or(300);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let totals: Vec<_> = std::thread::scope(|scope| {
        let run_some = |first: u64| {
            (first..schedules).step_by(threads as usize).map(move |number| {
                let result = std::panic::catch_unwind(|| run(number));
                result.unwrap_or_else(|_| panic!("schedule {number} has failed"))
            })
        };
        let all: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || run_some(first).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
            })
            .collect();
        all.into_iter().map(|thread| thread.join().expect("no schedule has failed")).collect()
    });
    let registrations: u64 = totals.iter().map(|total| total.0).sum();
    let secrets: usize = totals.iter().map(|total| total.1).sum();
    // Otherwise the simulation shows nothing.
    assert!(registrations >= schedules && secrets as u64 >= schedules, "{registrations}, {secrets}");
}
