//! Conditions that a test can bring about on Linux: disks that cannot be written, stopped processes, other users.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use posemesh_node_registration::state::StateDir;

use super::connect::until_closed;
use super::place::{Mount, Place, free_port};
use super::support::{CHILD_CASE, GUARD, child_case, dds_that_calls_when_told, until_probed};
use super::worker::{Worker, leader_of, three};
use super::{HELLO, send_secret};

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("Linux").uid() == 0
}

/// Three processes of one node on a disk that cannot be written.
fn three_without_a_disk(state: &str, why: &str) {
    let (dds, bind) = (dds_that_calls_when_told(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = Vec::from(three(&dds, state, &bind));
    for (registrations, secret) in (1..).zip(["first", "second", "third"]) {
        assert_eq!(dds.nodes()[0].registrations, registrations, "one registrar");
        send_secret(&dds, secret, &mut workers);
        let leader = leader_of(&mut workers);
        for (nth, worker) in workers.iter_mut().enumerate() {
            let expected = if nth == leader { why } else { "persistence=fine" };
            worker.until_answer("status", |status| status.contains(expected));
        }
        // The next leader has everything, and continues.
        let mut leader = workers.remove(leader);
        leader.kill();
        let successor = leader_of(&mut workers);
        for worker in &mut workers {
            worker.until_answer("secret", |held| held == secret);
        }
        workers.push(Worker::start(&dds.url(), &[("STATE_DIR", state), ("CALLBACK_BIND", &bind)]));
        workers[2].until_answer("status", |status| status.starts_with("follower registered"));
        assert!(workers[successor].ask("rearm").starts_with("Ok(())"));
        assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == registrations + 1));
        assert_eq!(workers[successor].ask("registered"), "Ok(())");
        until_probed(&dds);
    }
}

#[test]
fn one_process_leads_on_a_read_only_disk() {
    let Some(mount) = Mount::tmpfs("mode=700") else { return };
    let state = mount.0.state();
    fs::DirBuilder::new().mode(0o700).create(&state).expect("ours");
    mount.remount("ro");
    three_without_a_disk(&state, "Read-only file system");
}

#[test]
fn one_process_leads_on_a_disk_without_free_inodes() {
    // One for the root, one for the directory.
    let Some(mount) = Mount::tmpfs("mode=700,nr_inodes=2") else { return };
    let state = mount.0.state();
    three_without_a_disk(&state, "No space left on device");
}

#[test]
fn a_umask_without_permissions_does_not_separate_the_processes() {
    let user = if is_root() { 12_345 } else { 0 };
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    if user != 0 {
        chown(&place.0, Some(user), Some(user)).expect("root");
    }
    let state = place.state();
    let start = |bind: &str| {
        let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", bind)];
        Worker::start_masked("0277", user, &dds.url(), &options)
    };
    let bind = free_port();
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = vec![start(&bind), start(&bind), start(&bind)];
    assert_eq!(leader_of(&mut workers), 0);
    assert_eq!(workers[0].ask("registered"), "Ok(())");
    send_secret(&dds, "the secret", &mut workers);
    for worker in &mut workers {
        worker.until_answer("status", |status| status.ends_with("persistence=fine"));
    }
    let mode =
        |name: &str| fs::metadata(Path::new(&state).join(name)).expect("it is there").permissions().mode();
    assert_eq!(mode("") & 0o777, 0o700);
    assert_eq!(mode("state") & 0o777, 0o600);
    let deadline = Instant::now() + GUARD;
    while !Path::new(&state).join("leader").exists() {
        assert!(Instant::now() < deadline, "no socket");
    }
    assert_eq!(mode("leader") & 0o777, 0o600);
}

