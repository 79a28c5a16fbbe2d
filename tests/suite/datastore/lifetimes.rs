//! Facts about how long collections, records, tombstones and pools live, on a clock that is moved by hand.

use std::time::Duration;

use futures_util::FutureExt;
use persistency::datastore::{
    Bounds, Bytes, Change, Collection, CollectionOptions, Datastore, Json, PoolOptions, Purged, Since,
    TTL_DEFAULT, Update, fresh_id,
};
use persistency::{Clock, ErrorKind, JobOptions, Key};

use super::model::before_long;
use crate::common::{TestRoot, k, kind};

facts! {
    everywhere:
        a_temporary_collection_expires_strictly_after_its_time,
        a_permanent_collection_ignores_a_ttl,
        a_ttl_counts_from_creation_unless_it_slides,
        an_expired_collection_is_never_handed_out,
        an_expired_collection_is_made_anew_with_another_generation,
        an_expired_record_is_never_handed_out,
        expired_records_fill_no_bound,
        a_purge_buries_expired_records_and_tells_it,
        a_purge_forgets_old_tombstones,
        a_purge_works_in_pages,
        a_purge_counts_what_it_removes_and_leaves_no_row,
        a_purge_ends_though_what_it_looks_after_expires_meanwhile,
        what_cannot_be_read_keeps_nothing_else_from_being_purged,
        a_clock_that_goes_back_breaks_no_order,
        a_janitor_purges_at_its_interval_and_stops,
        a_janitor_keeps_nothing_open,
        other_options_are_refused,
        fresh_ids_are_24_hexadecimal_characters,
        the_number_of_collections_and_pools_is_bounded,
        a_removed_collection_is_closed;
    on_disk:
        a_clock_that_goes_back_brings_nothing_back,
        lifetimes_outlive_reopening;
}

const NOW: u64 = 1_700_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

async fn store(root: &TestRoot, clock: &Clock) -> Datastore {
    Datastore::new(root.open_with_clock(clock.clone()).open_job("alpha").await.unwrap())
}

async fn open(store: &Datastore, options: CollectionOptions) -> Collection<Bytes> {
    store.collection("list", options).await.unwrap()
}

fn purged(collections: u64, pools: u64, records: u64, tombstones: u64) -> (u64, u64, u64, u64) {
    (collections, pools, records, tombstones)
}

async fn purge(store: &Datastore) -> (u64, u64, u64, u64) {
    let Purged { collections, pools, records, tombstones, .. } = store.purge_expired().await.unwrap();
    (collections, pools, records, tombstones)
}

async fn a_temporary_collection_expires_strictly_after_its_time(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::temporary()).await;
    list.set(k("a"), "").await.unwrap();
    assert_eq!(list.info().await.unwrap().expires_ms, Some(NOW + TTL_DEFAULT.as_millis() as u64));
    clock.advance(TTL_DEFAULT);
    assert!(list.get("a").await.unwrap().is_some());
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
    clock.advance(Duration::from_millis(1));
    assert_eq!(kind(list.get("a").await), ErrorKind::Closed);
    assert_eq!(purge(&store).await, purged(1, 0, 0, 0));
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
}

async fn a_permanent_collection_ignores_a_ttl(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::permanent().ttl(MINUTE).sliding()).await;
    assert_eq!(list.info().await.unwrap().expires_ms, None);
    clock.advance(MINUTE * 1_000_000);
    list.set(k("a"), "").await.unwrap();
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
    // Zero means the default, as no TTL does.
    let zero = CollectionOptions::temporary().ttl(Duration::ZERO);
    let other: Collection<Bytes> = store.collection("other", zero).await.unwrap();
    let now = other.info().await.unwrap().created_ms;
    assert_eq!(other.info().await.unwrap().expires_ms, Some(now + TTL_DEFAULT.as_millis() as u64));
}

