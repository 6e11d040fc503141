//! The tasks of a program: started with a name, owned, and stopped in order.
//!
//! The first task that ends without being asked stops the program, whose result then names it. Tasks are stopped one by one, the
//! last started first, so that what others rest on (the store) outlives them; that is done under a deadline, and no task may use up
//! more than half of what is left of it, so that one that hangs does not keep the store from its final sync.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::signals::StopSignals;

/// How long an orderly stop may take. Kubernetes and systemd must be told to wait longer than this.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

type Problem = Box<dyn Error + Send + Sync>;
/// Which task ended, and how; a panic knows only the id.
type End = Result<(tokio::task::Id, (usize, Result<(), Problem>)), JoinError>;

/// A program: a set of tasks that live and die together.
pub struct Program {
    tasks: Vec<Task>,
    running: JoinSet<(usize, Result<(), Problem>)>,
    on_stop: Vec<Box<dyn FnOnce() + Send>>,
    deadline: Duration,
}

struct Task {
    name: String,
    stop: CancellationToken,
    id: tokio::task::Id,
    abort: tokio::task::AbortHandle,
    ended: bool,
}

/// How a program ended, when not well.
#[derive(Debug)]
pub struct Ended {
    /// Each task that went wrong, the first first.
    pub failures: Vec<Failure>,
    /// Tasks that did not stop in time.
    pub not_stopped: Vec<String>,
    /// Signals could not be listened for.
    pub no_signals: Option<std::io::Error>,
}

/// How one task ended, when not well.
#[derive(Debug)]
pub struct Failure {
    /// The task.
    pub task: String,
    /// What happened.
    pub cause: FailureCause,
}

/// What happened to a task.
#[derive(Debug)]
pub enum FailureCause {
    /// It returned an error.
    Error(Problem),
    /// It returned although nobody had asked it to.
    Ended,
    /// It panicked; the text is the panic's.
    Panicked(String),
}

impl Default for Program {
    fn default() -> Self {
        Self::new()
    }
}

impl Program {
    /// A program with no tasks yet.
    pub fn new() -> Self {
        Self { tasks: Vec::new(), running: JoinSet::new(), on_stop: Vec::new(), deadline: STOP_DEADLINE }
    }

    /// Another deadline than [`STOP_DEADLINE`].
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts a task. It gets the token that asks it to stop; if it returns before that, the program stops.
    ///
    /// Must be called within a tokio runtime.
    pub fn spawn<F, T, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> T,
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Problem> + 'static,
    {
        let stop = CancellationToken::new();
        let future = task(stop.clone());
        let index = self.tasks.len();
        let abort = self.running.spawn(async move { (index, future.await.map_err(Into::into)) });
        self.tasks.push(Task { name: name.into(), stop, id: abort.id(), abort, ended: false });
    }

    /// Called first thing when the program begins to stop, e.g. `move || health.stopping()`. Must not block.
    pub fn on_stop(&mut self, action: impl FnOnce() + Send + 'static) {
        self.on_stop.push(Box::new(action));
    }

