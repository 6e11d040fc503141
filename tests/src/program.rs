//! A program that a test runs, what it says, and how it ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid};
use serde_json::Value;

/// How much of the end of each output is shown when a test fails.
const TAIL_LINES: usize = 40;

/// A child process. It is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Program {
    /// Starts `command`; `name` is what failures call it.
    pub fn start(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let stdout = Lines::read(child.stdout.take().context("stdout is piped")?);
        let stderr = Lines::read(child.stderr.take().context("stderr is piped")?);
        Ok(Self { name, child, stdout, stderr })
    }

    /// The first line on stdout, from where the last call stopped, of which `find` makes something.
    pub fn wait_for<T>(&self, what: &str, timeout: Duration, find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.stdout.find(timeout, find).with_context(|| self.failure(&format!("did not say {what} on stdout"), timeout))
    }

    /// The same on stderr.
    pub fn wait_for_log<T>(&self, what: &str, timeout: Duration, find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.stderr.find(timeout, find).with_context(|| self.failure(&format!("did not say {what} on stderr"), timeout))
    }

    /// The first JSON line on stdout, from where the last call stopped, that `accept` takes.
    pub fn wait_for_json(
        &self,
        what: &str,
        timeout: Duration,
        mut accept: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        self.wait_for(what, timeout, |line| serde_json::from_str(line).ok().filter(&mut accept))
    }

    /// What stdout says from where the last call stopped to its end.
    pub fn rest(&self, timeout: Duration) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let ended = self.stdout.each(timeout, |line| lines.push(line.to_owned()));
        ended.with_context(|| self.failure("did not end its output", timeout))?;
        Ok(lines)
    }

    /// Types a line.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("stdin is piped")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).with_context(|| format!("{} does not read", self.name))
    }

    /// Sends a signal, to this process only.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Looks at what the program left behind while it stands still between two instructions: as it would be if it were killed there.
    pub fn standing_still<T>(&self, look: impl FnOnce() -> Result<T>) -> Result<T> {
        self.signal(Signal::STOP)?;
        // It is told when the last thread has stopped.
        let stopped = waitid(WaitId::Pid(self.pid()?), WaitIdOptions::STOPPED);
        let looked = stopped.with_context(|| format!("cannot stop {}", self.name)).and_then(|_| look());
        self.signal(Signal::CONT)?;
        looked
    }

    /// Waits for the program's own end.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let pidfd = pidfd_open(self.pid()?, PidfdFlags::empty()).context("pidfd_open")?;
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timespec(timeout)?)).context("poll")?;
        ensure!(ended > 0, self.failure("did not end", timeout));
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for the program's own end with this exit code, and returns what it said on stderr.
    pub fn wait_exit_code(&mut self, code: i32, timeout: Duration) -> Result<String> {
        let status = self.wait_exit(timeout)?;
        self.stderr.each(timeout, |_| ())?;
        ensure!(status.code() == Some(code), self.failure(&format!("ended with {status} instead of {code}"), timeout));
        Ok(self.stderr.tail())
    }

    /// Ends the program as a power cut would: SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).with_context(|| format!("cannot kill {}", self.name))?;
        Ok(())
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what the program said, for the message of a failed test.
    pub fn tail(&self) -> String {
        format!(
            "--- {0}, end of stdout\n{1}\n--- {0}, end of stderr\n{2}\n---",
            self.name,
            self.stdout.tail(),
            self.stderr.tail()
        )
    }

    fn failure(&self, what: &str, timeout: Duration) -> String {
        format!("{} {what} (waited {timeout:?})\n{}", self.name, self.tail())
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("a process has an id")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of one output, read by a thread so that the program never waits for its reader.
struct Lines {
    received: Receiver<String>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Lines {
    fn read(output: impl Read + Send + 'static) -> Self {
        let (sender, received) = channel();
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        thread::spawn(move || forward(output, &sender, &kept));
        Self { received, tail }
    }

    /// The first thing that `find` makes of a line.
    fn find<T>(&self, timeout: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = find(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("time ran out"),
                Err(RecvTimeoutError::Disconnected) => bail!("the output ended"),
            }
        }
    }

    /// Every line to the end of the output.
    fn each(&self, timeout: Duration, mut take: impl FnMut(&str)) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => take(&line),
                Err(RecvTimeoutError::Timeout) => bail!("time ran out"),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn forward(output: impl Read, sender: &Sender<String>, tail: &Mutex<VecDeque<String>>) {
    let mut output = BufReader::new(output);
    let mut bytes = Vec::new();
    while matches!(output.read_until(b'\n', &mut bytes), Ok(1..)) {
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        bytes.clear();
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.clone());
        drop(tail);
        // Nobody waits for lines any more; the tail is still wanted.
        let _ = sender.send(line);
    }
}

fn timespec(duration: Duration) -> Result<Timespec> {
    Ok(Timespec { tv_sec: duration.as_secs().try_into()?, tv_nsec: duration.subsec_nanos().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Program {
        Program::start("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_are_found_in_order_and_the_end_is_seen() {
        let mut program = shell("echo one; echo '{\"two\":2}'; echo three >&2; exit 4");
        assert_eq!(program.wait_for_json("two", SOON, |value| value["two"] == 2).unwrap()["two"], 2);
        assert_eq!(program.wait_exit_code(4, SOON).unwrap(), "three");
        let error = program.wait_for("one", SOON, |line| (line == "one").then_some(())).unwrap_err();
        assert!(format!("{error:#}").contains("did not say one"), "{error:#}");
        assert!(format!("{error:#}").contains("{\"two\":2}"), "the tail is shown: {error:#}");
    }

    #[test]
    fn a_program_that_hangs_is_reported_and_killed() {
        let mut program = shell("echo $$; exec sleep 600");
        let pid = program.wait_for("its id", SOON, |line| line.parse::<i32>().ok()).unwrap();
        let error = program.wait_exit(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("sh did not end"), "{error}");
        assert!(program.is_running());
        drop(program);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn signals_and_typed_lines_arrive() {
        let mut program =
            shell("trap 'echo stopping; exit 0' TERM; read word; echo got $word; while :; do sleep 0.05; done");
        program.write_line("seed").unwrap();
        program.wait_for("got seed", SOON, |line| (line == "got seed").then_some(())).unwrap();
        program.signal(Signal::TERM).unwrap();
        assert_eq!(program.wait_exit(SOON).unwrap().code(), Some(0));
        assert_eq!(program.rest(SOON).unwrap(), ["stopping"]);
    }
}
