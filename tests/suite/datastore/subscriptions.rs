//! Facts about subscriptions: what they tell, and how they end.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::join_all;
use persistency::datastore::{
    Bounds, Bytes, Change, Collection, CollectionOptions, Datastore, Subscription, Update,
};
use persistency::{ErrorKind, Key};

use crate::common::{TestRoot, k, kind};

facts! {
    everywhere:
        a_subscription_begins_with_all_records,
        a_subscription_tells_every_change_once_while_others_write,
        a_subscription_goes_on_from_a_seq,
        a_subscriber_who_missed_a_forgotten_deletion_gets_a_snapshot,
        clients_are_a_set,
        a_clients_subscriptions_end_in_one_call,
        subscribers_are_bounded,
        a_dropped_future_loses_no_update,
        what_is_set_while_pages_are_read_is_told_once;
}

async fn list(store: &Datastore, id: &str) -> Collection<Bytes> {
    store.collection(id, CollectionOptions::permanent().max_tombstones(50)).await.unwrap()
}

/// What a subscriber keeps.
#[derive(Default)]
pub struct Mirror {
    pub rows: BTreeMap<Key, (u64, Vec<u8>)>,
    pub seq: u64,
    pub snapshots: usize,
}

impl Mirror {
    /// Applies an update, and holds it to what updates promise.
    pub fn apply(&mut self, update: Update<Key, Vec<u8>>) {
        match update {
            Update::Snapshot(snapshot) => {
                assert!(snapshot.seq >= self.seq);
                self.snapshots += 1;
                let rows = snapshot.records.into_iter().map(|record| (record.key, (record.seq, record.data)));
                (self.rows, self.seq) = (rows.collect(), snapshot.seq);
            }
            Update::Changes(changes) => {
                let mut last = self.seq;
                for change in changes.changes {
                    assert!(change.seq() > last, "{} after {last}", change.seq());
                    last = change.seq();
                    match change {
                        Change::Set(record) => {
                            self.rows.insert(record.key, (record.seq, record.data));
                        }
                        Change::Deleted { key, .. } => drop(self.rows.remove(&key)),
                        _ => panic!("neither"),
                    }
                }
                assert!(changes.seq >= self.seq);
                self.seq = changes.seq;
            }
            _ => panic!("neither"),
        }
    }

    /// Follows until the collection's seq is reached.
    pub async fn follow(&mut self, subscription: &mut Subscription<Bytes>, seq: u64) {
        while self.seq < seq {
            self.apply(subscription.next().await.unwrap().unwrap());
        }
    }
}

/// What the collection holds.
pub async fn held(list: &Collection<Bytes>) -> BTreeMap<Key, (u64, Vec<u8>)> {
    let records = list.snapshot().await.unwrap().records.into_iter();
    records.map(|record| (record.key, (record.seq, record.data))).collect()
}

async fn a_subscription_begins_with_all_records(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    list.set(k("a"), "1").await.unwrap();
    let mut subscription = list.subscribe("ada").await.unwrap();
    // Before the first look: it is in the snapshot.
    list.set(k("b"), "2").await.unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(subscription.next().await.unwrap().unwrap());
    assert_eq!((mirror.rows.len(), mirror.seq), (2, 2));
    assert!(subscription.next().now_or_never().is_none(), "and is not told again");
    list.delete("a").await.unwrap();
    let Some(Ok(Update::Changes(changes))) = subscription.next().await else { panic!("changes") };
    assert!(matches!(&changes.changes[..], [Change::Deleted { seq: 3, .. }]));
    assert_eq!(changes.seq, 3);
}

async fn a_subscription_tells_every_change_once_while_others_write(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let (list, other) = (list(&store, "list").await, list(&store, "other").await);
    let mut subscriptions = Vec::new();
    let mut mirrors = Vec::new();
    for round in 0..20u8 {
        subscriptions.push(list.subscribe("ada").await.unwrap());
        mirrors.push(Mirror::default());
        let writes = (0..10u8).map(async |number| {
            other.set(k([number]), "").await.unwrap();
            match (round + number) % 4 {
                0 => drop(list.delete([number % 5]).await.unwrap()),
                _ => drop(list.set(k([number % 5]), [round]).await.unwrap()),
            }
        });
        let followers = subscriptions.iter_mut().zip(&mut mirrors).map(async |(subscription, mirror)| {
            if mirror.seq % 3 == round as u64 % 3 {
                mirror.apply(subscription.next().await.unwrap().unwrap());
            }
        });
        futures_util::join!(join_all(writes), join_all(followers));
    }
    let (held, seq) = (held(&list).await, list.info().await.unwrap().seq);
    for (mut subscription, mut mirror) in subscriptions.into_iter().zip(mirrors) {
        mirror.follow(&mut subscription, seq).await;
        assert_eq!(mirror.rows, held);
    }
}

