//! Programs that write behind, killed at random moments: threads change memory while a flusher follows.
//!
//! Each thread changes a parent, its child and a counter at once, so what is stored shows whether a change
//! was ever flushed in part, or something that was reported has gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::child::{self, Child, directory, report};
use super::{ROOT, SEED, root, rounds, seed};
use crate::testing::Random;
use crate::write_behind::{FlushPolicy, Options, Schema, StrongSet, WeakSet, WriteBehind};
use crate::{FromPayload, Persistency, ToPayload};

const JOB: &str = "behind";
const THREADS: i64 = 3;
/// Parents of each thread.
const PARENTS: i64 = 5;

#[derive(Default)]
struct Memory {
    counters: BTreeMap<i64, i64>,
    parents: BTreeMap<(i64, i64), i64>,
    children: BTreeMap<(i64, i64, i64), i64>,
}

#[derive(Clone)]
struct Program {
    memory: Arc<Mutex<Memory>>,
    engine: WriteBehind,
    counters: WeakSet<i64>,
    parents: WeakSet<(i64, i64)>,
    children: WeakSet<(i64, i64, i64)>,
    config: StrongSet<i64>,
}

impl Program {
    async fn open(p: &Persistency) -> Program {
        let memory = Arc::<Mutex<Memory>>::default();
        let mut schema = Schema::new();
        let config = schema.strong("config");
        macro_rules! weak {
            ($name:literal, $field:ident) => {{
                let own = Arc::clone(&memory);
                let set = schema.weak($name, move |key| {
                    own.lock().unwrap().$field.get(key).map(|value| value.to_payload()).transpose()
                });
                let own = Arc::clone(&memory);
                schema.load(&set, move |key, value| {
                    own.lock().unwrap().$field.insert(key, i64::from_payload(value)?);
                    Ok(())
                });
                set
            }};
        }
        let counters = weak!("counter", counters);
        let parents = weak!("parent", parents);
        let children = weak!("child", children);
        schema.requires(&children, &parents, |(thread, parent, _), _| Ok(Some((*thread, *parent))));
        schema.kept_by(&parents, &children, |(thread, parent, _), _| Ok(Some((*thread, *parent))));
        let policy = FlushPolicy { marks: 20, interval: Duration::from_millis(2), ..FlushPolicy::default() };
        let options = Options::new().policy(policy).tick(Duration::from_millis(1));
        let engine = WriteBehind::open(p, JOB, schema, options).await.unwrap();
        Program { memory, engine, counters, parents, children, config }
    }

    /// The next change of a thread.
    fn change(&self, thread: i64) {
        self.engine.change(|| {
            let mut memory = self.memory.lock().unwrap();
            let counter = memory.counters.entry(thread).or_default();
            *counter += 1;
            let number = *counter;
            let parent = (thread, number % PARENTS);
            let child = (parent.0, parent.1, 0);
            if number % 7 == 0 {
                memory.parents.remove(&parent);
                memory.children.remove(&child);
            } else {
                memory.parents.insert(parent, number);
                memory.children.insert(child, number);
            }
            drop(memory);
            self.children.mark(&child).unwrap();
            self.counters.mark(&thread).unwrap();
            self.parents.mark(&parent).unwrap();
        });
    }

    fn counters(&self) -> Vec<i64> {
        let memory = self.memory.lock().unwrap();
        (0..THREADS).map(|thread| memory.counters.get(&thread).copied().unwrap_or(0)).collect()
    }
}

#[tokio::test]
async fn what_a_flush_reported_outlives_a_process_that_is_killed_at_any_time() {
    let dir = directory();
    let root = dir.path().join("root");
    let mut reported = vec![0; THREADS as usize + 1];
    for round in 0..rounds(20) {
        let mut random = Random::new(round);
        let variables = [(ROOT, root.to_str().unwrap()), (SEED, &round.to_string())];
        let mut child = Child::start("behind", &variables);
        for _ in 0..random.below(30) {
            take(&mut reported, &child.report().expect("it only ends by being killed"));
        }
        thread::sleep(Duration::from_micros(random.below(3_000) as u64));
        let last = child.kill();
        last.iter().for_each(|report| take(&mut reported, report));
        verify(&root, &reported).await;
    }
    assert!(reported.iter().all(|number| *number > 0), "{reported:?}");
}

/// Takes in a report: `flushed`, the counters of the threads; or `strong`, a number.
fn take(reported: &mut [i64], report: &str) {
    let words: Vec<&str> = report.split(' ').collect();
    let numbers = words[1..].iter().map(|word| word.parse::<i64>().unwrap());
    let at = if words[0] == "strong" { THREADS as usize } else { 0 };
    for (known, number) in reported[at..].iter_mut().zip(numbers) {
        *known = number.max(*known);
    }
}

async fn verify(root: &Path, reported: &[i64]) {
    let p = Persistency::open(root).unwrap();
    let program = Program::open(&p).await;
    assert_eq!(program.engine.bootstrap().repair.removed(), 0, "something hung in the air");
    let counters = program.counters();
    assert!(counters.iter().zip(reported).all(|(found, known)| found >= known), "{counters:?} {reported:?}");
    {
        let memory = program.memory.lock().unwrap();
        let children =
            memory.children.iter().map(|((thread, parent, _), number)| ((*thread, *parent), *number));
        assert_eq!(memory.parents, children.collect(), "a change was flushed in part");
        for (thread, counter) in (0..).zip(&counters) {
            for number in (counter - PARENTS + 1).max(1)..=*counter {
                let found = memory.parents.get(&(thread, number % PARENTS)).copied();
                assert_eq!(found, (number % 7 != 0).then_some(number), "thread {thread} at {counter}");
            }
        }
    }
    let strong = program.config.get(&0).await.unwrap();
    let strong = strong.map_or(0, |number| i64::from_payload(&number).unwrap());
    assert!(strong >= reported[THREADS as usize], "{strong} {reported:?}");
    p.close().await.unwrap();
}

pub(super) async fn changes_until_it_is_killed() {
    child::end_with_parent();
    let p = Persistency::open(root()).unwrap();
    let program = Program::open(&p).await;
    program.engine.start().unwrap();
    for thread in 0..THREADS {
        let program = program.clone();
        let mut random = Random::new(seed() + thread as u64);
        thread::spawn(move || {
            loop {
                program.change(thread);
                if random.below(20) == 0 {
                    thread::sleep(Duration::from_micros(random.below(500) as u64));
                }
            }
        });
    }
    let strong = program.config.get(&0).await.unwrap();
    let mut strong = strong.map_or(0, |number| i64::from_payload(&number).unwrap());
    loop {
        let counters = program.counters();
        program.engine.flush().await.unwrap();
        let counters: Vec<String> = counters.iter().map(ToString::to_string).collect();
        report(format!("flushed {}", counters.join(" ")));
        strong += 1;
        program.config.put(&0, strong.to_payload().unwrap()).await.unwrap();
        report(format!("strong {strong}"));
    }
}