/// Followers stay connected to their leader, and to the next one, when the path changes. The path may be longer than
/// the address of a socket.
#[test]
fn a_moved_directory_is_still_shared() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let state = place.0.join("long".repeat(50)).to_str().expect("UTF-8").to_owned();
    let mut workers = Vec::from(three(&dds, &state, &bind));
    let moved = place.0.join("moved");
    fs::rename(&state, &moved).expect("ours");
    send_secret(&dds, "after the move", &mut workers);
    let leader = leader_of(&mut workers);
    workers.remove(leader).kill();
    leader_of(&mut workers);
    until_probed(&dds);
    assert_eq!(dds.nodes()[0].registrations, 1);
    // A new process finds what is at its path: nothing at the old one, the node at the new one.
    let mut stranger = Worker::start(&dds.url(), &[("STATE_DIR", &state)]);
    assert_eq!(stranger.ask("secret"), "none");
    assert!(stranger.is_leader());
    stranger.kill();
    workers.push(Worker::start(&dds.url(), &[("STATE_DIR", moved.to_str().expect("UTF-8"))]));
    workers[2].until_answer("status", |status| status.starts_with("follower registered version=1"));
    fs::remove_dir_all(&moved).expect("ours");
    // Nothing can be written, but the state is still shared.
    send_secret(&dds, "after the move", &mut workers);
    let leader = leader_of(&mut workers);
    workers.remove(leader).kill();
    leader_of(&mut workers);
}

#[test]
fn a_removed_socket_is_recreated() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let mut workers = Vec::from(three(&dds, &place.state(), "127.0.0.1:0"));
    let socket = Path::new(&place.state()).join("leader");
    let until_there = || {
        let deadline = Instant::now() + GUARD;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "not recreated");
            thread::yield_now();
        }
    };
    until_there();
    fs::remove_file(&socket).expect("ours");
    // By a write,
    assert!(workers[1].ask("rearm").starts_with("Ok(())"));
    until_there();
    assert_eq!(workers[1].ask("registered"), "Ok(())");
    // and by a follower that could not use it.
    fs::remove_file(&socket).expect("ours");
    workers.push(Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]));
    workers[3].until_answer("status", |status| {
        status.starts_with("follower registered") && status.ends_with("persistence=fine")
    });
    until_there();
    UnixStream::connect(&socket).expect("it listens");
}

#[test]
fn a_process_in_a_chroot_leads_and_follows() {
    if !is_root() {
        println!("SKIPPED: only root may chroot");
        return;
    }
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = Vec::from(three(&dds, &place.state(), &bind));
    assert_eq!(workers[0].ask("chroot"), "None");
    assert_eq!(workers[1].ask("chroot"), "None");
    send_secret(&dds, "in a chroot", &mut workers);
    assert!(workers[1].ask("rearm").starts_with("Ok(())"));
    assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == 2));
    workers[0].until_answer("status", |status| status.starts_with("leader registered"));
    workers.push(Worker::start(&dds.url(), &[("STATE_DIR", &place.state()), ("CALLBACK_BIND", &bind)]));
    // It is the only one left, and then there is one that meets it as a leader.
    workers.remove(2).kill();
    workers.remove(2).kill();
    workers.remove(0).kill();
    assert_eq!(leader_of(&mut workers), 0);
    workers.push(Worker::start(&dds.url(), &[("STATE_DIR", &place.state()), ("CALLBACK_BIND", &bind)]));
    workers[1].until_answer("status", |status| status.starts_with("follower registered"));
    until_probed(&dds);
    send_secret(&dds, "in a chroot", &mut workers);
    workers[0].until_answer("status", |status| status.ends_with("persistence=fine"));
}

#[test]
fn followers_learn_what_a_full_disk_cannot_keep() {
    let Some(mount) = Mount::tmpfs("size=64k,mode=700") else { return };
    let (dds, state, bind) = (dds_that_calls_when_told(), mount.0.state(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = Vec::from(three(&dds, &state, &bind));
    send_secret(&dds, "kept", &mut workers);
    let filler = mount.0.0.join("filler");
    fs::write(&filler, vec![1; 128 * 1024]).expect_err("it is full");
    assert!(workers[0].ask("rearm").starts_with("Ok(())"));
    assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == 2));
    workers[0].until_answer("status", |status| status.starts_with("leader registered"));
    send_secret(&dds, "not kept", &mut workers);
    assert!(workers[0].ask("status").contains("No space left on device"));
    assert!(workers[1].ask("status").ends_with("persistence=fine"));
    assert!(!fs::read_to_string(Path::new(&state).join("state")).expect("a record").contains("version\":2"));
    // A new leader does not return to the older record on the disk, and writes its own as soon as it can.
    workers.remove(0).kill();
    leader_of(&mut workers);
    for worker in &mut workers {
        assert_eq!(worker.ask("secret"), "not kept");
        worker.until_answer("status", |status| status.contains(" registered version=2"));
    }
    fs::remove_file(&filler).expect("ours");
    // Only the file tells: until its first write has failed, a new leader has no error to show.
    until_kept(&state, "\"secret_version\":2");
    for worker in &mut workers {
        worker.until_answer("status", |status| status.ends_with("persistence=fine"));
        worker.kill();
    }
    let mut next = Worker::start(&dds.url(), &[("STATE_DIR", &state)]);
    assert_eq!(next.ask("secret"), "not kept");
}