async fn a_ttl_counts_from_creation_unless_it_slides(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let fixed = open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    let options = CollectionOptions::temporary().ttl(MINUTE).sliding();
    let sliding: Collection<Bytes> = store.collection("sliding", options).await.unwrap();
    for _ in 0..3 {
        clock.advance(MINUTE / 2);
        sliding.set(k("a"), "").await.unwrap();
        assert!(purge(&store).await.0 <= 1);
    }
    assert_eq!(kind(fixed.set(k("a"), "").await), ErrorKind::Closed);
    clock.advance(MINUTE);
    sliding.touch().await.unwrap();
    clock.advance(MINUTE);
    assert!(sliding.get("a").await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert_eq!(kind(sliding.touch().await), ErrorKind::Closed);
    assert_eq!(purge(&store).await, purged(1, 0, 0, 0));
}

async fn an_expired_collection_is_never_handed_out(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    list.set(k("a"), "").await.unwrap();
    let mut subscription = list.subscribe("ada").await.unwrap();
    subscription.next().await.unwrap().unwrap();
    clock.advance(MINUTE + Duration::from_millis(1));
    assert!(store.find_collection::<Bytes>("list").await.unwrap().is_none());
    assert!(store.collections().await.unwrap().is_empty());
    assert_eq!(kind(list.get("a").await), ErrorKind::Closed);
    assert_eq!(kind(list.get("b").await), ErrorKind::Closed);
    assert_eq!(kind(list.set(k("a"), "").await), ErrorKind::Closed);
    assert_eq!(kind(list.delete("a").await), ErrorKind::Closed);
    assert_eq!(kind(list.snapshot().await), ErrorKind::Closed);
    assert_eq!(kind(list.changes_since(0).await), ErrorKind::Closed);
    assert_eq!(kind(list.pages_since(0).next().await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(list.info().await), ErrorKind::Closed);
    assert_eq!(kind(list.subscribe("bob").await), ErrorKind::Closed);
    assert_eq!(kind(subscription.next().await.unwrap()), ErrorKind::Closed);
    assert!(subscription.next().await.is_none());
    assert!(!store.remove_collection("list").await.unwrap());
}

async fn an_expired_collection_is_made_anew_with_another_generation(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let old = open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    old.set(k("a"), "").await.unwrap();
    clock.advance(MINUTE * 2);
    let new = open(&store, CollectionOptions::permanent()).await;
    assert_ne!(old.generation(), new.generation());
    assert!(new.get("a").await.unwrap().is_none());
    assert_eq!(new.set(k("b"), "").await.unwrap().seq, 1);
    // Who holds the old one touches nothing of the new one.
    assert_eq!(kind(old.set(k("a"), "").await), ErrorKind::Closed);
    assert_eq!(kind(old.get("b").await), ErrorKind::Closed);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
}

async fn an_expired_record_is_never_handed_out(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::permanent().record_ttl(MINUTE)).await;
    list.set(k("a"), "").await.unwrap();
    clock.advance(MINUTE / 2);
    list.set(k("b"), "").await.unwrap();
    clock.advance(MINUTE / 2);
    assert!(list.get("a").await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert!(list.get("a").await.unwrap().is_none());
    assert!(list.get("b").await.unwrap().is_some());
    let snapshot = list.snapshot().await.unwrap();
    assert_eq!((snapshot.records.len(), snapshot.seq), (1, 2));
    let Since::Changes(changes) = list.changes_since(0).await.unwrap() else { panic!("no gap") };
    assert_eq!(changes.changes.len(), 1);
    // It counts as not there, and can be set again.
    assert_eq!(list.delete("a").await.unwrap(), None);
    assert_eq!(list.set_if(k("a"), "", persistency::datastore::When::Absent).await.unwrap().seq, 3);
    assert_eq!(list.info().await.unwrap().records, 2);
}

async fn expired_records_fill_no_bound(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let options = CollectionOptions::permanent().record_ttl(MINUTE).max_records(600).max_bytes(6_000);
    let list = open(&store, options).await;
    let fill = (0..600u32).map(|number| (Key::from(number.to_be_bytes()), vec![0; 6]));
    list.set_many(fill).await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(kind(list.set(k("a"), "").await), ErrorKind::TooLarge, "none has expired yet");
    let mut subscription = list.subscribe_since("ada", 600).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let seq = list.set(k("a"), "1").await.unwrap().seq;
    let info = list.info().await.unwrap();
    assert!(info.records < 600, "{info:?}");
    assert_eq!((seq, list.snapshot().await.unwrap().records.len()), (info.seq, 1));
    let Some(Ok(Update::Changes(told))) = subscription.next().await else { panic!("it is told") };
    assert_eq!(told.seq, seq);
    assert_eq!(told.changes.iter().filter(|change| matches!(change, Change::Set(_))).count(), 1);
    // As much as there may be, at one time.
    let many = (1_000..1_599u32).map(|number| (Key::from(number.to_be_bytes()), vec![0; 5]));
    list.set_many(many).await.unwrap();
    assert_eq!(list.snapshot().await.unwrap().records.len(), 600);
    assert_eq!(kind(list.set(k("b"), "").await), ErrorKind::TooLarge);
    // And one that needs the room of all others.
    clock.advance(MINUTE + Duration::from_millis(1));
    list.set(k("c"), vec![0; 5_999]).await.unwrap();
    assert_eq!(list.snapshot().await.unwrap().records.len(), 1);
    assert_eq!(list.info().await.unwrap().bytes, 6_000);
}

async fn a_purge_buries_expired_records_and_tells_it(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::permanent().record_ttl(MINUTE)).await;
    let mut subscription = list.subscribe("ada").await.unwrap();
    subscription.next().await.unwrap().unwrap();
    for key in ["a", "b", "c"] {
        list.set(k(key), "").await.unwrap();
        clock.advance(MINUTE / 4);
    }
    list.set(k("b"), "again").await.unwrap();
    clock.advance(MINUTE * 3 / 4 + Duration::from_millis(1));
    assert_eq!(purge(&store).await, purged(0, 0, 2, 0), "a and c");
    let Since::Changes(told) = list.changes_since(4).await.unwrap() else { panic!("no gap") };
    let deleted: Vec<_> = told.changes.iter().map(|change| change.key().as_bytes().to_vec()).collect();
    assert_eq!((deleted, told.seq), (vec![b"a".to_vec(), b"c".to_vec()], 6));
    assert!(told.changes.iter().all(|change| matches!(change, Change::Deleted { .. })));
    let Some(Ok(persistency::datastore::Update::Changes(seen))) = subscription.next().await else {
        panic!("changes")
    };
    assert_eq!(seen.seq, 6);
    clock.advance(MINUTE);
    assert_eq!(purge(&store).await, purged(0, 0, 1, 0));
    assert_eq!(list.info().await.unwrap().records, 0);
}

async fn a_purge_forgets_old_tombstones(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, CollectionOptions::permanent().keep_tombstones(MINUTE)).await;
    for key in ["a", "b", "c"] {
        list.set(k(key), "").await.unwrap();
    }
    list.delete("a").await.unwrap();
    clock.advance(MINUTE / 2);
    list.delete("b").await.unwrap();
    clock.advance(MINUTE / 2);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
    assert!(matches!(list.changes_since(3).await.unwrap(), Since::Changes(_)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(purge(&store).await, purged(0, 0, 0, 1));
    assert!(matches!(list.changes_since(3).await.unwrap(), Since::Lagged { oldest: 4 }));
    assert!(matches!(list.changes_since(4).await.unwrap(), Since::Changes(_)));
    clock.advance(MINUTE);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 1));
    let info = list.info().await.unwrap();
    assert_eq!((info.tombstones, info.floor, info.seq, info.records), (0, 5, 5, 1));
    list.set(k("a"), "").await.unwrap();
    list.delete("c").await.unwrap();
    clock.advance(MINUTE * 2);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 1));
}

