//! Facts about the merge pool: what a merge says, and that members converge whatever becomes of messages.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use persistency::datastore::{
    Bytes, Datastore, Item, ItemId, Json, MEMBERS_MAX, Member, Pool, PoolOptions, PoolUpdate,
};
use persistency::{Clock, ErrorKind, Job};
use serde_json::{Value, json};

use super::model::{Random, before_long};
use crate::common::{TestRoot, kind};

facts! {
    everywhere:
        a_merge_says_what_is_new_and_what_the_member_lacks,
        equal_items_are_one,
        a_pool_converges_when_every_member_has_everything_and_is_emptied,
        one_member_alone_does_not_converge,
        a_leaving_member_does_not_block,
        a_silent_member_does_not_block,
        a_suspended_machine_loses_no_member,
        a_member_may_acknowledge_in_any_order_whatever_gaps_that_leaves,
        a_member_that_waits_is_not_silent,
        a_member_that_waits_on_a_busy_pool_is_not_silent,
        a_member_that_joins_anew_is_told_everything_again,
        who_leaves_is_not_brought_back_by_another_handle,
        handles_at_one_time_all_get_through,
        a_pool_without_members_keeps_its_items,
        acknowledging_what_went_with_an_earlier_round_changes_nothing,
        joining_again_is_the_same_member,
        merges_come_to_the_same_pool_in_any_order,
        members_converge_under_loss_duplication_and_any_order,
        items_bytes_and_members_are_bounded,
        many_items_come_in_pages;
    on_disk:
        a_pool_outlives_reopening;
}

async fn pool(root: &TestRoot) -> Pool<Bytes> {
    Datastore::new(root.job().await).pool("pool", PoolOptions::permanent()).await.unwrap()
}

fn ids<V>(items: &[Item<V>]) -> Vec<ItemId> {
    items.iter().map(|item| item.id).collect()
}

fn data(items: &[Item<Vec<u8>>]) -> Vec<Vec<u8>> {
    items.iter().map(|item| item.data.clone()).collect()
}

async fn a_merge_says_what_is_new_and_what_the_member_lacks(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let merged = ada.merge(&[b"1".to_vec(), b"2".to_vec()]).await.unwrap();
    assert_eq!((merged.new.len(), merged.lacking.items.len(), merged.converged), (2, 0, false));
    let merged = bob.merge(&[b"2".to_vec(), b"3".to_vec()]).await.unwrap();
    assert_eq!((merged.new.len(), data(&merged.lacking.items)), (1, vec![b"1".to_vec()]));
    assert!(!merged.lacking.more);
    // Again: nothing is new, and what is lacking is said until it is acknowledged.
    let again = bob.merge(&[b"2".to_vec(), b"3".to_vec()]).await.unwrap();
    assert_eq!((again.new.len(), again.lacking), (0, merged.lacking.clone()));
    assert_eq!(data(&ada.lacking().await.unwrap().items), [b"3".to_vec()]);
    assert_eq!(pool.info().await.unwrap().members, [("ada".to_owned(), 1), ("bob".to_owned(), 1)]);
    assert!(!bob.acknowledge(&ids(&merged.lacking.items)).await.unwrap());
    assert!(bob.lacking().await.unwrap().items.is_empty());
}