    /// Runs until SIGTERM, SIGINT or SIGHUP, or until a task ends; then stops every task. A second signal ends the process at once, unless it is
    /// the same within a second.
    pub async fn run_until_signal(self) -> Result<(), Ended> {
        let signals = match StopSignals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                // Without signals there would be no way to stop in order: rather not run.
                let outcome = self.run_until(std::future::ready(())).await;
                let mut ended = outcome.err().unwrap_or_else(Ended::well);
                ended.no_signals = Some(error);
                return Err(ended);
            }
        };
        let (first, asked) = tokio::sync::oneshot::channel();
        let listener = tokio::spawn(signals.obey(first));
        let outcome = self
            .run_until(async {
                if asked.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
            .await;
        listener.abort();
        outcome
    }

    /// Runs until `stop` completes, or until a task ends; then stops every task.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), Ended> {
        let mut ended = Ended::well();
        tokio::select! {
            () = stop => {}
            Some(end) = self.running.join_next_with_id(), if !self.tasks.is_empty() => {
                ended.failures.extend(self.note(end, false));
            }
        }
        for action in self.on_stop.drain(..) {
            action();
        }
        self.stop(&mut ended).await;
        if ended.is_well() { Ok(()) } else { Err(ended) }
    }

    async fn stop(&mut self, ended: &mut Ended) {
        let deadline = Instant::now() + self.deadline;
        for index in (0..self.tasks.len()).rev() {
            self.tasks[index].stop.cancel();
            let share = deadline.saturating_duration_since(Instant::now()) / if index == 0 { 1 } else { 2 };
            let turn_ends = Instant::now() + share;
            while !self.tasks[index].ended {
                match tokio::time::timeout_at(turn_ends, self.running.join_next_with_id()).await {
                    Ok(Some(end)) => ended.failures.extend(self.note(end, true)),
                    Ok(None) | Err(_) => break,
                }
            }
            if !self.tasks[index].ended {
                tracing::error!(task = self.tasks[index].name, "did not stop in time");
            }
        }
        // Those that were late may have come to their end while others were waited for.
        while let Some(end) = self.running.try_join_next_with_id() {
            ended.failures.extend(self.note(end, true));
        }
        for task in self.tasks.iter().filter(|task| !task.ended) {
            task.abort.abort();
            ended.not_stopped.push(task.name.clone());
        }
    }

    /// Takes down that a task ended, and returns what was wrong with that.
    fn note(&mut self, end: End, stopping: bool) -> Option<Failure> {
        let (index, outcome) = match end {
            Ok((_, (index, outcome))) => (Some(index), outcome.map_err(FailureCause::Error)),
            Err(error) => {
                let id = error.id();
                (self.tasks.iter().position(|task| task.id == id), Err(FailureCause::Panicked(panic_text(error))))
            }
        };
        let task = self.tasks.get_mut(index?)?;
        task.ended = true;
        let asked = stopping && task.stop.is_cancelled();
        let cause = match outcome {
            Ok(()) if asked => return None,
            Ok(()) => FailureCause::Ended,
            Err(cause) => cause,
        };
        let failure = Failure { task: task.name.clone(), cause };
        tracing::error!("{failure}");
        Some(failure)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tasks.iter().map(|task| &task.name)).finish()
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "no reason given".to_owned(),
        },
        Err(_) => "cancelled from outside".to_owned(),
    }
}

// === impl Ended ===

impl Ended {
    fn well() -> Self {
        Self { failures: Vec::new(), not_stopped: Vec::new(), no_signals: None }
    }

    fn is_well(&self) -> bool {
        self.failures.is_empty() && self.not_stopped.is_empty() && self.no_signals.is_none()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut problems: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        if let Some(error) = &self.no_signals {
            problems.push(format!("cannot listen for SIGTERM and SIGINT: {error}"));
        }
        if !self.not_stopped.is_empty() {
            problems.push(format!("did not stop in time: {}", self.not_stopped.join(", ")));
        }
        f.write_str(&problems.join("; "))
    }
}

