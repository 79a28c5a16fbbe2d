//! Holds the caller's half to `tests/vectors/queue.json`, as its twin in the npm package is.
//!
//! Plays the worker by hand: nothing here knows an engine, and no task is carried out.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::noop_waker_ref;
use serde_json::Value;

use super::command::{Command, QueuedTask};
use super::link::{Bounds, Link};
use super::slot::{Conflicts, Slot};
use super::turn::{Answer, Task};
use super::waiters::{KeptErrors, Until, Waiter};
use crate::batch::{Batch, CheckedBatch};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::testing::test;
use crate::testing::vectors::{list, section, size, string};

/// What a caller comes to.
enum End {
    Accepted(Arc<Slot>),
    Told(String),
}

type Caller = Pin<Box<dyn Future<Output = End>>>;

/// One job's callers, and the worker that a transcript plays.
struct Play {
    link: Arc<Link>,
    /// Who waits for something, by name.
    callers: Vec<(String, Caller)>,
    /// Flushes that have been asked for and have not arrived.
    flushing: Vec<String>,
    slots: HashMap<String, Arc<Slot>>,
    queued: HashMap<String, QueuedTask>,
    /// How many writes have arrived.
    arrived: u64,
    kept: KeptErrors,
    /// Flushes under way, and their names.
    waiters: Vec<Waiter>,
    names: Vec<String>,
    accepted: Vec<String>,
    told: Vec<String>,
}

impl Play {
    fn new(bounds: &Value) -> Self {
        let bounds = Bounds { operations: size(&bounds[0]), bytes: size(&bounds[1]), deadline_ms: None };
        let link = Link::new("job".to_owned(), Clock::manual(0), bounds);
        link.publish_opened([0; 16]);
        Play {
            link,
            callers: Vec::new(),
            flushing: Vec::new(),
            slots: HashMap::new(),
            queued: HashMap::new(),
            arrived: 0,
            kept: KeptErrors::default(),
            waiters: Vec::new(),
            names: Vec::new(),
            accepted: Vec::new(),
            told: Vec::new(),
        }
    }

    fn step(&mut self, step: &Value) {
        let name = |act: &str| step.get(act).and_then(Value::as_str).map(str::to_owned);
        let failure = step.get("error").map(|message| Error::new(ErrorKind::Backend, string(message)));
        if let Some(name) = name("persist") {
            self.persist(name, (size(&step["weight"][0]), size(&step["weight"][1])));
        } else if let Some(name) = name("try") {
            match self.link.try_accept(task(&name), size(&step["weight"][0]), size(&step["weight"][1])) {
                Ok(slot) => drop(self.slots.insert(name, slot)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overloaded);
                    self.told.push(format!("{name} overloaded"));
                }
            }
        } else if let Some(name) = name("leave") {
            let at = self.callers.iter().position(|(caller, _)| *caller == name).unwrap();
            drop(self.callers.remove(at));
        } else if let Some(name) = name("ask") {
            let slot = Arc::clone(&self.slots[&name]);
            self.call(name.clone(), async move { End::Told(told(&name, slot.settled().await)) });
        } else if let Some(name) = name("settle") {
            let result = failure.map_or_else(|| Ok(step["seq"].as_u64().unwrap()), Err);
            self.settle(&name, result.map(|seq| Answer::Done { seq, existed: false }));
        } else if let Some(name) = name("flush") {
            let link = Arc::clone(&self.link);
            self.flushing.push(name.clone());
            self.call(name.clone(), async move {
                End::Told(match link.flush().await {
                    Ok(()) => format!("{name} flushed"),
                    Err(error) => format!("{name} failed: {}", error.message()),
                })
            });
        } else if let Some(name) = name("synced") {
            let at = self.names.iter().position(|waiter| *waiter == name).unwrap();
            self.names.remove(at);
            self.waiters.remove(at).answer(failure.map_or(Ok(()), Err), &mut self.kept);
        } else {
            for number in 0..size(&step["fail"]) {
                let name = format!("failing {number}");
                self.persist(name.clone(), (1, 1));
                self.settle_down();
                self.settle(&name, Err(failure.clone().unwrap()));
            }
            self.accepted.clear();
        }
        self.settle_down();
        self.told.sort();
    }

    fn persist(&mut self, name: String, (operations, bytes): (usize, usize)) {
        let (link, task) = (Arc::clone(&self.link), task(&name));
        self.call(name, async move {
            End::Accepted(link.accept(task, operations, bytes, Conflicts::Errors).await.unwrap())
        });
    }

    fn settle(&mut self, name: &str, result: Result<Answer>) {
        let QueuedTask { number, ticket, credit, .. } = self.queued.remove(name).unwrap();
        if let Some(slot) = ticket.settle(result) {
            self.kept.failed(number, slot, &mut self.waiters);
        }
        drop(credit);
    }

    fn call(&mut self, name: String, caller: impl Future<Output = End> + 'static) {
        self.callers.push((name, Box::pin(caller)));
    }

    /// Has everybody go on until nobody can.
    fn settle_down(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for (name, mut caller) in std::mem::take(&mut self.callers) {
                match caller.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
                    Poll::Pending => self.callers.push((name, caller)),
                    Poll::Ready(End::Accepted(slot)) => drop(self.slots.insert(name, slot)),
                    Poll::Ready(End::Told(words)) => self.told.push(words),
                }
                moved |= self.receive();
            }
            moved |= self.receive();
        }
    }

    /// Takes what has arrived, as the machine does; whether there was anything.
    fn receive(&mut self) -> bool {
        let mut any = false;
        while let Some(command) = self.link.inbox.receive() {
            any = true;
            match command {
                Command::Write(mut queued) => {
                    self.arrived += 1;
                    queued.number = self.arrived;
                    let name = queued.task.operations().unwrap()[0].category().to_owned();
                    self.accepted.push(format!("{name} accepted"));
                    self.queued.insert(name, queued);
                }
                Command::Flush { deadline, reply, credit } => {
                    let until = Until::Task(self.arrived);
                    self.waiters.push(Waiter::new(until, deadline, reply, &mut self.kept).holding(credit));
                    self.names.push(self.flushing.remove(0));
                }
                _ => panic!("no transcript has it"),
            }
        }
        any
    }
}

/// A task that can be told by its name.
fn task(name: &str) -> Task {
    let batch = CheckedBatch::try_from(Batch::new().clear(name)).unwrap();
    Task::Batch { batch, report_existed: false }
}

fn told(name: &str, result: Result<Answer>) -> String {
    match result {
        Ok(Answer::Done { seq, .. }) => format!("{name} committed {seq}"),
        Ok(_) => panic!("no transcript has it"),
        Err(error) => format!("{name} failed: {}", error.message()),
    }
}

#[test]
fn the_callers_half_goes_as_its_transcripts_say() {
    for transcript in section(include_str!("../../tests/vectors/queue.json"), "transcripts") {
        let mut play = Play::new(&transcript["queue"]);
        for step in list(&transcript["steps"]) {
            play.step(step);
            let then: Vec<String> = play.accepted.drain(..).chain(play.told.drain(..)).collect();
            let expected: Vec<&str> = list(&step["then"]).iter().map(string).collect();
            assert_eq!(then, expected, "{}: {step}", transcript["name"]);
            if let Some(queued) = step.get("queued") {
                let expected = (size(&queued[0]), size(&queued[1]));
                assert_eq!(play.link.queued(), expected, "{}: {step}", transcript["name"]);
            }
        }
    }
}