/// A write to such a disk does not return, and its process cannot even be killed.
#[test]
fn a_frozen_disk_delays_only_writes() {
    let Some(mount) = Mount::disk() else { return };
    let (dds, state, bind) = (dds_that_calls_when_told(), mount.0.state(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", &bind)];
    let mut workers = Vec::from(three(&dds, &state, &bind));
    until_kept(&state, "\"status\":\"registered\"");
    // Its file threads may still hold a lock of the disk.
    workers[0].until_answer("threads", |threads| !threads.contains("posemesh-io"));
    let Some(frozen) = mount.freeze() else { return };
    workers.remove(0).signal("KILL");
    until_probed(&dds);
    let successor = leader_of(&mut workers);
    workers.push(Worker::start(&dds.url(), &options));
    for (nth, worker) in workers.iter_mut().enumerate() {
        let role = if nth == successor { "leader registered" } else { "follower registered" };
        worker.until_answer("status", |status| status.starts_with(role) && status.ends_with("=fine"));
    }
    assert!(workers[2].ask("rearm").starts_with("Ok(())"));
    assert_eq!(workers[2].ask("registered"), "Ok(())");
    assert_eq!(dds.nodes()[0].registrations, 2);
    dds.set_secret(Some("the secret".into()));
    thread::scope(|scope| {
        let answer = scope.spawn(|| dds.call_back().expect("an answer").status);
        for worker in &mut workers {
            worker.until_answer("secret", |held| held == "the secret");
        }
        assert!(!answer.is_finished(), "DDS receives the answer after the write");
        drop(frozen);
        assert_eq!(answer.join().expect("no panic"), 200);
    });
    until_kept(&state, "\"secret_version\":1");

    // A start does not wait for its first write.
    drop(workers);
    let frozen = mount.freeze();
    let mut next = Worker::start(&dds.url(), &options);
    assert_eq!(next.ask("secret"), "the secret");
    assert!(next.is_leader());
    drop(frozen);
}

fn until_kept(state: &str, part: &str) {
    let deadline = Instant::now() + GUARD;
    while !fs::read_to_string(Path::new(state).join("state")).expect("a record").contains(part) {
        assert!(Instant::now() < deadline, "{part} is not kept");
        thread::yield_now();
    }
}

#[test]
fn a_stopped_process_delays_only_itself() {
    let Some(mount) = Mount::tmpfs("mode=700") else { return };
    let (dds, state, bind) = (dds_that_calls_when_told(), mount.0.state(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", &bind), ("CALLBACK_POLICY", "open")];
    let mut workers: Vec<_> = (0..3).map(|_| Worker::start(&dds.url(), &options)).collect();
    assert_eq!(workers[0].ask("registered"), "Ok(())");
    workers[2].signal("STOP");
    // Far more than the buffers of its connection can hold.
    for nth in 1..=1000 {
        dds.set_secret(Some(format!("{nth}-{}", "x".repeat(3000))));
        assert_eq!(dds.call_back().expect("an answer").status, 200, "{nth}");
    }
    let last = format!("1000-{}", "x".repeat(3000));
    workers[1].until_answer("secret", |held| held == last);
    workers[2].signal("CONT");
    workers[2].until_answer("secret", |held| held == last);

    // The leader.
    workers[0].signal("STOP");
    workers[1].until_answer("status", |status| status.contains("registered version=1000"));
    let late = Worker::start(&dds.url(), &options);
    workers.push(late);
    assert_eq!(workers[3].ask("secret"), last, "from the disk");
    workers[3].until_answer("status", |status| {
        status.starts_with("follower registered") && status.contains("does not respond")
    });
    workers[0].signal("CONT");
    workers[3].until_answer("status", |status| status.ends_with("persistence=fine"));
    workers[0].signal("STOP");
    workers.remove(0).kill();
    leader_of(&mut workers);
    assert_eq!(dds.nodes()[0].registrations, 1);
}

#[test]
fn a_leader_accepts_followers_once_it_has_free_descriptors() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let mut workers = Vec::from(three(&dds, &place.state(), "127.0.0.1:0"));
    assert_eq!(workers[0].ask("few-files"), "Ok(())");
    let mut late = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    late.until_answer("status", |status| {
        status.starts_with("follower") && status.contains("does not respond")
    });
    assert_eq!(workers[0].ask("many-files"), "Ok(())");
    late.until_answer("status", |status| {
        status.starts_with("follower registered") && status.ends_with("persistence=fine")
    });
    // A follower that cannot connect still takes over.
    assert_eq!(workers[1].ask("few-files"), "Ok(())");
    drop(workers.remove(2));
    drop(late);
    workers.remove(0).kill();
    workers[0].until_answer("status", |status| status.starts_with("leader"));
}

/// Not a test: connects to an abstract socket as another user, and prints how many bytes arrived before the end.
#[test]
fn knock() {
    let Some(name) = child_case() else { return };
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let mut stream = UnixStream::connect_addr(&address).expect("the leader listens");
    let _ = stream.write_all(&HELLO);
    println!("\nreceived {}", until_closed(stream).len());
}

#[test]
fn a_connection_of_another_user_is_closed() {
    if !is_root() {
        println!("SKIPPED: only root may be another user");
        return;
    }
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let mut worker = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    let metadata = fs::metadata(place.state()).expect("it is there");
    let name = format!("posemesh-node-state/{:x}/{:x}", metadata.dev(), metadata.ino());
    let knock = |user: u32| {
        let output = Command::new(std::env::current_exe().expect("this binary"))
            .args(["linux::knock", "--exact", "--nocapture"])
            .env(CHILD_CASE, &name)
            .uid(user)
            .gid(user)
            .spawn_and_read();
        output.lines().find_map(|line| line.strip_prefix("received ")?.parse::<usize>().ok())
    };
    assert_eq!(knock(12_345), Some(0));
    assert!(worker.is_leader());
}

trait SpawnAndRead {
    fn spawn_and_read(&mut self) -> String;
}

impl SpawnAndRead for Command {
    fn spawn_and_read(&mut self) -> String {
        let output = self.output().expect("a child process");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

#[test]
#[expect(unsafe_code, reason = "the lock of a leader of another version is taken through libc")]
fn a_leader_of_another_version_is_reported_and_replaced() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let state = place.state();
    fs::DirBuilder::new().mode(0o700).create(&state).expect("ours");
    let directory = File::open(&state).expect("ours");
    // SAFETY: it is an open file.
    assert_eq!(unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
    let listener = UnixListener::bind(Path::new(&state).join("leader")).expect("a socket");
    let leader = thread::spawn(move || {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().expect("a follower");
            let mut hello = [0; 6];
            if stream.read_exact(&mut hello).is_err() {
                // The test's own connection, which ends this thread.
                return held.len();
            }
            assert_eq!(hello, HELLO);
            stream.write_all(&[0, 0, 0, 3, 0, 9, 77]).expect("it reads");
            held.push(stream);
        }
    });
    let mut worker = Worker::start(&dds.url(), &[("STATE_DIR", &state)]);
    worker.until_answer("status", |status| {
        status.starts_with("follower") && status.contains("version 9 of the protocol")
    });
    drop(UnixStream::connect(Path::new(&state).join("leader")).expect("it listens"));
    assert!(leader.join().expect("no panic") >= 1);
    drop(directory);
    worker.until_answer("status", |status| status.starts_with("leader"));
    assert_eq!(worker.ask("registered"), "Ok(())");
    worker.until_answer("status", |status| status.ends_with("persistence=fine"));
}

/// The child drops a copy of the parent's `StateDir` and of its lock.
#[test]
#[expect(unsafe_code, reason = "a fork without exec is what is tested")]
fn a_forked_child_that_drops_its_copy_of_the_lock_does_not_release_it() {
    let place = Place::new();
    let state = StateDir::open(place.state()).expect("it is made");
    let lock = state.try_lock().expect("it works").expect("it is free");
    // SAFETY: the child calls nothing that takes a lock of another thread, and ends without running the parent's
    // code.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(lock);
        drop(state);
        // SAFETY: it ends the process, and runs nothing that belongs to the parent.
        unsafe { libc::_exit(0) }
    }
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child has exited normally");
    let directory = File::open(place.state()).expect("it is there");
    // SAFETY: it is an open file.
    let taken = || unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0;
    assert!(taken(), "it is still locked");
    drop(lock);
    assert!(!taken(), "it is free");
}