impl Error for Ended {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, cause } = self;
        match cause {
            FailureCause::Error(error) => {
                write!(f, "{task}: {error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            FailureCause::Ended => write!(f, "{task}: ended although nobody asked it to"),
            FailureCause::Panicked(text) => write!(f, "{task}: panicked, which is a bug: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, ready};
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    /// A task that runs until it is asked to stop, and takes its end down.
    fn orderly(program: &mut Program, name: &'static str, log: &Log) {
        let log = log.clone();
        program.spawn(name, move |stop| async move {
            stop.cancelled().await;
            log.lock().unwrap().push(name.to_owned());
            Ok::<_, Infallible>(())
        });
    }

    #[tokio::test]
    async fn tasks_stop_in_reverse_order_after_the_stop_was_announced() {
        let log = Log::default();
        let mut program = Program::new();
        for name in ["store", "mesh", "sampler"] {
            orderly(&mut program, name, &log);
        }
        let announced = log.clone();
        program.on_stop(move || announced.lock().unwrap().push("unready".to_owned()));
        program.run_until(ready(())).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["unready", "sampler", "mesh", "store"]);
    }

    #[tokio::test]
    async fn the_first_task_that_ends_stops_the_program_and_is_named() {
        let log = Log::default();
        let mut program = Program::new();
        orderly(&mut program, "store", &log);
        program.spawn("mesh", |_| async { Err(std::io::Error::other("port 4710 is taken")) });
        let ended = program.run_until(pending()).await.unwrap_err();
        assert_eq!(ended.to_string(), "mesh: port 4710 is taken");
        assert_eq!(*log.lock().unwrap(), ["store"]);

        let mut program = Program::new();
        orderly(&mut program, "store", &log);
        program.spawn("sampler", |_| async { Ok::<_, Infallible>(()) });
        let ended = program.run_until(pending()).await.unwrap_err();
        assert_eq!(ended.to_string(), "sampler: ended although nobody asked it to");

        let mut program = Program::new();
        program.spawn("sampler", |_| async {
            assert_eq!(1, "12".len(), "two buses");
            Ok::<_, Infallible>(())
        });
        let ended = program.run_until(pending()).await.unwrap_err();
        assert!(ended.to_string().starts_with("sampler: panicked, which is a bug: "), "{ended}");
        assert!(ended.to_string().contains("two buses"), "{ended}");
    }

    #[tokio::test]
    async fn an_error_while_stopping_is_reported() {
        let mut program = Program::new();
        program.spawn("store", |stop| async move {
            stop.cancelled().await;
            Err("the last sync failed")
        });
        let ended = program.run_until(ready(())).await.unwrap_err();
        assert_eq!(ended.to_string(), "store: the last sync failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_leaves_time_for_the_others() {
        let log = Log::default();
        let mut program = Program::new();
        orderly(&mut program, "store", &log);
        program.spawn("bus", |_| pending::<Result<(), Infallible>>());
        program.spawn("http", |_| pending::<Result<(), Infallible>>());
        orderly(&mut program, "sampler", &log);
        let started = Instant::now();
        let ended = program.run_until(ready(())).await.unwrap_err();
        assert!(started.elapsed() <= STOP_DEADLINE);
        assert_eq!(ended.not_stopped, ["bus", "http"]);
        assert_eq!(ended.to_string(), "did not stop in time: bus, http");
        assert_eq!(*log.lock().unwrap(), ["sampler", "store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stops_late_is_not_counted_among_those_that_did_not() {
        let mut program = Program::new().stop_deadline(Duration::from_secs(4));
        let late = |wait: u64| {
            move |stop: CancellationToken| async move {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_secs(wait)).await;
                Ok::<_, Infallible>(())
            }
        };
        program.spawn("store", late(1));
        program.spawn("mesh", late(3));
        let ended = program.run_until(ready(())).await;
        // Half of the time was the mesh's; it came to its end in the store's.
        assert!(ended.is_ok(), "{ended:?}");
    }

    #[tokio::test]
    async fn several_programs_run_in_one_process() {
        let log = Log::default();
        let stop = CancellationToken::new();
        let programs: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let mut program = Program::new();
                orderly(&mut program, name, &log);
                tokio::spawn(program.run_until(stop.clone().cancelled_owned()))
            })
            .collect();
        stop.cancel();
        for program in programs {
            program.await.unwrap().unwrap();
        }
        assert_eq!(log.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_program_without_tasks_waits_to_be_stopped() {
        Program::new().run_until(ready(())).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(10), Program::new().run_until(pending())).await;
        assert!(waiting.is_err());
    }
}
