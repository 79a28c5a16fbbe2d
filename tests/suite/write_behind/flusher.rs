//! Facts about the flusher: when it flushes, when it waits, how it ends. Time is moved by hand.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use persistency::write_behind::{Backoff, FlushPolicy, Options, Schema, WeakSet, WriteBehind};
use persistency::{Clock, ErrorKind, Persistency};
use tokio::sync::mpsc;

use super::app::{App, stored};
use crate::common::{TestRoot, kind};

facts! {
    everywhere:
        enough_marks_are_flushed_at_the_next_tick,
        enough_bytes_are_flushed_at_the_next_tick,
        few_marks_are_flushed_when_the_interval_is_over,
        nothing_is_written_while_nothing_is_dirty,
        a_policy_that_changes_is_followed_at_the_next_tick,
        the_interval_counts_from_the_last_flush,
        a_failed_flush_is_repeated_after_a_wait_that_doubles,
        a_failed_flush_does_not_begin_a_new_interval,
        what_is_asked_for_soon_waits_for_no_tick_and_no_policy,
        a_full_engine_is_flushed_without_a_tick,
        a_full_engine_whose_flush_has_failed_waits_as_any_other,
        stopping_flushes_once_more,
        stopping_tells_the_error_of_the_last_flush_and_keeps_the_marks,
        starting_twice_starts_one_flusher,
        stopping_what_was_never_started_flushes,
        a_stopped_flusher_can_be_started_again,
        a_flusher_whose_job_is_closed_ends,
        where_it_stands_can_be_asked,
        what_a_program_has_given_may_hold_its_own_sets_and_goes_with_the_engine;
    on_disk:
        an_engine_that_is_dropped_is_flushed_once_more;
}

const TICK: Duration = Duration::from_secs(1);
const NEVER: FlushPolicy =
    FlushPolicy { marks: usize::MAX, bytes: usize::MAX, interval: Duration::from_secs(1 << 40) };

/// A program with a flusher whose time stands still.
struct Timed {
    app: App,
    clock: Clock,
    policy: Arc<Mutex<FlushPolicy>>,
    /// One message for each tick at which the policy was asked.
    ticks: mpsc::UnboundedReceiver<()>,
}

impl Timed {
    async fn open(root: &TestRoot, policy: FlushPolicy) -> Timed {
        Timed::open_with(&root.open(), policy, Options::new()).await
    }

    async fn open_with(p: &Persistency, policy: FlushPolicy, options: Options) -> Timed {
        let clock = Clock::manual(0);
        let policy = Arc::new(Mutex::new(policy));
        let (asked, ticks) = mpsc::unbounded_channel();
        let now = Arc::clone(&policy);
        let options = options.clock(clock.clone()).tick(TICK).policy_from(move || {
            // Nobody listens any more when the test is over.
            asked.send(()).ok();
            *now.lock().unwrap()
        });
        let app = App::open(p, options).await.unwrap();
        assert!(app.engine.start().unwrap());
        Timed { app, clock, policy, ticks }
    }

    /// Lets one tick pass; what it led to may still be under way.
    async fn tick(&mut self) {
        self.clock.advance(TICK);
        self.ticks.recv().await.unwrap();
    }

    /// Lets ticks pass; what all of them but the last led to is over.
    async fn tick_times(&mut self, times: usize) {
        for _ in 0..times {
            self.tick().await;
        }
    }

    /// Waits until nothing is dirty, and holds how often it was flushed until then against `times`.
    async fn flushed(&self, times: u64) {
        self.app.engine.clean().await;
        assert_eq!(self.app.engine.status().flushes, times);
    }

    async fn engine_flushes_by_itself(&mut self, times: u64) {
        self.tick().await;
        self.flushed(times).await;
    }

    /// How often a reader was asked for a node: once for each try of a flush.
    fn tries(&self) -> usize {
        self.app.shared.nodes_read.load(Ordering::Relaxed)
    }

    /// Resolves when no flush is under way.
    async fn settle(&self) {
        self.app.engine.repair_dry_run().await.unwrap();
    }
}

