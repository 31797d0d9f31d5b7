//! Modes, forks, containers and full disks.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::log::Level;
use posemesh_node_registration::node::Wait;
use posemesh_node_registration::status::Role;

use super::place::{Mount, Place, free_port};
use super::support::{GUARD, dds_that_calls_when_told, logged, until_probed};
use super::worker::{Worker, three};
use super::{key, leave_a_record, names, node_url, secret, start, until_record};

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn warnings(state: &str, part: &str) -> usize {
    let records = logged();
    let shown = records.iter().filter(|record| record.level != Level::Debug);
    shown.filter(|record| record.message.contains(state) && record.message.contains(part)).count()
}

// scenario: state-readable-by-others
#[test]
fn a_directory_that_others_can_read_is_refused_with_the_remedy() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let refused = |state: &str, code: ErrorCode, parts: &[&str]| {
        let error = start(&dds, state, &key()).expect_err("refused");
        assert_eq!(error.code(), code, "{error}");
        for part in parts {
            assert!(error.message().contains(part), "{part} in {error}");
        }
    };
    let state = place.state();
    refused(&format!("{state}/below"), ErrorCode::InvalidConfig, &["its parent directory does not exist"]);
    refused(&format!("{state}/below/."), ErrorCode::InvalidConfig, &["its parent directory does not exist"]);
    let no_disk = ["cannot be created there", "name a directory on a disk of this machine"];
    refused("/proc/node", ErrorCode::InvalidConfig, &no_disk);

    fs::write(&state, "").expect("a file");
    refused(&state, ErrorCode::InvalidConfig, &["is not a directory"]);
    fs::remove_file(&state).expect("ours");

    fs::create_dir(&state).expect("ours");
    for open in [0o755, 0o750, 0o701, 0o777] {
        set_mode(&state, open);
        let octal = format!("mode {open:o}");
        refused(&state, ErrorCode::InvalidConfig, &[&octal, "chmod 700", "subdirectory that does not exist"]);
    }
    set_mode(&state, 0o700);

    let file = Path::new(&state).join("state");
    fs::write(&file, "").expect("ours");
    set_mode(&file, 0o640);
    refused(&state, ErrorCode::InvalidConfig, &["state/state", "mode 640", "chmod 600"]);
    fs::remove_file(&file).expect("ours");
    symlink("/etc/passwd", &file).expect("ours");
    refused(&state, ErrorCode::InvalidConfig, &["state/state", "not a regular file"]);
    fs::remove_file(&file).expect("ours");
    let fifo = Command::new("mkfifo").arg("-m600").arg(&file).status().expect("mkfifo");
    assert!(fifo.success());
    refused(&state, ErrorCode::InvalidConfig, &["state/state", "not a regular file"]);
    fs::remove_file(&file).expect("ours");

    if fs::metadata("/proc/self").expect("Linux").uid() == 0 {
        std::os::unix::fs::chown(&state, Some(12_345), None).expect("root");
        refused(&state, ErrorCode::InvalidConfig, &["belongs to user 12345", "runs as user 0"]);
        std::os::unix::fs::chown(&state, Some(0), None).expect("root");
    } else {
        println!("SKIPPED: only root can change the owner of a directory");
    }
    // Nothing is left of the refused starts.
    start(&dds, &state, &key()).expect("it starts now");
}

#[test]
fn a_directory_that_cannot_be_created_is_refused_with_the_remedy() {
    if let Some(mount) = Mount::tmpfs("mode=755") {
        mount.remount("ro");
        let error = start(&dds_that_calls_when_told(), &mount.0.state(), &key()).expect_err("refused");
        let remedy = "Read-only file system (os error 30); name a directory on a disk that can be written";
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().ends_with(remedy), "{error}");
        assert_eq!(error.os_error(), Some(30));
    }
    if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        println!("SKIPPED: only root can start a process of another user");
        return;
    }
    let place = Place::new();
    set_mode(&place.0, 0o755);
    let options = [("STATE_DIR", &*place.state())];
    let refused = Worker::spawn_masked("077", 12_345, "http://127.0.0.1:1", &options).until("refused");
    let remedy = "Permission denied (os error 13); this process runs as user 12345, who must own the directory with \
                  mode 700, or be able to create it";
    assert!(refused.starts_with("ERR_IO"), "{refused}");
    assert!(refused.contains(remedy), "{refused}");
    // Its parent cannot even be entered.
    set_mode(&place.0, 0o700);
    let refused = Worker::spawn_masked("077", 12_345, "http://127.0.0.1:1", &options).until("refused");
    assert!(refused.contains(remedy), "{refused}");
}