async fn a_purge_works_in_pages(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let options = CollectionOptions::permanent().record_ttl(MINUTE).keep_tombstones(MINUTE);
    let list = open(&store, options).await;
    for begin in [0, 400] {
        let records = (begin..begin + 400u32).map(|number| (k(number.to_be_bytes()), vec![1]));
        list.set_many(records).await.unwrap();
        clock.advance(MINUTE / 2);
    }
    clock.advance(Duration::from_millis(1));
    assert_eq!(purge(&store).await, purged(0, 0, 400, 0));
    clock.advance(MINUTE / 2);
    assert_eq!(purge(&store).await, purged(0, 0, 400, 0));
    clock.advance(MINUTE * 2);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 800));
    let info = list.info().await.unwrap();
    assert_eq!((info.records, info.bytes, info.tombstones, info.seq), (0, 0, 0, 1600));
    let temporary = CollectionOptions::temporary().ttl(MINUTE);
    for number in 0..300 {
        store.collection::<Bytes>(&format!("temporary {number}"), temporary.clone()).await.unwrap();
    }
    clock.advance(MINUTE * 2);
    assert_eq!(purge(&store).await, purged(300, 0, 0, 0));
}

async fn a_purge_counts_what_it_removes_and_leaves_no_row(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let options = CollectionOptions::temporary().record_ttl(MINUTE).ttl(MINUTE * 2);
    let list = open(&store, options).await;
    list.set(k("a"), "").await.unwrap();
    list.set(k("b"), "").await.unwrap();
    list.delete("b").await.unwrap();
    let pool = store.pool::<Bytes>("pool", PoolOptions::temporary().ttl(MINUTE * 2).sliding()).await.unwrap();
    let member = pool.join("ada").await.unwrap();
    member.merge(&[vec![1]]).await.unwrap();
    clock.advance(MINUTE + Duration::from_millis(1));
    assert_eq!(purge(&store).await, purged(0, 0, 1, 0));
    member.merge(&[vec![2]]).await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(purge(&store).await, purged(1, 0, 0, 0), "the pool has slid on");
    clock.advance(MINUTE);
    assert_eq!(purge(&store).await, purged(0, 0, 0, 0));
    clock.advance(MINUTE);
    assert_eq!(purge(&store).await, purged(0, 1, 0, 0));
    assert_eq!(kind(member.merge(&[vec![2]]).await), ErrorKind::Closed);
    for (category, left) in [("datastore", 0), ("datastore.names", 1), ("datastore.due", 0)] {
        assert_eq!(store.job().count(category, ..).await.unwrap(), left, "{category}");
    }
}