async fn enough_marks_are_flushed_at_the_next_tick(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { marks: 3, ..NEVER }).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    timed.tick_times(2).await;
    assert_eq!(timed.app.engine.status().flushes, 0);
    timed.app.name(3, "c");
    timed.tick().await;
    timed.flushed(1).await;
    assert_eq!(timed.app.stored().await.nodes.len(), 3);
}

async fn enough_bytes_are_flushed_at_the_next_tick(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { bytes: 1_200, ..NEVER }).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    timed.tick_times(2).await;
    assert_eq!(timed.app.engine.status().flushes, 0);
    timed.app.name(3, "c");
    timed.tick().await;
    timed.flushed(1).await;
}

async fn few_marks_are_flushed_when_the_interval_is_over(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { interval: 3 * TICK, ..NEVER }).await;
    timed.app.name(1, "a");
    timed.tick_times(2).await;
    assert_eq!(timed.app.engine.status().flushes, 0);
    timed.tick().await;
    timed.flushed(1).await;
}

async fn nothing_is_written_while_nothing_is_dirty(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { marks: 0, bytes: 0, interval: Duration::ZERO }).await;
    let seq = timed.app.job().committed_seq();
    timed.tick_times(5).await;
    assert_eq!((timed.app.engine.status().flushes, timed.app.job().committed_seq()), (0, seq));
}

async fn a_policy_that_changes_is_followed_at_the_next_tick(root: &TestRoot) {
    let mut timed = Timed::open(root, NEVER).await;
    timed.app.name(1, "a");
    timed.tick_times(3).await;
    assert_eq!(timed.app.engine.status().flushes, 0);
    timed.policy.lock().unwrap().marks = 1;
    timed.tick().await;
    timed.flushed(1).await;
    timed.policy.lock().unwrap().marks = usize::MAX;
    timed.app.name(1, "b");
    timed.tick_times(3).await;
    assert_eq!(timed.app.engine.status().flushes, 1);
    timed.policy.lock().unwrap().interval = TICK;
    timed.tick().await;
    timed.flushed(2).await;
}

async fn the_interval_counts_from_the_last_flush(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { marks: 2, interval: 3 * TICK, ..NEVER }).await;
    timed.tick_times(2).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    timed.engine_flushes_by_itself(1).await; // at 3
    timed.app.name(1, "c");
    timed.tick_times(2).await; // at 5
    assert_eq!(timed.app.engine.status().flushes, 1);
    timed.engine_flushes_by_itself(2).await; // at 6
}

async fn a_failed_flush_is_repeated_after_a_wait_that_doubles(root: &TestRoot) {
    let backoff = Backoff { first: 8 * TICK, max: 20 * TICK };
    let policy = FlushPolicy { marks: 1, ..NEVER };
    let mut timed = Timed::open_with(&root.open(), policy, Options::new().backoff(backoff)).await;
    timed.app.shared.broken.store(true, Ordering::Relaxed);
    timed.app.name(1, "a");
    timed.tick().await;
    for (nth, wait) in [8, 16, 20, 20].into_iter().enumerate() {
        // Of a wait at most a half is left out, and what is due is done at a tick. A failure is seen up to
        // one tick after it, and counted from up to one tick too late.
        timed.tick_times(wait / 2 - 2).await;
        assert_eq!(timed.tries(), nth + 1, "not before half of {wait}");
        let mut ticks = wait / 2 - 2;
        while timed.tries() == nth + 1 {
            timed.tick_times(1).await;
            ticks += 1;
        }
        assert!(ticks <= wait + 2, "{ticks} ticks, the wait is {wait}");
        timed.settle().await;
    }
    assert!(timed.app.engine.status().failures >= 5);
    assert_eq!(timed.app.dirty(), 1);
    timed.app.shared.broken.store(false, Ordering::Relaxed);
    while timed.app.engine.status().flushes == 0 {
        timed.tick_times(2).await;
    }
    assert_eq!((timed.app.engine.status().failures, timed.app.dirty()), (0, 0));
    assert_eq!(timed.app.stored().await.nodes[&1], "a");
}