#[test]
fn a_record_is_never_written_through_a_leftover_file() {
    use std::os::unix::net::UnixListener;
    let dds = dds_that_calls_when_told();
    type Make = fn(&Path, &Path);
    let kinds: [(&str, Make); 4] = [
        ("a symbolic link", |next, other| std::os::unix::fs::symlink(other, next).expect("ours")),
        ("a hard link", |next, other| fs::hard_link(other, next).expect("ours")),
        ("a pipe", |next, _| assert!(Command::new("mkfifo").arg(next).status().expect("runs").success())),
        ("a socket", |next, _| drop(UnixListener::bind(next).expect("ours"))),
    ];
    for (kind, make) in kinds {
        let (place, key) = (Place::new(), key());
        let state = place.state();
        fs::create_dir(&state).expect("ours");
        set_mode(&state, 0o700);
        let other = Path::new(&state).join("another file");
        fs::write(&other, "untouched").expect("ours");
        make(&Path::new(&state).join("state.new"), &other);
        let secret_before = leave_a_record(&dds, &state, &key);
        assert_eq!(fs::read(&other).expect("ours"), b"untouched", "{kind}");
        assert_eq!(names(&state), ["another file", "state"], "{kind}");
        let node = start(&dds, &state, &key).expect("it starts");
        assert_eq!(secret(&node), Some(secret_before), "{kind}");
    }
}

#[test]
fn a_forked_child_of_a_dead_leader_does_not_block_the_next_one() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let options = [("STATE_DIR", place.state()), ("CALLBACK_BIND", bind)];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    for stops in [false, true] {
        let mut leader = Worker::start(&dds.url(), &options);
        assert_eq!(leader.ask("registered"), "Ok(())");
        let child: i32 = leader.ask("fork").parse().expect("a process id");
        let mut follower = Worker::start(&dds.url(), &options);
        assert!(follower.ask("status").starts_with("follower"));
        if stops {
            assert_eq!(leader.ask("stop"), "Ok(())");
        } else {
            leader.kill();
        }
        follower.until_answer("status", |status| status.starts_with("leader registered"));
        until_probed(&dds);
        assert!(Path::new(&format!("/proc/{child}")).exists(), "it has not used the library, and lives");
        Command::new("kill").arg("-9").arg(child.to_string()).status().expect("kill");
    }
}

#[test]
fn a_forked_child_may_follow_its_parent() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let mut parent = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    assert_eq!(parent.ask("registered"), "Ok(())");
    for _ in 0..3 {
        parent.ask("fork-node");
        assert_eq!(parent.until("child"), "ERR_FORKED follower");
        // The child closed only copies: the parent still holds its lock.
        let mut other = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
        assert!(other.ask("status").starts_with("follower") && parent.is_leader());
    }
    assert_eq!(dds.nodes()[0].registrations, 1);
}

#[test]
fn a_forked_child_takes_over_the_lead_and_the_port() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let options = [("STATE_DIR", place.state()), ("CALLBACK_BIND", bind)];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut parent = Worker::start(&dds.url(), &options);
    assert_eq!(parent.ask("registered"), "Ok(())");
    until_record(&place.state(), "\"status\":\"registered\"");
    let child = parent.ask("fork-follower");
    assert_eq!(parent.until("child"), "follower");
    assert_eq!(dds.probe_health().expect("the parent's port is still open"), 200);
    parent.kill();
    until_probed(&dds);
    assert_eq!(dds.nodes()[0].registrations, 1, "{:?}", parent.told());
    Command::new("kill").arg("-9").arg(&child).status().expect("kill");
}

