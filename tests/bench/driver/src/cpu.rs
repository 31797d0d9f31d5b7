//! The CPU time of other processes, to the nanosecond, and their entries in `/proc`.

#![expect(unsafe_code, reason = "two calls of libc without a safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::process::Child;
use std::time::Duration;

/// The CPU time that a process has used so far, all threads, user and system.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: writes one clock id, which is plain data.
    let failed = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes one timespec when it succeeds.
    if unsafe { libc::clock_gettime(clock, now.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by the successful call above.
    let now = unsafe { now.assume_init() };
    Ok(Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().expect("below one second")))
}

/// Waits for the end of a process; returns the CPU time of its whole life.
pub fn wait(child: &Child) -> io::Result<Duration> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: writes a status and, when it succeeds, the usage.
    if unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if status != 0 {
        return Err(io::Error::other(format!("a program under measurement failed (wait status {status})")));
    }
    // SAFETY: written by the successful call above.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::new(
            time.tv_sec.cast_unsigned(),
            u32::try_from(time.tv_usec).expect("below a million") * 1000,
        )
    };
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

/// The resources and counters of a process, from `/proc`.
pub struct Proc {
    /// Resident memory in bytes.
    pub resident: f64,
    /// The part of it, in bytes, that the process has written, and that no other process can share.
    pub private: f64,
    pub threads: f64,
    /// Context switches of all its threads so far, voluntary or not.
    pub switches: f64,
}

impl Proc {
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let mut switches = 0.0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = std::fs::read_to_string(task?.path().join("status"))?;
            switches +=
                field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?;
        }
        Ok(Self {
            resident: field(&status, "VmRSS:")? * 1024.0,
            private: field(&memory, "Private_Dirty:")? * 1024.0,
            threads: field(&status, "Threads:")?,
            switches,
        })
    }
}

fn field(status: &str, name: &str) -> io::Result<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc has no {name}")))
}