async fn a_failed_flush_does_not_begin_a_new_interval(root: &TestRoot) {
    let backoff = Backoff { first: TICK, max: TICK };
    let policy = FlushPolicy { interval: 100 * TICK, ..NEVER };
    let mut timed = Timed::open_with(&root.open(), policy, Options::new().backoff(backoff)).await;
    timed.app.name(1, "a");
    timed.app.shared.broken.store(true, Ordering::Relaxed);
    timed.tick_times(100).await;
    while timed.tries() == 0 {
        timed.tick().await;
    }
    timed.app.shared.broken.store(false, Ordering::Relaxed);
    timed.tick_times(3).await;
    timed.flushed(1).await;
}

async fn what_is_asked_for_soon_waits_for_no_tick_and_no_policy(root: &TestRoot) {
    let timed = Timed::open(root, NEVER).await;
    timed.app.name(1, "a");
    timed.app.engine.flush_soon();
    timed.flushed(1).await;
    // Nor for the end of a wait after a failure.
    timed.app.name(1, "b");
    timed.app.shared.broken.store(true, Ordering::Relaxed);
    timed.app.engine.flush().await.unwrap_err();
    timed.app.shared.broken.store(false, Ordering::Relaxed);
    timed.app.engine.flush_soon();
    timed.flushed(2).await;
    assert_eq!(timed.app.stored().await.nodes[&1], "b");
}

async fn a_full_engine_is_flushed_without_a_tick(root: &TestRoot) {
    let timed = Timed::open_with(&root.open(), NEVER, Options::new().marks(2)).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    assert_eq!(kind(timed.app.sets.nodes.mark(&3)), ErrorKind::Overloaded);
    timed.flushed(1).await;
    timed.app.sets.nodes.mark(&3).unwrap();
}

async fn a_full_engine_whose_flush_has_failed_waits_as_any_other(root: &TestRoot) {
    let backoff = Backoff { first: 10 * TICK, max: 10 * TICK };
    let options = Options::new().marks(2).backoff(backoff);
    let mut timed = Timed::open_with(&root.open(), NEVER, options).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    timed.app.shared.broken.store(true, Ordering::Relaxed);
    for tried in [false, true, true, true] {
        assert_eq!(kind(timed.app.sets.nodes.mark(&3)), ErrorKind::Overloaded);
        while !tried && timed.app.engine.status().failures == 0 {
            timed.settle().await;
        }
        timed.tick().await;
        timed.settle().await;
    }
    assert_eq!(timed.app.engine.status().failures, 1);
    timed.app.shared.broken.store(false, Ordering::Relaxed);
    timed.tick_times(8).await;
    timed.flushed(1).await;
}

async fn stopping_flushes_once_more(root: &TestRoot) {
    let mut timed = Timed::open(root, NEVER).await;
    timed.app.name(1, "a");
    timed.tick().await;
    assert_eq!(timed.app.dirty(), 1);
    let last = timed.app.engine.stop().await.unwrap();
    assert_eq!((last.rows(), timed.app.dirty(), timed.app.engine.status().running), (1, 0, false));
    assert_eq!(timed.app.stored().await.nodes[&1], "a");
    assert_eq!(timed.app.engine.stop().await.unwrap().seq, None, "safe to repeat");
    timed.clock.advance(TICK);
    assert!(timed.ticks.try_recv().is_err(), "it has ended");
}

async fn stopping_tells_the_error_of_the_last_flush_and_keeps_the_marks(root: &TestRoot) {
    let timed = Timed::open(root, NEVER).await;
    timed.app.name(1, "a");
    timed.app.shared.broken.store(true, Ordering::Relaxed);
    assert_eq!(kind(timed.app.engine.stop().await), ErrorKind::InvalidArgument);
    assert_eq!((timed.app.dirty(), timed.app.engine.status().running), (1, false));
    timed.app.shared.broken.store(false, Ordering::Relaxed);
    assert_eq!(timed.app.engine.stop().await.unwrap().rows(), 1);
}

async fn starting_twice_starts_one_flusher(root: &TestRoot) {
    let mut timed = Timed::open(root, NEVER).await;
    assert!(!timed.app.engine.start().unwrap());
    assert!(!timed.app.engine.clone().start().unwrap());
    timed.tick_times(3).await;
    timed.app.engine.stop().await.unwrap();
    assert!(timed.ticks.try_recv().is_err(), "one of them asked");
}