async fn a_subscription_goes_on_from_a_seq(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    for key in ["a", "b", "c"] {
        list.set(k(key), "").await.unwrap();
    }
    let mut subscription = list.subscribe_since("ada", 2).await.unwrap();
    let Some(Ok(Update::Changes(changes))) = subscription.next().await else { panic!("changes") };
    assert_eq!((changes.changes.len(), changes.changes[0].seq(), changes.seq), (1, 3, 3));
    let mut subscription = list.subscribe_since("ada", 3).await.unwrap();
    assert!(subscription.next().now_or_never().is_none());
    list.set(k("d"), "").await.unwrap();
    let Some(Ok(Update::Changes(changes))) = subscription.next().await else { panic!("changes") };
    assert_eq!(changes.seq, 4);
    assert_eq!(kind(list.subscribe_since("ada", 9).await), ErrorKind::InvalidArgument);
}

async fn a_subscriber_who_missed_a_forgotten_deletion_gets_a_snapshot(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    list.set_many((0..60u8).map(|number| (k([number]), vec![]))).await.unwrap();
    let mut subscription = list.subscribe("ada").await.unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(subscription.next().await.unwrap().unwrap());
    for number in 0..55u8 {
        list.delete([number]).await.unwrap();
    }
    mirror.follow(&mut subscription, 115).await;
    assert_eq!((mirror.snapshots, mirror.rows.len()), (2, 5));
    assert_eq!(mirror.rows, held(&list).await);
}

async fn clients_are_a_set(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    let one = list.subscribe("bob").await.unwrap();
    let _two = list.subscribe("bob").await.unwrap();
    let _ada = list.subscribe("ada").await.unwrap();
    assert_eq!(list.subscribers(), ["ada", "bob"]);
    drop(one);
    assert_eq!(list.subscribers(), ["ada", "bob"]);
    assert_eq!(list.unsubscribe("bob"), 1);
    assert_eq!(list.subscribers(), ["ada"]);
    assert_eq!(list.unsubscribe("bob"), 0);
    assert_eq!(kind(list.subscribe("").await), ErrorKind::InvalidArgument);
}

async fn a_clients_subscriptions_end_in_one_call(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let (one, two) = (list(&store, "one").await, list(&store, "two").await);
    let pool = store.pool::<Bytes>("pool", persistency::datastore::PoolOptions::permanent()).await.unwrap();
    let mut first = one.subscribe("ada").await.unwrap();
    let mut second = two.subscribe("ada").await.unwrap();
    let mut member = pool.join("ada").await.unwrap();
    let mut other = two.subscribe("bob").await.unwrap();
    first.next().await.unwrap().unwrap();
    let (waiting, ()) = futures_util::join!(first.next(), async {
        assert_eq!(store.unsubscribe_all("ada"), 3);
    });
    assert!(waiting.is_none());
    assert!(second.next().await.is_none() && member.next().await.is_none());
    assert!(other.next().await.is_some());
    assert_eq!((one.subscribers().len(), two.subscribers().len()), (0, 1));
}

async fn subscribers_are_bounded(root: &TestRoot) {
    let store = Datastore::with_bounds(root.job().await, Bounds { subscribers: 2, ..Bounds::default() });
    let (one, two) = (list(&store, "one").await, list(&store, "two").await);
    let first = one.subscribe("a").await.unwrap();
    let _second = one.subscribe("b").await.unwrap();
    assert_eq!(kind(one.subscribe("c").await), ErrorKind::TooLarge);
    assert!(two.subscribe("c").await.is_ok());
    drop(first);
    assert!(one.subscribe("c").await.is_ok());
}

async fn a_dropped_future_loses_no_update(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    let mut subscription = list.subscribe("ada").await.unwrap();
    let mut mirror = Mirror::default();
    for number in 0..50u8 {
        list.set(k([number % 7]), [number]).await.unwrap();
        for _ in 0..number % 3 {
            if let Some(update) = subscription.next().now_or_never() {
                mirror.apply(update.unwrap().unwrap());
            }
        }
    }
    mirror.follow(&mut subscription, 50).await;
    assert_eq!(mirror.rows, held(&list).await);
}

async fn what_is_set_while_pages_are_read_is_told_once(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list = list(&store, "list").await;
    list.set_many((0..100u8).map(|number| (k([number]), vec![0; 16_000]))).await.unwrap();
    let mut subscription = list.subscribe_since("ada", 0).await.unwrap();
    let (mut seqs, mut reached) = (Vec::new(), 0);
    while reached < 101 {
        let Some(Ok(Update::Changes(changes))) = subscription.next().await else { panic!("changes") };
        assert!(reached > 0 || changes.changes.len() < 100, "the first page is not all");
        seqs.extend(changes.changes.iter().map(Change::seq));
        if seqs.len() < 100 && list.info().await.unwrap().seq == 100 {
            list.set(k([200]), "").await.unwrap();
        }
        reached = changes.seq;
    }
    seqs.sort_unstable();
    assert_eq!(seqs, Vec::from_iter(1..=101));
}
