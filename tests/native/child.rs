//! Child processes of tests: this test program again, playing a role in one of its tests.
//!
//! A child enters by the one test of this module and goes on to the role that its program knows by
//! name. It reports by lines on stderr, takes lines from stdin, and ends with the process that
//! started it; it never outlives a test that fails.

use std::env;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio, exit};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Tells a test that it plays a role, and which one.
const ROLE: &str = "PERSISTENCY_TEST_ROLE";
/// What a reported line starts with; other lines are the test program's own and are passed on.
const MARK: &str = "report: ";
/// How long a child may be silent, and how long it may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child process, killed when it is dropped.
pub struct Child {
    process: Process,
    orders: Option<ChildStdin>,
    reports: Receiver<String>,
}

impl Child {
    /// Starts this program in a role, behind `wrapper` if that is not empty.
    pub fn start_within(wrapper: &[&str], role: &str, variables: &[(&str, &str)]) -> Self {
        let program = env::current_exe().unwrap();
        let mut words: Vec<_> = wrapper.iter().map(Into::into).collect();
        words.push(program);
        let mut command = Command::new(&words[0]);
        // The program's own name is not a part of its tests' names.
        let (_, module) = module_path!().split_once("::").unwrap();
        let entrance = format!("{module}::a_child_plays_its_role_reports_and_obeys");
        command.args(&words[1..]).args([&entrance, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("starting {words:?}: {error}"));
        let orders = process.stdin.take();
        let output = BufReader::new(process.stderr.take().unwrap());
        let (sender, reports) = channel();
        thread::spawn(move || {
            // A killed child may have left half a character, but only behind its last whole line.
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                match line.strip_prefix(MARK) {
                    Some(report) => drop(sender.send(report.to_owned())),
                    None => eprintln!("child: {line}"),
                }
            }
        });
        Child { process, orders, reports }
    }

    pub fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_within(&[], role, variables)
    }

    /// The next report; `None` when the child has ended.
    pub fn report(&mut self) -> Option<String> {
        match self.reports.recv_timeout(PATIENCE) {
            Ok(report) => Some(report),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the child is silent"),
        }
    }

    /// Takes reports until this one.
    pub fn until(&mut self, wanted: &str) {
        while self.report().unwrap_or_else(|| panic!("the child ended without {wanted:?}")) != wanted {}
    }

    pub fn tell(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Kills the child (SIGKILL on Unix), waits for its end, and gives what it still reported.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.report()).collect()
    }

    /// Waits for the child's own end.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let reports = std::iter::from_fn(|| self.report()).collect();
        (self.process.wait().unwrap(), reports)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails if it has ended, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A new directory, in memory where that is possible: who dies takes nothing from the medium, and
/// syncs there take no time.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// Where every child enters; in the test program itself it proves what its tests rely on.
#[test]
fn a_child_plays_its_role_reports_and_obeys() {
    match env::var(ROLE).as_deref() {
        Ok("echo") => loop {
            report(order());
        },
        Ok(role) => play(role),
        Err(_) => {
            let mut child = Child::start("echo", &[]);
            child.tell("one");
            child.tell("two");
            assert_eq!(child.report().as_deref(), Some("one"));
            child.until("two");
            assert!(child.kill().is_empty());
            let (status, reports) = Child::start("nobody's role", &[]).end();
            assert!(!status.success() && reports.is_empty(), "{status}, {reports:?}");
            let mut left = Child::start("echo", &[]);
            drop(left.orders.take());
            assert!(!left.end().0.success(), "it ends with its parent");
        }
    }
}

fn play(role: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(super::play(role));
}

/// Reports to the parent, whole and at once.
pub fn report(line: impl Display) {
    let line = format!("{MARK}{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Waits for the parent's next order; ends the process if the parent has gone.
pub fn order() -> String {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(1..) => line.trim_end().to_owned(),
        _ => exit(1),
    }
}

/// Ends this process as soon as the parent has gone; no orders can be taken any more.
pub fn end_with_parent() {
    thread::spawn(|| {
        loop {
            order();
        }
    });
}