async fn equal_items_are_one(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let pool: Pool<Json> = store.pool("pool", PoolOptions::permanent()).await.unwrap();
    let ada = pool.join("ada").await.unwrap();
    let one = serde_json::from_str::<Value>(r#"{"a":1,"b":{"c":2,"d":[]}}"#).unwrap();
    let two = serde_json::from_str::<Value>(r#"{"b":{"d":[],"c":2},"a":1}"#).unwrap();
    let merged = ada.merge(&[one, two.clone(), json!(1)]).await.unwrap();
    assert_eq!(merged.new.len(), 2);
    assert!(ada.merge(&[two]).await.unwrap().new.is_empty());
    assert_eq!(pool.info().await.unwrap().items, 2);
    // SHA-256 of `1`.
    let of_one = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    assert!(merged.new.iter().any(|id| id.to_string() == of_one));
}

async fn a_pool_converges_when_every_member_has_everything_and_is_emptied(root: &TestRoot) {
    let pool = pool(root).await;
    let (mut ada, mut bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    for round in 1..4u8 {
        ada.merge(&[vec![round, 1]]).await.unwrap();
        bob.merge(&[vec![round, 2]]).await.unwrap();
        let mut converged = false;
        for member in [&mut ada, &mut bob] {
            let Some(Ok(PoolUpdate::Items(items))) = member.next().await else { panic!("items") };
            assert_eq!(items.len(), 1);
            assert!(!converged);
            converged = member.acknowledge(&ids(&items)).await.unwrap();
        }
        assert!(converged);
        for member in [&mut ada, &mut bob] {
            let update = member.next().await.unwrap().unwrap();
            assert_eq!(update, PoolUpdate::Converged { round: u64::from(round) });
            assert!(member.next().now_or_never().is_none());
        }
        let info = pool.info().await.unwrap();
        assert_eq!((info.round, info.items, info.bytes), (u64::from(round), 0, 0));
    }
}

async fn one_member_alone_does_not_converge(root: &TestRoot) {
    let pool = pool(root).await;
    let ada = pool.join("ada").await.unwrap();
    assert!(!ada.merge(&[b"1".to_vec()]).await.unwrap().converged);
    assert_eq!(pool.info().await.unwrap().items, 1);
    let mut bob = pool.join("bob").await.unwrap();
    let Some(Ok(PoolUpdate::Items(items))) = bob.next().await else { panic!("items") };
    assert!(bob.acknowledge(&ids(&items)).await.unwrap());
}

async fn a_leaving_member_does_not_block(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let eve = pool.join("eve").await.unwrap();
    let merged = ada.merge(&[b"1".to_vec()]).await.unwrap();
    assert!(!bob.acknowledge(&merged.new).await.unwrap());
    assert!(eve.leave().await.unwrap(), "nobody else lacks anything");
    let info = pool.info().await.unwrap();
    assert_eq!((info.round, info.items, info.members.len()), (1, 0, 2));
}

async fn a_silent_member_does_not_block(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let p = root.open_with_clock(clock.clone());
    let store = Datastore::new(p.open_job("alpha").await.unwrap());
    let options = PoolOptions::permanent().member_timeout(Duration::from_secs(10));
    let pool: Pool<Bytes> = store.pool("pool", options).await.unwrap();
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let eve = pool.join("eve").await.unwrap();
    let merged = ada.merge(&[b"1".to_vec()]).await.unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(!bob.acknowledge(&merged.new).await.unwrap());
    assert!(!ada.merge(&[]).await.unwrap().converged);
    clock.advance(Duration::from_millis(1));
    assert!(ada.merge(&[]).await.unwrap().converged, "eve has been silent for too long");
    // Who comes back is a member again.
    assert!(!eve.merge(&[b"2".to_vec()]).await.unwrap().converged);
    assert_eq!(pool.info().await.unwrap().members.len(), 3);
}

async fn a_suspended_machine_loses_no_member(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let p = root.open_with_clock(clock.clone());
    let store = Datastore::new(p.open_job("alpha").await.unwrap());
    let options = PoolOptions::permanent().member_timeout(Duration::from_secs(10));
    let pool: Pool<Bytes> = store.pool("pool", options).await.unwrap();
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    ada.merge(&[b"1".to_vec(), b"2".to_vec()]).await.unwrap();
    bob.acknowledge(&ids(&bob.lacking().await.unwrap().items[..1])).await.unwrap();
    // Nobody was heard of, and the first who wakes up has everything.
    clock.advance(Duration::from_secs(3_600));
    assert!(!ada.merge(&[b"1".to_vec()]).await.unwrap().converged, "bob lives");
    assert_eq!(pool.info().await.unwrap().members, [("ada".to_owned(), 0), ("bob".to_owned(), 1)]);
    clock.advance(Duration::from_secs(9));
    let lacking = bob.lacking().await.unwrap();
    assert_eq!(data(&lacking.items), [b"2".to_vec()]);
    assert!(bob.acknowledge(&ids(&lacking.items)).await.unwrap());
    // One that does not come back blocks nobody for longer than once more.
    ada.merge(&[b"3".to_vec()]).await.unwrap();
    clock.advance(Duration::from_secs(3_600));
    ada.merge(&[]).await.unwrap();
    clock.advance(Duration::from_secs(6));
    ada.merge(&[]).await.unwrap();
    clock.advance(Duration::from_secs(6));
    assert!(ada.merge(&[]).await.unwrap().converged);
}

async fn a_member_may_acknowledge_in_any_order_whatever_gaps_that_leaves(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let items: Vec<Vec<u8>> = (0..5_000u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let merged = ada.merge(&items).await.unwrap();
    let every_second: Vec<ItemId> = merged.new.into_iter().step_by(2).collect();
    bob.acknowledge(&every_second).await.unwrap();
    let left = pool.info().await.unwrap().members[1].1;
    assert!((2_500..5_000).contains(&left), "{left}");
    let mut converged = false;
    while !converged {
        let lacking = bob.lacking().await.unwrap();
        assert!(!lacking.items.is_empty());
        converged = bob.acknowledge(&ids(&lacking.items)).await.unwrap();
    }
    assert_eq!(pool.info().await.unwrap().items, 0);
}

async fn a_member_that_waits_is_not_silent(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let p = root.open_with_clock(clock.clone());
    let store = Datastore::new(p.open_job("alpha").await.unwrap());
    let options = PoolOptions::permanent().member_timeout(Duration::from_secs(30));
    let pool: Pool<Bytes> = store.pool("pool", options).await.unwrap();
    let (ada, mut bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    for _ in 0..10 {
        let round = async {
            clock.advance(Duration::from_secs(11));
            ada.merge(&[]).await.unwrap();
            for _ in 0..100 {
                pool.info().await.unwrap();
            }
        };
        futures_util::select_biased! {
            _ = bob.next().fuse() => panic!("there is nothing to tell"),
            () = Box::pin(round.fuse()) => {}
        }
    }
    assert_eq!(pool.info().await.unwrap().members.len(), 2);
}

async fn a_pool_without_members_keeps_its_items(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    ada.merge(&[b"1".to_vec()]).await.unwrap();
    bob.merge(&[b"2".to_vec()]).await.unwrap();
    assert!(!ada.leave().await.unwrap());
    assert!(!bob.leave().await.unwrap());
    assert_eq!(pool.info().await.unwrap().items, 2);
    let eve = pool.join("eve").await.unwrap();
    let lacking = eve.lacking().await.unwrap();
    assert_eq!(lacking.items.len(), 2);
    assert!(eve.acknowledge(&ids(&lacking.items)).await.unwrap());
}

async fn acknowledging_what_went_with_an_earlier_round_changes_nothing(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let old = ada.merge(&[b"1".to_vec()]).await.unwrap().new;
    assert!(bob.acknowledge(&old).await.unwrap());
    let new = ada.merge(&[b"2".to_vec()]).await.unwrap().new;
    assert!(!bob.acknowledge(&old).await.unwrap());
    assert_eq!(bob.lacking().await.unwrap().items.len(), 1);
    assert!(bob.acknowledge(&new).await.unwrap());
    assert_eq!(pool.info().await.unwrap().round, 2);
}

async fn joining_again_is_the_same_member(root: &TestRoot) {
    let pool = pool(root).await;
    let ada = pool.join("ada").await.unwrap();
    ada.merge(&[b"1".to_vec()]).await.unwrap();
    drop(ada);
    let mut again = pool.join("ada").await.unwrap();
    assert!(again.lacking().await.unwrap().items.is_empty());
    assert!(again.next().now_or_never().is_none());
    assert_eq!(pool.info().await.unwrap().members.len(), 1);
    assert_eq!(kind(pool.join("").await), ErrorKind::InvalidArgument);
}

/// Some sets of few different items, so that many are the same.
fn merges(random: &mut Random, count: usize) -> Vec<Vec<Vec<u8>>> {
    let some = |random: &mut Random| (0..random.below(6)).map(|_| vec![random.below(12) as u8]).collect();
    (0..count).map(|_| some(random)).collect()
}

async fn merges_come_to_the_same_pool_in_any_order(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    for seed in super::model::seeds(6) {
        let mut random = Random::new(seed);
        let merges = merges(&mut random, 8);
        let all: BTreeSet<Vec<u8>> = merges.iter().flatten().cloned().collect();
        for order in 0..3 {
            let id = format!("{seed} {order}");
            let pool: Pool<Bytes> = store.pool(&id, PoolOptions::permanent()).await.unwrap();
            let members = [pool.join("a").await.unwrap(), pool.join("b").await.unwrap()];
            // Lacks everything, so that the pool does not converge.
            let reader = pool.join("reader").await.unwrap();
            // The first time each once and in order, then in any order and some of them twice.
            let mut order: Vec<usize> = (0..merges.len()).collect();
            for at in 0..if id.ends_with('0') { 0 } else { order.len() } {
                order.swap(at, random.below(merges.len()));
                order.push(random.below(merges.len()));
            }
            let mut new = 0;
            for merge in order {
                let member = &members[random.below(2)];
                new += member.merge(&merges[merge]).await.unwrap().new.len();
            }
            let items: BTreeSet<_> = data(&reader.lacking().await.unwrap().items).into_iter().collect();
            assert_eq!(items.len(), new, "each was new once");
            assert_eq!(items, all, "seed {seed}");
            store.remove_pool(&id).await.unwrap();
        }
    }
}

/// A member on the other end of a bad line: what it has, and what is on its way to it.
struct Peer {
    member: Member<Bytes>,
    has: BTreeSet<Vec<u8>>,
    arriving: Vec<Item<Vec<u8>>>,
    acknowledging: Vec<ItemId>,
}

async fn members_converge_under_loss_duplication_and_any_order(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    for seed in super::model::seeds(6) {
        let mut random = Random::new(seed);
        let pool: Pool<Bytes> = store.pool(&seed.to_string(), PoolOptions::permanent()).await.unwrap();
        let (mut peers, mut all) = (Vec::new(), BTreeSet::new());
        for name in ["ada", "bob", "eve"] {
            let has: BTreeSet<Vec<u8>> = (0..random.below(8)).map(|_| vec![random.below(16) as u8]).collect();
            all.extend(has.clone());
            let member = pool.join(name).await.unwrap();
            peers.push(Peer { member, has, arriving: Vec::new(), acknowledging: Vec::new() });
        }
        for _ in 0..60 {
            let at = random.below(3);
            let peer = &mut peers[at];
            match random.below(4) {
                // What it has goes to the pool, or is lost on the way; the answer may be lost too.
                0 => {
                    let some: Vec<_> = peer.has.iter().filter(|_| random.below(2) == 0).cloned().collect();
                    let merged = peer.member.merge(&some).await.unwrap();
                    if random.below(2) == 0 {
                        peer.arriving.extend(merged.lacking.items);
                    }
                }
                1 => peer.arriving.extend(peer.member.lacking().await.unwrap().items),
                // Something arrives, in any order, and may arrive again.
                2 if !peer.arriving.is_empty() => {
                    let which = random.below(peer.arriving.len());
                    let item = match random.below(2) {
                        0 => peer.arriving.swap_remove(which),
                        _ => peer.arriving[which].clone(),
                    };
                    peer.has.insert(item.data);
                    peer.acknowledging.push(item.id);
                }
                _ => {
                    peer.acknowledging.retain(|_| random.below(3) > 0);
                    peer.member.acknowledge(&peer.acknowledging).await.unwrap();
                }
            }
        }
        // Then the line is good again.
        for peer in &peers {
            peer.member.merge(&Vec::from_iter(peer.has.clone())).await.unwrap();
        }
        for peer in &mut peers {
            let lacking = peer.member.lacking().await.unwrap().items;
            peer.has.extend(lacking.iter().map(|item| item.data.clone()));
            peer.member.acknowledge(&ids(&lacking)).await.unwrap();
        }
        let info = pool.info().await.unwrap();
        assert_eq!(info.items, 0, "seed {seed}: {info:?}");
        for peer in &peers {
            assert_eq!(peer.has, all, "seed {seed}");
        }
        store.remove_pool(&seed.to_string()).await.unwrap();
    }
}

async fn items_bytes_and_members_are_bounded(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let options = PoolOptions::permanent().max_items(3).max_bytes(10).max_members(2);
    let pool: Pool<Bytes> = store.pool("pool", options).await.unwrap();
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    assert_eq!(kind(pool.join("eve").await), ErrorKind::TooLarge);
    let four: Vec<_> = (0..4u8).map(|number| vec![number]).collect();
    assert_eq!(kind(ada.merge(&four).await), ErrorKind::TooLarge);
    assert_eq!(pool.info().await.unwrap().items, 0, "all or none");
    assert_eq!(kind(ada.merge(&[vec![0; 11]]).await), ErrorKind::TooLarge);
    let merged = ada.merge(&four[..3]).await.unwrap();
    assert_eq!(kind(bob.merge(&[vec![9]]).await), ErrorKind::TooLarge);
    assert!(bob.acknowledge(&merged.new).await.unwrap());
    bob.merge(&[vec![9]]).await.unwrap();
    let many = vec![merged.new[0]; 16 * 1024 + 1];
    assert_eq!(kind(bob.acknowledge(&many).await), ErrorKind::TooLarge);
    let refused = store.pool::<Bytes>("large", PoolOptions::permanent().max_members(MEMBERS_MAX + 1)).await;
    assert_eq!(kind(refused), ErrorKind::InvalidArgument);
}

async fn many_items_come_in_pages(root: &TestRoot) {
    let pool = pool(root).await;
    let (ada, mut bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    for begin in [0u32, 100] {
        let items: Vec<_> =
            (begin..begin + 100).map(|number| [&number.to_be_bytes()[..], &[0; 16_000]].concat()).collect();
        ada.merge(&items).await.unwrap();
    }
    let lacking = bob.lacking().await.unwrap();
    assert!(lacking.more && lacking.items.len() < 200);
    let (mut seen, mut pages) = (Vec::new(), 0);
    while seen.len() < 200 {
        let Some(Ok(PoolUpdate::Items(items))) = bob.next().await else { panic!("items") };
        seen.extend(ids(&items));
        pages += 1;
    }
    assert_eq!(BTreeSet::from_iter(seen.clone()).len(), 200, "each once");
    assert!(pages > 1);
    assert!(bob.acknowledge(&seen).await.unwrap());
}

async fn a_pool_outlives_reopening(root: &TestRoot) {
    {
        let p = root.open();
        let store = Datastore::new(p.open_job("alpha").await.unwrap());
        let pool: Pool<Bytes> = store.pool("pool", PoolOptions::permanent()).await.unwrap();
        let (ada, _bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
        ada.merge(&[b"1".to_vec()]).await.unwrap();
        p.close().await.unwrap();
    }
    let store = Datastore::new(root.job().await);
    let pool = store.find_pool::<Bytes>("pool").await.unwrap().unwrap();
    let bob = pool.join("bob").await.unwrap();
    let items = bob.lacking().await.unwrap().items;
    assert_eq!(data(&items), [b"1".to_vec()]);
    assert!(bob.acknowledge(&ids(&items)).await.unwrap());
}

/// A pool whose members may be silent for 30 s.
async fn timed(root: &TestRoot, clock: &Clock) -> (Job, Pool<Bytes>) {
    let job = root.open_with_clock(clock.clone()).open_job("alpha").await.unwrap();
    let options = PoolOptions::permanent().member_timeout(Duration::from_secs(30));
    (job.clone(), Datastore::new(job).pool("pool", options).await.unwrap())
}

async fn a_member_that_waits_on_a_busy_pool_is_not_silent(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let (_job, pool) = timed(root, &clock).await;
    let (ada, mut bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    for second in 0..40u8 {
        // He is told something each time, or nothing.
        let items: &[Vec<u8>] = if second % 2 == 0 { &[vec![second]] } else { &[] };
        let round = async {
            clock.advance(Duration::from_secs(2));
            ada.merge(items).await.unwrap();
            for _ in 0..30 {
                pool.info().await.unwrap();
            }
        };
        futures_util::join!(round, async {
            if second % 2 == 0 {
                bob.next().await.unwrap().unwrap();
            }
        });
    }
    assert_eq!(pool.info().await.unwrap().members.len(), 2);
    assert_eq!(pool.info().await.unwrap().round, 0, "bob has acknowledged nothing");
}

async fn a_member_that_joins_anew_is_told_everything_again(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let (job, pool) = timed(root, &clock).await;
    let (ada, mut bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    let eve = pool.join("eve").await.unwrap();
    let item = ada.merge(&[b"1".to_vec()]).await.unwrap().new;
    let Some(Ok(PoolUpdate::Items(items))) = bob.next().await else { panic!("items") };
    assert!(!bob.acknowledge(&ids(&items)).await.unwrap());
    clock.advance(Duration::from_secs(20));
    ada.merge(&[]).await.unwrap();
    eve.merge(&[]).await.unwrap();
    clock.advance(Duration::from_secs(11));
    ada.merge(&[]).await.unwrap();
    assert_eq!(pool.info().await.unwrap().members.len(), 2, "bob has been silent for too long");
    let Some(Ok(PoolUpdate::Items(again))) = before_long(&job, bob.next()).await else { panic!("items") };
    assert_eq!(again, items);
    assert!(!bob.acknowledge(&ids(&again)).await.unwrap());
    assert!(eve.acknowledge(&item).await.unwrap());
}

async fn who_leaves_is_not_brought_back_by_another_handle(root: &TestRoot) {
    let clock = Clock::manual(1_000);
    let (job, pool) = timed(root, &clock).await;
    let (ada, mut other) = (pool.join("ada").await.unwrap(), pool.join("ada").await.unwrap());
    let (told, ()) = futures_util::join!(before_long(&job, other.next()), async {
        ada.leave().await.unwrap();
        for _ in 0..3 {
            clock.advance(Duration::from_secs(11));
            pool.info().await.unwrap();
        }
    });
    assert!(told.is_none());
    assert!(pool.info().await.unwrap().members.is_empty());
}

async fn handles_at_one_time_all_get_through(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    store.pool::<Bytes>("pool", PoolOptions::permanent()).await.unwrap();
    let join = async |name: u8| {
        let pool = store.find_pool::<Bytes>("pool").await.unwrap().unwrap();
        pool.join(&name.to_string()).await.map(drop)
    };
    for joined in futures_util::future::join_all((0..130).map(join)).await {
        joined.unwrap();
    }
}