#[test]
fn containers_share_a_directory() {
    let may = Command::new("unshare").args(["--pid", "--fork", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: cannot make a process namespace");
        return;
    }
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let options = [("STATE_DIR", place.state())];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    let start = |apart| {
        if apart { Worker::start_apart(&dds.url(), &options) } else { Worker::start(&dds.url(), &options) }
    };
    let mut leader = start(true);
    assert_eq!(leader.ask("registered"), "Ok(())");
    // The processes see each other or do not.
    for apart in [false, true, true, false] {
        let mut follower = start(apart);
        assert_eq!(follower.ask("registered"), "Ok(())");
        assert!(follower.ask("status").starts_with("follower"));
        leader.kill();
        follower.until_answer("status", |status| status.starts_with("leader registered"));
        leader = follower;
    }
    assert_eq!(dds.nodes()[0].registrations, 1);
}

// scenario: state-not-writable
#[test]
fn a_full_disk_does_not_stop_the_node() {
    let Some(mount) = Mount::tmpfs("size=64k,mode=700") else { return };
    logged();
    let (dds, key, state) = (dds_that_calls_when_told(), key(), mount.0.state());
    let node = start(&dds, &state, &key).expect("it starts");
    node_url(&dds, &node);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    dds.set_secret(Some("before".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);

    let filler = mount.0.0.join("filler");
    let full = fs::write(&filler, vec![1; 128 * 1024]).expect_err("it is full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for round in 0..3 {
        node.rearm().expect("it runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        dds.set_secret(Some(format!("full {round}")));
        assert_eq!(dds.call_back().expect("an answer").status, 200, "it is held in memory");
        assert_eq!(secret(&node), Some(format!("full {round}")));
    }
    assert_eq!(node.status().expect("ours").persistence_error, Some(ErrorCode::Io));
    let error = node.persistence_error().expect("ours").expect("an error");
    assert!(
        error.message().contains("No space left on device") && error.message().contains(&state),
        "{error}"
    );

    fs::remove_file(&filler).expect("ours");
    node.rearm().expect("it runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    dds.set_secret(Some("after".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(node.persistence_error(), Ok(None));
    assert_eq!(node.status().expect("ours").persistence_error, None);
    node.stop(GUARD).expect("stopped");
    assert_eq!(
        (warnings(&state, "No space left"), warnings(&state, "is written to")),
        (1, 1),
        "once per episode"
    );
    let node = start(&dds, &state, &key).expect("it starts");
    assert_eq!(secret(&node).as_deref(), Some("after"));
}

#[test]
fn free_space_is_noticed_without_another_change() {
    let Some(mount) = Mount::tmpfs("size=64k,mode=700") else { return };
    let (dds, key, state) = (dds_that_calls_when_told(), key(), mount.0.state());
    let node = start(&dds, &state, &key).expect("it starts");
    node_url(&dds, &node);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    until_record(&state, "\"status\":\"registered\"");
    let filler = mount.0.0.join("filler");
    fs::write(&filler, vec![1; 128 * 1024]).expect_err("it is full");
    dds.set_secret(Some("full".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(node.status().expect("ours").persistence_error, Some(ErrorCode::Io));
    fs::remove_file(&filler).expect("ours");
    let deadline = Instant::now() + GUARD;
    while node.status().expect("ours").persistence_error.is_some() {
        assert!(Instant::now() < deadline, "not noticed");
        thread::yield_now();
    }
    let record = fs::read_to_string(Path::new(&state).join("state")).expect("a record");
    assert!(record.contains("\"secret_version\":1"), "{record}");
}

#[test]
fn a_read_only_directory_is_read_and_written_once_it_is_writable() {
    let Some(mount) = Mount::tmpfs("mode=700") else { return };
    logged();
    let (dds, key, state) = (dds_that_calls_when_told(), key(), mount.0.state());
    let before = leave_a_record(&dds, &state, &key);
    mount.remount("ro");
    let node = start(&dds, &state, &key).expect("it runs");
    assert_eq!(secret(&node), Some(before), "the record is read");
    let status = node.status().expect("ours");
    assert_eq!((status.role, status.persistence_error), (Role::Leader, Some(ErrorCode::Io)));
    let error = node.persistence_error().expect("ours").expect("an error");
    assert!(error.message().contains("Read-only file system"), "{error}");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    node_url(&dds, &node);
    dds.set_secret(Some("new".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);

    mount.remount("rw");
    node.rearm().expect("it runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(node.persistence_error(), Ok(None));
    assert_eq!((warnings(&state, "Read-only"), warnings(&state, "is written to")), (1, 1));
    node.stop(GUARD).expect("stopped");
    let node = start(&dds, &state, &key).expect("it starts");
    assert_eq!(secret(&node).as_deref(), Some("new"));
}

#[test]
fn parked_leaders_and_followers_use_no_cpu() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    let mut workers = three(&dds, &place.state(), &bind);
    // The next thing that a process does for its token is the refresh, in three quarters of an hour.
    workers[0].ask("token");
    workers[1].ask("token");
    // Until the threads for files have ended. What polls, polls at least once a second.
    let deadline = Instant::now() + GUARD;
    let mut switches = || workers.each_mut().map(|worker| worker.ask("switches"));
    let mut before = switches();
    loop {
        thread::sleep(Duration::from_millis(1500));
        let after = switches();
        if before == after {
            break;
        }
        assert!(Instant::now() < deadline, "{before:?} and {after:?} context switches");
        before = after;
    }
    for worker in &mut workers {
        let threads = worker.ask("threads");
        assert!(["posemesh-rt", "posemesh-events posemesh-rt"].contains(&threads.as_str()), "{threads}");
    }
}
