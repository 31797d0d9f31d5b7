//! Cores that do not fall asleep.

#![expect(unsafe_code, reason = "two calls of libc without a safe wrapper")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Keeps every core busy with a thread that gives way to everybody, until it is dropped.
///
/// To wake a virtual core that sleeps costs the one who wakes it up to as much CPU time as a registration, and
/// whether it sleeps is a matter of microseconds. What a program costs itself shows only where none sleeps.
pub struct Awake {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub fn begin() -> io::Result<Self> {
        let mut awake = Self { over: Arc::default(), threads: Vec::new() };
        for core in 0..std::thread::available_parallelism()?.get() {
            let over = Arc::clone(&awake.over);
            let spin = move || {
                // A thread that would not give way is worse than none.
                if stay_on(core).and_then(|()| give_way()).is_ok() {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            };
            awake.threads.push(std::thread::Builder::new().name("awake".into()).spawn(spin)?);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Binds the calling thread to a core.
fn stay_on(core: usize) -> io::Result<()> {
    // SAFETY: a set of cores is plain bits, of which zeros are the empty one.
    let mut cores = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: checks the index itself.
    unsafe { libc::CPU_SET(core, &mut cores) };
    // SAFETY: reads that set; 0 is the calling thread.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores) })
}

/// From now on the calling thread runs only on otherwise idle cores.
fn give_way() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the parameter; 0 is the calling thread.
    checked(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
