//! A wall clock that is set forward or back by hours, as after a sleep: the library reads a clock that this program
//! moves. One test, because the clock belongs to the whole process.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "a clock_gettime in place of libc's")]

mod support;

use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use posemesh_dev_dds::{DevDds, Endpoint};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::log::Level;
use posemesh_node_registration::node::{Node, Wait};
use support::{Events, GUARD, start};

const HOUR: i64 = 3600;

/// How far the wall clock of this process is off. The DDS in this process reads the right time.
static OFFSET_SECS: AtomicI64 = AtomicI64::new(0);

/// The linker prefers this function to libc's: std, and therefore the library, reads every clock here.
///
/// # Safety
/// As libc's: `time` is null or points to a timespec.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the kernel checks the pointer itself.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 && clock == libc::CLOCK_REALTIME && !is_dds() {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += OFFSET_SECS.load(Ordering::Relaxed) };
    }
    result as libc::c_int
}

fn is_dds() -> bool {
    let mut name = [0; 16];
    // SAFETY: `name` is as long as is said, and as a thread's name can be.
    unsafe { libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr(), name.len()) };
    // SAFETY: it ends with a NUL, which was there before.
    unsafe { CStr::from_ptr(name.as_ptr()) }.to_bytes() == b"dev-dds"
}

fn set_clock(hours_off: i64) {
    let before = SystemTime::now();
    let by = hours_off * HOUR - OFFSET_SECS.swap(hours_off * HOUR, Ordering::Relaxed);
    let after = SystemTime::now();
    let moved = after.max(before).duration_since(after.min(before)).expect("in order").as_secs();
    assert!(moved.abs_diff(by.unsigned_abs()) <= 60, "the clock of std has moved by {moved} s, not {by} s");
}

fn sign_ins(dds: &DevDds) -> usize {
    dds.requests_to(Endpoint::Verify).len()
}

fn token(node: &Node) -> String {
    node.access_token(Some(GUARD)).expect("a token").value().to_owned()
}

/// How far DDS is ahead. `Date` has a resolution of one second.
fn skew_hours(node: &Node) -> f64 {
    node.status().expect("this process").clock_skew_ms as f64 / 3_600_000.0
}

fn until_refreshed(events: &Events) {
    events.next("token", |kind| matches!(kind, EventKind::TokenRefreshed { .. }).then_some(()));
}

#[test]
fn a_clock_that_jumps_costs_at_most_one_sign_in() {
    support::logged();
    let dds = DevDds::start().expect("a DDS");
    // No timeout, because a request that is repeated would be another sign-in.
    let node = start(&dds, &[("request_timeout_secs", "3600")]);
    let first = token(&node);
    assert_eq!(node.status().expect("this process").clock_skew_ms, 0);

    // Forward, as after a sleep: a token that was valid for an hour may have expired.
    set_clock(5);
    let second = token(&node);
    assert_ne!(second, first);
    assert_eq!((token(&node), sign_ins(&dds)), (second.clone(), 2));
    assert!((skew_hours(&node) + 5.0).abs() < 0.01, "{}", skew_hours(&node));

    // Back by ten hours: the token is as valid as before.
    set_clock(-5);
    assert_eq!((token(&node), sign_ins(&dds)), (second.clone(), 2));
    node.invalidate_token_if(&second).expect("the node runs");
    let third = token(&node);
    assert!(dds.token_is_good(&third) && third != second);
    assert!((skew_hours(&node) - 5.0).abs() < 0.01, "{}", skew_hours(&node));

    // The registration uses the clock of DDS, too.
    dds.forget_all();
    node.rearm().expect("the node runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers with a wrong clock");

    // Right again; the node has received no answer since.
    set_clock(0);
    node.invalidate_token_if(&third).expect("the node runs");
    assert!(dds.token_is_good(&token(&node)));
    assert_eq!(node.status().expect("this process").clock_skew_ms, 0);
    node.stop(GUARD).expect("stops");

    // Refreshes depend on elapsed time, not on the clock, by which these tokens would be valid for hours.
    let short = DevDds::builder().token_lifetime(Duration::from_secs(2)).start().expect("a DDS");
    let node = start(&short, &[]);
    let events = Events::of(&node);
    token(&node);
    until_refreshed(&events);
    for hours in [-5, 5, 0] {
        set_clock(hours);
        until_refreshed(&events);
    }
    node.stop(GUARD).expect("stops");

    let logged = support::logged();
    let warnings: Vec<_> = logged
        .iter()
        .filter(|record| record.level == Level::Warn && record.message.contains("clock of this machine"))
        .collect();
    // Five hours ahead, then at once five hours behind: one episode per node.
    let texts: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(
        texts[0].contains("ahead of the clock of DDS") && texts[1].contains("behind the clock of DDS"),
        "{texts:#?}"
    );
}