async fn stopping_what_was_never_started_flushes(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    app.engine.flush_soon();
    assert_eq!(app.engine.stop().await.unwrap().rows(), 1);
    assert_eq!(app.stored().await.nodes.len(), 1);
}

async fn a_stopped_flusher_can_be_started_again(root: &TestRoot) {
    let mut timed = Timed::open(root, FlushPolicy { marks: 1, ..NEVER }).await;
    for round in 1..4 {
        timed.app.name(1, &format!("{round}"));
        timed.engine_flushes_by_itself(round).await;
        timed.app.engine.stop().await.unwrap();
        assert!(timed.app.engine.start().unwrap());
        assert!(timed.app.engine.status().running);
    }
}

async fn a_flusher_whose_job_is_closed_ends(root: &TestRoot) {
    let p = root.open();
    let mut timed = Timed::open_with(&p, FlushPolicy { marks: 1, ..NEVER }, Options::new()).await;
    p.close().await.unwrap();
    timed.app.name(1, "a");
    timed.tick().await;
    assert_eq!(kind(timed.app.engine.stop().await), ErrorKind::Closed);
    assert_eq!((timed.app.dirty(), timed.app.engine.status().running), (1, false));
}

async fn where_it_stands_can_be_asked(root: &TestRoot) {
    let timed = Timed::open(root, NEVER).await;
    timed.app.name(1, "a");
    timed.app.name(2, "b");
    let status = timed.app.engine.status();
    assert_eq!((status.dirty, status.dirty_bytes, status.running), (2, 2 * (4 + 8 + 512), true));
    timed.app.engine.stop().await.unwrap();
    let status = timed.app.engine.status();
    assert_eq!((status.dirty, status.flushes, status.rows, status.running), (0, 1, 2, false));
    assert!(format!("{:?}", timed.app.engine).contains("alpha"));
}

async fn an_engine_that_is_dropped_is_flushed_once_more(root: &TestRoot) {
    let p = root.open();
    let app = App::open(&p, Options::new().policy(NEVER)).await.unwrap();
    app.engine.start().unwrap();
    app.name(1, "a");
    let job = app.job().clone();
    let seq = job.committed_seq();
    drop(app);
    job.watch_committed_seq().at_least(seq + 1).await.unwrap();
    assert_eq!(stored(&job).await.nodes[&1], "a");
}

/// Reader, loader, relation and policy hold the sets that they are declared for.
async fn what_a_program_has_given_may_hold_its_own_sets_and_goes_with_the_engine(root: &TestRoot) {
    let p = root.open();
    let given = Arc::new(());
    let own: Arc<std::sync::OnceLock<WeakSet<u8>>> = Arc::default();
    let mut schema = Schema::new();
    let (held, sets) = (Arc::clone(&given), Arc::clone(&own));
    let rows = schema.weak("row", move |n: &u8| {
        let _held = &held;
        Ok((sets.get().unwrap().dirty() > 0).then(|| vec![*n]))
    });
    own.set(rows.clone()).unwrap();
    let (held, set) = (Arc::clone(&given), rows.clone());
    schema.load(&rows, move |n, _| {
        let _held = &held;
        set.mark(&n)
    });
    let (held, set) = (Arc::clone(&given), rows.clone());
    schema.requires(&rows, &rows, move |n, _| {
        let _held = &held;
        Ok((set.dirty() > 1_000).then_some(*n))
    });
    let (held, set) = (Arc::clone(&given), rows.clone());
    let options = Options::new().tick(TICK).policy_from(move || {
        let _held = &held;
        FlushPolicy { marks: set.dirty(), ..NEVER }
    });
    let engine = WriteBehind::open(&p, "alpha", schema, options).await.unwrap();
    drop(own);
    engine.start().unwrap();
    rows.mark(&7).unwrap();
    assert_eq!(engine.stop().await.unwrap().upserts, 1);
    assert!(Arc::strong_count(&given) > 1);
    drop(engine);
    assert_eq!(Arc::strong_count(&given), 1, "nothing leads back to the engine");
    rows.strong().remove(&7).await.unwrap();
    p.close().await.unwrap();
}