async fn a_clock_that_goes_back_breaks_no_order(root: &TestRoot) {
    let ahead = Clock::manual(NOW + 10_000);
    let options = || CollectionOptions::permanent().record_ttl(MINUTE);
    {
        let p = root.open_with_clock(ahead);
        let store = Datastore::new(p.open_job("alpha").await.unwrap());
        let list = open(&store, options()).await;
        assert_eq!(list.set(k("a"), "").await.unwrap().updated_ms, NOW + 10_000);
        if !root.persists() {
            return;
        }
        p.close().await.unwrap();
    }
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let list = open(&store, options()).await;
    assert_eq!(list.set(k("b"), "").await.unwrap().updated_ms, NOW + 10_000);
    assert!(list.get("a").await.unwrap().is_some());
    clock.advance(MINUTE);
    assert!(list.get("b").await.unwrap().is_some());
    clock.advance(Duration::from_millis(10_001));
    assert_eq!(purge(&store).await, purged(0, 0, 2, 0));
}

async fn a_janitor_purges_at_its_interval_and_stops(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    assert_eq!(store.start_janitor(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut janitor = store.start_janitor(MINUTE).unwrap();
    while janitor.report().rounds == 0 {
        janitor.next_round().await;
    }
    assert_eq!(janitor.report().purged.collections, 0);
    let rounds = janitor.report().rounds;
    clock.advance(MINUTE * 2);
    while janitor.report().rounds == rounds {
        janitor.next_round().await;
    }
    assert_eq!(janitor.report().purged.collections, 1);
    let report = janitor.stop().await;
    assert!(report.last_error.is_none());
    open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    clock.advance(MINUTE * 10);
    assert_eq!(purge(&store).await, purged(1, 0, 0, 0), "nobody else purges any more");
}

async fn a_janitor_keeps_nothing_open(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    let mut janitor = store.start_janitor(MINUTE).unwrap();
    while janitor.report().rounds == 0 {
        janitor.next_round().await;
    }
    drop(store);
    // Without moving the clock: it ends when the last handle goes.
    assert_eq!(janitor.stop().await.rounds, 1);
}

async fn other_options_are_refused(root: &TestRoot) {
    let store = store(root, &Clock::manual(NOW)).await;
    let options = || CollectionOptions::temporary().ttl(MINUTE);
    let list: Collection<Json> = store.collection("list", options()).await.unwrap();
    let again: Collection<Json> = store.collection("list", options().primary("id")).await.unwrap();
    assert_eq!(list.generation(), again.generation());
    for (other, name) in [
        (CollectionOptions::permanent(), "lifetime"),
        (options().ttl(MINUTE * 2), "lifetime"),
        (options().sliding(), "lifetime"),
        (options().primary("name"), "primary field"),
        (options().record_ttl(MINUTE), "record TTL"),
        (options().keep_tombstones(MINUTE), "tombstone retention"),
        (options().max_tombstones(1), "tombstones"),
        (options().max_records(1), "records"),
        (options().max_bytes(1), "bytes"),
    ] {
        let error = store.collection::<Json>("list", other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().ends_with(&format!("was made with another {name}")), "{error}");
    }
    assert_eq!(kind(store.collection::<Bytes>("list", options()).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(store.find_collection::<Bytes>("list").await), ErrorKind::InvalidArgument);
    assert!(store.find_collection::<Json>("list").await.unwrap().is_some());
    // A pool of the same id is something else.
    store.pool::<Json>("list", PoolOptions::permanent()).await.unwrap();
    assert_eq!(
        kind(store.pool::<Json>("list", PoolOptions::permanent().members_needed(3)).await),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(store.pool::<Json>("none", PoolOptions::permanent().members_needed(0)).await),
        ErrorKind::InvalidArgument
    );
}

async fn fresh_ids_are_24_hexadecimal_characters(root: &TestRoot) {
    let store = store(root, &Clock::manual(NOW)).await;
    let one: Collection<Bytes> = store.collection("", CollectionOptions::permanent()).await.unwrap();
    let two: Collection<Bytes> = store.collection("", CollectionOptions::permanent()).await.unwrap();
    assert_ne!(one.id(), two.id());
    for id in [one.id(), two.id(), &fresh_id().unwrap()] {
        assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    let mut ids = vec![one.id().to_owned(), two.id().to_owned()];
    ids.sort();
    assert_eq!(store.collections().await.unwrap(), ids);
    let long = "x".repeat(256);
    let refused = store.collection::<Bytes>(&long, CollectionOptions::permanent()).await;
    assert_eq!(kind(refused), ErrorKind::TooLarge);
}

async fn the_number_of_collections_and_pools_is_bounded(root: &TestRoot) {
    let job = root.job().await;
    let store = Datastore::with_bounds(job, Bounds { stores: 2, ..Bounds::default() });
    let options = CollectionOptions::permanent;
    store.collection::<Bytes>("a", options()).await.unwrap();
    store.pool::<Bytes>("a", PoolOptions::permanent()).await.unwrap();
    assert_eq!(kind(store.collection::<Bytes>("b", options()).await), ErrorKind::TooLarge);
    assert!(store.collection::<Bytes>("a", options()).await.is_ok());
    assert!(store.remove_pool("a").await.unwrap());
    assert!(!store.remove_pool("a").await.unwrap());
    store.collection::<Bytes>("b", options()).await.unwrap();
    assert_eq!(store.collections().await.unwrap(), ["a", "b"]);
    assert!(store.pools().await.unwrap().is_empty());
}

async fn a_removed_collection_is_closed(root: &TestRoot) {
    let store = store(root, &Clock::manual(NOW)).await;
    let list = open(&store, CollectionOptions::permanent()).await;
    list.set(k("a"), "").await.unwrap();
    let mut subscription = list.subscribe("ada").await.unwrap();
    subscription.next().await.unwrap().unwrap();
    assert!(store.remove_collection("list").await.unwrap());
    assert_eq!(kind(subscription.next().await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(list.get("a").await), ErrorKind::Closed);
    assert_eq!(kind(list.set(k("a"), "").await), ErrorKind::Closed);
    assert_eq!(kind(list.set(k("a"), "").await), ErrorKind::Closed);
    assert!(!store.remove_collection("list").await.unwrap());
    assert!(store.find_collection::<Bytes>("list").await.unwrap().is_none());
}

async fn lifetimes_outlive_reopening(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let options = || CollectionOptions::temporary().ttl(MINUTE * 10).record_ttl(MINUTE);
    for _ in 0..2 {
        let p = root.open_with_clock(clock.clone());
        let store = Datastore::new(p.open_job("alpha").await.unwrap());
        open(&store, options()).await.set(k("a"), "").await.unwrap();
        p.close().await.unwrap();
        clock.advance(MINUTE / 2);
    }
    clock.advance(MINUTE);
    let store = store(root, &clock).await;
    let list = store.find_collection::<Bytes>("list").await.unwrap().unwrap();
    assert_eq!(list.info().await.unwrap().seq, 2);
    assert!(list.get("a").await.unwrap().is_none());
    assert_eq!(purge(&store).await, purged(0, 0, 1, 0));
    clock.advance(MINUTE * 10);
    assert!(store.find_collection::<Bytes>("list").await.unwrap().is_none());
    assert_eq!(purge(&store).await, purged(1, 0, 0, 0));
}

async fn a_purge_ends_though_what_it_looks_after_expires_meanwhile(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    // The clock goes on for longer than a browser's deadline while the purge is under way.
    let options = JobOptions::new().no_deadline();
    let job = root.open_with_clock(clock.clone()).open_job_with("alpha", options).await.unwrap();
    let store = Datastore::new(job);
    let list = open(&store, CollectionOptions::temporary().ttl(MINUTE * 2).record_ttl(MINUTE)).await;
    list.set(k("a"), "").await.unwrap();
    let pool = store.pool::<Bytes>("pool", PoolOptions::temporary().ttl(MINUTE).sliding()).await.unwrap();
    clock.advance(MINUTE / 2);
    pool.join("ada").await.unwrap();
    clock.advance(MINUTE * 3 / 4);
    let mut purge = Box::pin(store.purge_expired());
    assert!((&mut purge).now_or_never().is_none());
    clock.advance(MINUTE);
    let purged = before_long(store.job(), purge).await.unwrap();
    assert_eq!((purged.collections, purged.pools), (1, 1));
}

async fn what_cannot_be_read_keeps_nothing_else_from_being_purged(root: &TestRoot) {
    let clock = Clock::manual(NOW);
    let store = store(root, &clock).await;
    open(&store, CollectionOptions::temporary().ttl(MINUTE)).await;
    store.job().put_acked("datastore.due", k([0; 16]), "?").await.unwrap();
    clock.advance(MINUTE * 2);
    assert_eq!(kind(store.purge_expired().await), ErrorKind::Corrupt);
    assert_eq!(store.job().count("datastore", ..).await.unwrap(), 0);
}

async fn a_clock_that_goes_back_brings_nothing_back(root: &TestRoot) {
    let options = || CollectionOptions::permanent().record_ttl(MINUTE);
    let ahead = Clock::manual(NOW);
    let p = root.open_with_clock(ahead.clone());
    let list = open(&Datastore::new(p.open_job("alpha").await.unwrap()), options()).await;
    list.set(k("a"), "").await.unwrap();
    ahead.advance(MINUTE + Duration::from_millis(1));
    list.set(k("b"), "").await.unwrap();
    assert!(list.get("a").await.unwrap().is_none());
    drop(list);
    p.close().await.unwrap();
    let list = open(&store(root, &Clock::manual(NOW)).await, options()).await;
    assert!(list.get("a").await.unwrap().is_none());
    assert_eq!(list.snapshot().await.unwrap().records.len(), 1);
    let again = list.update(k("a"), |old| if old.is_none() { Some(vec![1]) } else { None }).await;
    assert_eq!(again.unwrap().unwrap().seq, 3);
}
