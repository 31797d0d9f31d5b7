//! A running program under measurement: it is asked to do something, and its CPU time is read before and after.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cpu;

pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// A program's answer, and the CPU time it took.
pub struct Answer {
    pub words: Vec<String>,
    pub cpu: Duration,
    pub wall: Duration,
}

impl Answer {
    /// The answer as numbers.
    pub fn numbers(&self) -> io::Result<Vec<f64>> {
        let number =
            |word: &String| word.parse().map_err(|_| io::Error::other(format!("{word:?} is no number")));
        self.words.iter().map(number).collect()
    }

    /// The one word of the answer.
    pub fn word(self) -> io::Result<String> {
        self.words.into_iter().next().ok_or_else(|| io::Error::other("a program answered nothing"))
    }
}

impl Peer {
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot run {:?}: {error}", command.get_program()))
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for something and waits until it is done.
    pub fn ask(&mut self, command: &str) -> io::Result<Answer> {
        let (cpu, wall) = (cpu::of_process(self.id())?, Instant::now());
        let stdin = self.stdin.as_mut().expect("only `end` closes it");
        writeln!(stdin, "{command}")?;
        stdin.flush()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let wall = wall.elapsed();
        let Some(words) = line.strip_prefix("ok") else {
            return Err(io::Error::other(format!("asked for {command:?}, a program answered {line:?}")));
        };
        let words = words.split_whitespace().map(str::to_owned).collect();
        Ok(Answer { words, cpu: cpu::of_process(self.id())?.saturating_sub(cpu), wall })
    }

    /// The CPU seconds that one of many operations takes. The program is first asked for few of them, to warm
    /// up and to see how many take about `time`. Returns how many were done in all, too.
    pub fn per_operation(&mut self, command: &str, time: Duration) -> io::Result<(f64, u64)> {
        let (mut times, mut total) = (4_u64, 0);
        loop {
            let warm = total > 0;
            let answer = self.ask(&format!("{command} {times}"))?;
            total += times;
            if warm && answer.wall >= time {
                return Ok((answer.cpu.as_secs_f64() / times as f64, total));
            }
            let missing = time.as_secs_f64() * 1.05 / answer.wall.as_secs_f64();
            times = (times as f64 * missing.clamp(1.2, 50.0)).ceil() as u64;
        }
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("a program ended with {status}")))
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // After `end` there is no process left; after an error there may be one.
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
