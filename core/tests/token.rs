//! Access tokens: one sign-in for however many callers, refreshed in time, and recovery when DDS has lost
//! the node.

mod support;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::node::Wait;
use posemesh_node_registration::token::AccessToken;
use support::{Events, GUARD, WALLET, start};

fn dds() -> DevDds {
    DevDds::start().expect("a DDS")
}

fn sign_ins(dds: &DevDds) -> usize {
    dds.requests_to(Endpoint::Verify).len()
}

fn code(result: Result<AccessToken, Error>) -> ErrorCode {
    result.expect_err("no token").code()
}

fn refusal(code: u16, body: &str) -> Fault {
    Fault::Status { code, retry_after: None, body: body.into() }
}

#[test]
fn nothing_is_signed_in_before_somebody_asks_and_then_once_for_all() {
    let dds = dds();
    let node = start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    assert_eq!(node.status().expect("this process").token_expires_at, None);
    assert_eq!(sign_ins(&dds), 0);

    let tokens: BTreeSet<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..20).map(|_| scope.spawn(|| node.access_token(Some(GUARD)))).collect();
        let token = |caller: thread::ScopedJoinHandle<'_, _>| {
            let token: AccessToken = Result::<_, Error>::expect(caller.join().expect("no panic"), "a token");
            token.value().to_owned()
        };
        callers.into_iter().map(token).collect()
    });
    assert_eq!((tokens.len(), sign_ins(&dds)), (1, 1));
    let token = node.access_token(Some(Duration::ZERO)).expect("from memory");
    assert!(tokens.contains(token.value()) && dds.token_is_good(token.value()));
    let expires_at = token.expires_at().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let status = node.status().expect("this process");
    assert_eq!((status.token_expires_at, status.sign_in_failures), (Some(expires_at.as_secs()), 0));

    node.stop(GUARD).expect("stops");
    assert_eq!(code(node.access_token(None)), ErrorCode::Stopped);
    assert_eq!(node.status().expect("this process").token_expires_at, None);
}

#[test]
fn it_waits_for_the_registration_and_every_form_of_waiting_gets_the_token() {
    let dds = dds();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start(&dds, &[]);
    let (done, is_done) = mpsc::channel();
    let pending = node.access_token_then(move |token| drop(done.send(token))).expect("the node runs");
    let (cancelled, is_cancelled) = mpsc::channel::<()>();
    let ignored = node.access_token_then(move |_| cancelled.send(()).expect("the test listens"));
    drop(ignored.expect("the node runs"));
    let later = node.access_token_async().expect("this process");
    let error = node.access_token(Some(Duration::ZERO)).expect_err("not registered");
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("no access token in time"), "{error}");

    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD), "the first attempt");
    node.rearm().expect("the node runs");
    let token = node.access_token(Some(GUARD)).expect("a token");
    let by_callback = is_done.recv_timeout(GUARD).expect("called").expect("a token");
    let by_future = support::runtime().block_on(later).expect("a token");
    assert_eq!([by_callback.value(), by_future.value()], [token.value(); 2]);
    assert!(is_cancelled.recv().is_err(), "a cancelled wait is not called");
    assert_eq!(sign_ins(&dds), 1);
    drop(pending);
    assert!(!format!("{token:?} {node:?}").contains(token.value()));
}

#[test]
fn a_refused_token_is_replaced_once_however_many_callers_say_so() {
    let dds = dds();
    let node = start(&dds, &[]);
    node.invalidate_token().expect("without a token there is nothing to do");
    let first = node.access_token(Some(GUARD)).expect("a token");
    node.invalidate_token_if("another token").expect("the node runs");
    assert_eq!(node.access_token(Some(GUARD)).expect("the same").value(), first.value());

    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                node.invalidate_token_if(first.value()).expect("the node runs");
                let next = node.access_token(Some(GUARD)).expect("a token");
                assert_ne!(next.value(), first.value());
            });
        }
    });
    assert_eq!(sign_ins(&dds), 2);
    let second = node.access_token(Some(GUARD)).expect("a token");
    node.invalidate_token().expect("the node runs");
    assert_ne!(node.access_token(Some(GUARD)).expect("a token").value(), second.value());
    assert_eq!(sign_ins(&dds), 3);
}

#[test]
fn a_refusal_is_told_at_once_and_not_repeated_in_a_storm() {
    let dds = dds();
    let words = "this wallet is blocked";
    let fault = Fault::Status { code: 403, retry_after: Some("600".into()), body: words.into() };
    dds.inject(Endpoint::Verify, fault, 1);
    let node = start(&dds, &[]);
    let error = node.access_token(Some(GUARD)).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::Rejected);
    assert!(error.message().contains(words), "{error}");
    // Until the next sign-in is due.
    for _ in 0..1000 {
        assert_eq!(node.access_token(Some(GUARD)), Err(error.clone()), "told again");
    }
    assert_eq!(sign_ins(&dds), 1);
    assert_eq!(node.status().expect("this process").sign_in_failures, 1);

    node.rearm().expect("the node runs");
    assert!(dds.wait_for_requests(Endpoint::Verify, 2, GUARD), "a new registration is worth a sign-in");
    assert!(dds.token_is_good(node.access_token(Some(GUARD)).expect("a token").value()));
    assert_eq!(node.status().expect("this process").sign_in_failures, 0);
}

#[test]
fn a_dds_out_of_reach_is_asked_again_and_the_timeout_says_why() {
    let dds = dds();
    dds.inject(Endpoint::Verify, refusal(503, "back in a moment"), 1);
    let node = start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    thread::scope(|scope| {
        let caller = scope.spawn(|| node.access_token(Some(GUARD)));
        assert!(dds.wait_for(GUARD, |_| node.status().is_ok_and(|status| status.sign_in_failures == 1)));
        let error = node.access_token(Some(Duration::ZERO)).expect_err("not yet");
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(
            error.message().contains("last sign-in") && error.message().contains("back in a moment"),
            "{error}"
        );
        caller.join().expect("no panic").expect("a token after all");
    });
    assert_eq!(sign_ins(&dds), 2);
}

#[test]
fn a_node_that_dds_has_lost_registers_again_and_gets_its_token() {
    let dds = dds();
    let node = start(&dds, &[]);
    let first = node.access_token(Some(GUARD)).expect("a token");
    let events = Events::of(&node);
    dds.forget(WALLET);
    node.invalidate_token_if(first.value()).expect("the node runs");
    let token = node.access_token(Some(GUARD)).expect("a token");
    assert!(dds.token_is_good(token.value()));
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 2);
    let reason = events.next("loss", |kind| match kind {
        EventKind::RegistrationLost { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("node not found"), "{reason}");
    let expires_at = events.next("token", |kind| match kind {
        EventKind::TokenRefreshed { expires_at } => Some(*expires_at),
        _ => None,
    });
    assert_eq!(expires_at, token.expires_at());
}
