//! Facts about two roots of one name, each with a datastore: in the browser two tabs. Natively two objects
//! over one job stand for them, since there a root has one owner.

use futures_util::future::join_all;
use persistency::datastore::{
    Bytes, Collection, CollectionOptions, Datastore, Pool, PoolOptions, PoolUpdate, When,
};
use persistency::{ErrorKind, Job};

use super::subscriptions::{Mirror, held};
use crate::common::{SHARED, TestRoot, k, kind};

facts! {
    on_disk:
        two_tabs_make_a_collection_once,
        two_tabs_give_each_seq_once_and_see_one_list_live,
        what_one_tab_removed_is_closed_in_the_other,
        a_pool_converges_over_two_tabs;
}

/// The job as two tabs have it.
async fn two(root: &TestRoot) -> (Job, Job) {
    let one = root.open().open_job("alpha").await.unwrap();
    let two = if SHARED { root.open().open_job("alpha").await.unwrap() } else { one.clone() };
    (one, two)
}

async fn list(job: &Job) -> Collection<Bytes> {
    Datastore::new(job.clone()).collection("list", CollectionOptions::permanent()).await.unwrap()
}

async fn two_tabs_make_a_collection_once(root: &TestRoot) {
    let (one, two) = two(root).await;
    let made = join_all([&one, &two, &one, &two].map(list)).await;
    assert!(made.windows(2).all(|pair| pair[0].generation() == pair[1].generation()));
    assert_eq!(Datastore::new(two).collections().await.unwrap(), ["list"]);
}

async fn two_tabs_give_each_seq_once_and_see_one_list_live(root: &TestRoot) {
    let (one, two) = two(root).await;
    let (one, two) = (list(&one).await, list(&two).await);
    let mut subscriptions = [one.subscribe("ada").await.unwrap(), two.subscribe("bob").await.unwrap()];
    let write = async |list: &Collection<Bytes>, tab: u8| {
        let mut seqs = Vec::new();
        for number in 0..20u8 {
            seqs.push(list.set(k([number % 5]), [tab, number]).await.unwrap().seq);
            seqs.extend(list.delete([number % 7]).await.unwrap());
        }
        seqs
    };
    let (first, second) = futures_util::join!(write(&one, 1), write(&two, 2));
    assert!(first.is_sorted() && second.is_sorted());
    let mut seqs = [first, second].concat();
    seqs.sort_unstable();
    assert_eq!(seqs, Vec::from_iter(1..=seqs.len() as u64));
    let held = held(&one).await;
    for subscription in &mut subscriptions {
        let mut mirror = Mirror::default();
        mirror.follow(subscription, seqs.len() as u64).await;
        assert_eq!(mirror.rows, held);
    }
    // What one has decided by is checked against what the other has done.
    let seq = one.set(k("x"), "1").await.unwrap().seq;
    two.set(k("x"), "2").await.unwrap();
    assert_eq!(kind(one.set_if(k("x"), "3", When::Seq(seq)).await), ErrorKind::Conflict);
    assert_eq!(two.delete("x").await.unwrap(), Some(seq + 2));
    assert_eq!(one.delete("x").await.unwrap(), None);
    assert!(one.get("x").await.unwrap().is_none());
}

async fn what_one_tab_removed_is_closed_in_the_other(root: &TestRoot) {
    let (one, two) = two(root).await;
    let (here, there) = (list(&one).await, list(&two).await);
    here.set(k("a"), "").await.unwrap();
    let mut subscription = there.subscribe("bob").await.unwrap();
    subscription.next().await.unwrap().unwrap();
    assert!(Datastore::new(one.clone()).remove_collection("list").await.unwrap());
    assert_eq!(kind(subscription.next().await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(there.set(k("a"), "").await), ErrorKind::Closed);
    let again = list(&two).await;
    assert_eq!(again.set(k("a"), "").await.unwrap().seq, 1);
    assert_eq!(kind(here.get("a").await), ErrorKind::Closed);
}

async fn a_pool_converges_over_two_tabs(root: &TestRoot) {
    let (one, two) = two(root).await;
    let open = async |job: &Job| -> Pool<Bytes> {
        Datastore::new(job.clone()).pool("pool", PoolOptions::permanent()).await.unwrap()
    };
    let (one, two) = (open(&one).await, open(&two).await);
    let (ada, bob) = (one.join("ada").await.unwrap(), two.join("bob").await.unwrap());
    let take_part = async |mut member: persistency::datastore::Member<Bytes>, first: u8| {
        let mut has: Vec<Vec<u8>> = (first..first + 6).map(|number| vec![number]).collect();
        for item in has.clone() {
            member.merge(&[item]).await.unwrap();
        }
        loop {
            match member.next().await.unwrap().unwrap() {
                PoolUpdate::Items(items) => {
                    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
                    has.extend(items.into_iter().map(|item| item.data));
                    member.acknowledge(&ids).await.unwrap();
                }
                PoolUpdate::Converged { .. } => break,
                _ => panic!("neither"),
            }
        }
        has.sort();
        has.dedup();
        has
    };
    let (ada, bob) = futures_util::join!(take_part(ada, 0), take_part(bob, 4));
    // A round may end before both have merged all; what came later is in the next one.
    let both: std::collections::BTreeSet<_> = ada.iter().chain(&bob).cloned().collect();
    assert_eq!(both.len(), 10);
    assert_eq!(one.info().await.unwrap().items, two.info().await.unwrap().items);
}
