//! What the program has given panics: natively an error like others, and everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::World;
use crate::testing::async_test;
use crate::write_behind::{Backoff, FlushPolicy, Options, Schema, WeakSet, WriteBehind};
use crate::{Clock, ErrorKind};

const TICK: Duration = Duration::from_secs(1);

/// An engine whose reader and policy panic while they are told to.
struct Panicking {
    engine: WriteBehind,
    rows: WeakSet<u8>,
    clock: Clock,
    reader: Arc<AtomicBool>,
    policy: Arc<AtomicBool>,
    policies: Arc<AtomicUsize>,
}

impl Panicking {
    async fn open() -> Panicking {
        let (reader, policy) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let policies = Arc::<AtomicUsize>::default();
        let mut schema = Schema::new();
        let own = Arc::clone(&reader);
        let rows = schema.weak("row", move |n: &u8| {
            assert!(!own.load(Ordering::Relaxed), "what the reader says of {n}");
            Ok(Some(vec![*n]))
        });
        let (own, count) = (Arc::clone(&policy), Arc::clone(&policies));
        let clock = Clock::manual(0);
        let options = Options::new().clock(clock.clone()).tick(TICK).policy_from(move || {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(!own.load(Ordering::Relaxed), "what the policy says");
            FlushPolicy { marks: 1, ..FlushPolicy::default() }
        });
        let options = options.backoff(Backoff { first: TICK, max: TICK });
        let engine = WriteBehind::open(&World::new().root(), "job", schema, options).await.expect("opens");
        Panicking { engine, rows, clock, reader, policy, policies }
    }

    /// Moves time on, tick by tick, until something is so.
    async fn tick_until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            self.clock.advance(TICK);
            self.engine.repair_dry_run().await.expect("looks");
        }
    }
}

#[async_test]
async fn a_reader_that_panics_fails_the_flush_and_every_mark_stays() {
    let panicking = Panicking::open().await;
    panicking.rows.mark(&7).expect("is marked");
    panicking.reader.store(true, Ordering::Relaxed);
    let error = panicking.engine.flush().await.expect_err("fails");
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(
        error.message().contains("row") && error.message().contains("what the reader says of 7"),
        "{error}"
    );
    assert_eq!((panicking.engine.status().dirty, panicking.engine.status().failures), (1, 1));
    assert_eq!(panicking.engine.change(|| panicking.engine.status().dirty), 1, "changes go on");
    panicking.reader.store(false, Ordering::Relaxed);
    assert_eq!(panicking.engine.flush().await.expect("flushes").upserts, 1);
}

#[async_test]
async fn a_flusher_outlives_a_reader_that_panics_and_stopping_tells_of_it() {
    let panicking = Panicking::open().await;
    panicking.reader.store(true, Ordering::Relaxed);
    panicking.rows.mark(&7).expect("is marked");
    panicking.engine.start().expect("starts");
    panicking.tick_until(|| panicking.engine.status().failures >= 2).await;
    let status = panicking.engine.status();
    assert!(status.running && status.dirty == 1);
    assert_eq!(status.error.expect("is told").kind(), ErrorKind::Backend);
    assert_eq!(panicking.engine.stop().await.expect_err("is told").kind(), ErrorKind::Backend);
    panicking.engine.start().expect("starts");
    panicking.reader.store(false, Ordering::Relaxed);
    panicking.tick_until(|| panicking.engine.status().dirty == 0).await;
    assert_eq!(panicking.engine.stop().await.expect("stops").seq, None);
}

#[async_test]
async fn a_flusher_outlives_a_policy_that_panics_and_flushes() {
    let panicking = Panicking::open().await;
    panicking.policy.store(true, Ordering::Relaxed);
    panicking.rows.mark(&7).expect("is marked");
    panicking.engine.start().expect("starts");
    panicking.tick_until(|| panicking.engine.status().dirty == 0).await;
    assert!(panicking.policies.load(Ordering::Relaxed) > 0 && panicking.engine.status().running);
}
