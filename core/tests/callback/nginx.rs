//! The example for nginx in the README, with a real nginx in front of a node.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Setup;
use crate::access::{ask_both, local};
use crate::support::GUARD;

const README: &str = include_str!("../../../README.md");

/// An nginx with these locations, in a directory of its own.
struct Nginx {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Nginx {
    /// `None` if nginx is not installed.
    fn start(locations: &str) -> Option<Self> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            // Also if the test's output is captured.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: nginx is not installed; it is in Debian's package nginx-light"
            );
            return None;
        }
        // A port that is free may be taken a moment later.
        (0..10).find_map(|_| Self::try_start(locations)).or_else(|| panic!("nginx does not run"))
    }

    fn try_start(locations: &str) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let directory = std::env::temp_dir().join(format!("nginx-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir(&directory).expect("a new directory");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log off; {temporary}\nserver {{ listen {address};\n{locations}}} }}\n"
        );
        std::fs::write(directory.join("nginx.conf"), configuration).expect("written");
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(&directory)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .spawn()
            .expect("it starts");
        let deadline = Instant::now() + GUARD;
        while child.try_wait().expect("ours").is_none() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            if TcpStream::connect(address).is_ok() {
                return Some(Self { child, address, directory });
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(directory);
        None
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn nginx_as_in_the_readme_says_who_calls() {
    let setup = Setup::new(&[("callback_allow", "127.0.0.8"), ("trusted_proxies", "127.0.0.1")]);
    let (_, example) = README.split_once("```nginx\n").expect("the example");
    let (example, _) = example.split_once("```").expect("its end");
    let locations = example.replace("127.0.0.1:8080", &setup.address.to_string());
    assert_eq!(locations.matches(&setup.address.to_string()).count(), 2, "{locations}");
    let Some(nginx) = Nginx::start(&locations) else { return };
    for headers in ["", "x-forwarded-for: 127.0.0.8\r\n"] {
        assert_eq!(ask_both(local(9), nginx.address, headers), [403; 2], "{headers}");
    }
    assert!(setup.secret().is_none());
    assert_eq!(ask_both(local(8), nginx.address, ""), [200; 2]);
    assert!(setup.secret().is_some());
}
