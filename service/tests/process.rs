//! What only a process of its own can show: signals, and systemd's socket.
//!
//! Each test starts this very test program again, as the process to look at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use service::{Health, Program};

/// Set for the process to look at: what it does.
const ROLE: &str = "MAGPIE_TEST_ROLE";

/// Not a test of its own: the process to look at.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let health = Health::new();
        let sampler = health.component_with_heartbeat("sampler", Duration::from_millis(500));
        let mut program = Program::new();
        match role.as_str() {
            "stubborn" => program.spawn("bus", |_| async {
                println!("\nat work");
                std::future::pending::<Result<(), Infallible>>().await
            }),
            // On one thread, a task first runs when the program waits, and then it listens for signals already.
            _ => program.spawn("sampler", |stop| async move {
                println!("\nat work");
                stop.cancelled().await;
                drop(sampler);
                Ok::<_, Infallible>(())
            }),
        }
        let watched = health.clone();
        program.spawn("systemd", |stop| service::systemd::run(watched, stop));
        program.on_stop(move || {
            health.stopping();
            service::systemd::stopping();
            println!("\nstopping");
        });
        program.run_until_signal().await
    });
    println!("\nended {}", ended.map_or_else(|ended| ended.to_string(), |()| "well".to_owned()));
}

struct Role {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Role {
    fn start(role: &str, environment: &[(&str, &str)]) -> Self {
        // Whoever runs the tests may ignore signals, and what is ignored is inherited.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(std::env::current_exe().unwrap());
        Self::start_by(command, role, environment)
    }

    fn start_by(mut command: Command, role: &str, environment: &[(&str, &str)]) -> Self {
        command.args(["--exact", "role", "--nocapture"]).env(ROLE, role).stdout(Stdio::piped());
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        let mut child = command.envs(environment.iter().copied()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut role = Self { child, lines };
        role.wait_for("at work");
        role
    }

    fn wait_for(&mut self, start: &str) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(start)).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

#[test]
fn each_signal_stops_in_order() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut role = Role::start("orderly", &[]);
        role.signal(signal);
        assert_eq!(role.wait_for("stopping"), "stopping");
        assert_eq!(role.wait_for("ended"), "ended well");
        assert!(role.end().success());
    }
}

#[test]
fn under_nohup_the_program_outlives_its_terminal() {
    let mut nohup = Command::new("nohup");
    nohup.arg(std::env::current_exe().unwrap());
    let mut role = Role::start_by(nohup, "stubborn", &[]);
    role.signal("HUP");
    role.signal("TERM");
    role.wait_for("stopping");
    role.signal("INT");
    // Had the hangup counted, SIGTERM would have been the second signal, and the end.
    assert_eq!(role.end().code(), Some(130));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let started = Instant::now();
    let mut role = Role::start("stubborn", &[]);
    role.signal("INT");
    role.wait_for("stopping");
    role.signal("TERM");
    let status = role.end();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
    assert!(started.elapsed() < service::STOP_DEADLINE);
}

#[test]
fn one_request_that_comes_twice_is_one_request() {
    let mut role = Role::start("stubborn", &[]);
    let pid = role.child.id().to_string();
    // timeout(1) signals its child, and then its process group.
    let twice = Command::new("sh").args(["-c", "kill -s TERM $0; kill -s TERM $0", &pid]).status().unwrap();
    assert!(twice.success());
    role.wait_for("stopping");
    role.signal("INT");
    assert_eq!(role.end().code(), Some(130), "the second SIGTERM ended it");
}

#[test]
fn systemd_is_told_of_start_status_life_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let receive = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut role = Role::start("orderly", &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    assert_eq!(receive(), "READY=1\n");
    assert_eq!(receive(), "STATUS=not ready; sampler: not ready: starting\n");
    assert_eq!(receive(), "WATCHDOG=1\n");
    // The sampler never beats: once it has been silent for too long, the watchdog is not fed any more.
    let hangs = loop {
        let message = receive();
        if message != "WATCHDOG=1\n" {
            break message;
        }
    };
    assert!(hangs.starts_with("STATUS=not ready; sampler: hangs (no sign of life for "), "{hangs}");
    let silent_until = Instant::now() + Duration::from_millis(600);
    socket.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let mut buffer = [0; 1024];
    while Instant::now() < silent_until {
        if let Ok(length) = socket.recv(&mut buffer) {
            assert!(buffer[..length].starts_with(b"STATUS="), "fed");
        }
    }
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    role.signal("TERM");
    let told = std::iter::repeat_with(receive).find(|message| !message.starts_with("STATUS=")).unwrap();
    assert_eq!(told, "STOPPING=1\nSTATUS=stopping\n");
    role.wait_for("ended");
    assert!(role.end().success());
}
