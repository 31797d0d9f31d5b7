//! Shared by the measured Rust programs: they read commands line by line and execute them.

use std::io::{BufRead as _, Write as _};
use std::str::FromStr;
use std::time::Instant;

/// Answers each line of standard input with one line, until it ends. The first word of an answer is `ok`.
pub fn answer(mut run: impl FnMut(&[&str]) -> String) {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is readable");
        let words: Vec<_> = line.split_whitespace().collect();
        let mut out = std::io::stdout().lock();
        writeln!(out, "ok {}", run(&words)).and_then(|()| out.flush()).expect("standard output is writable");
    }
}

/// A word of a command that is a number.
pub fn number<T: FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no such number"))
}

/// The options of a node, from the environment.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Runs `body` `times` times on each of `threads` threads at once.
pub fn on_threads(threads: usize, times: usize, body: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times {
                    body();
                }
            });
        }
    });
}

/// How long each of `times` runs takes from `begin` to its end, in microseconds, as words. What `begin`
/// returns is dropped off the clock.
pub fn microseconds<T>(times: usize, mut begin: impl FnMut() -> T) -> String {
    let mut words = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        let made = begin();
        words.push(format!("{:.1}", began.elapsed().as_secs_f64() * 1e6));
        drop(made);
    }
    words.join(" ")
}
