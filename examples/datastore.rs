//! A shopping list that several people share, and a pool in which they bring their photographs together.
//!
//! The list is a collection: whoever joins gets all records and then every change; whoever was away asks
//! for what he has missed; what has been forgotten is said. The pool takes what each has and tells each what
//! he lacks, until all have the same; then it is empty again.
//!
//! `cargo run --example datastore --features datastore,cli`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use persistency::datastore::{
    Bytes, Change, Collection, CollectionOptions, Datastore, Json, Member, Pool, PoolOptions, PoolUpdate,
    Since, Snapshot, Update,
};
use persistency::{Persistency, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Article {
    id: String,
    count: u32,
    by: String,
}

fn article(id: &str, count: u32, by: &str) -> Article {
    Article { id: id.to_owned(), count, by: by.to_owned() }
}

async fn open(root: &Persistency) -> Result<(Datastore, Collection<Json<Article>>)> {
    let store = Datastore::new(root.open_job("household").await?);
    let options = CollectionOptions::permanent().keep_tombstones(Duration::from_secs(30 * 24 * 60 * 60));
    let list = store.collection("shopping", options).await?;
    Ok((store, list))
}

/// What a reader of the list keeps: the articles, and how far he has come.
#[derive(Debug, Default, PartialEq)]
struct Mirror {
    articles: BTreeMap<String, Article>,
    seq: u64,
}

impl Mirror {
    fn take(&mut self, Snapshot { records, seq }: Snapshot<String, Article>) {
        self.articles = records.into_iter().map(|record| (record.key, record.data)).collect();
        self.seq = seq;
    }

    fn apply(&mut self, changes: Vec<Change<String, Article>>, seq: u64) {
        for change in changes {
            match change {
                Change::Set(record) => drop(self.articles.insert(record.key, record.data)),
                Change::Deleted { key, .. } => drop(self.articles.remove(&key)),
                other => panic!("a change of a kind that this program does not know: {other:?}"),
            }
        }
        self.seq = seq;
    }
}

/// Follows the list live until the article `last` is on it.
async fn follow(list: Collection<Json<Article>>, name: &str, last: &str) -> Result<Mirror> {
    let mut mirror = Mirror::default();
    let mut updates = list.subscribe(name).await?;
    while !mirror.articles.contains_key(last) {
        match updates.next().await {
            Some(Ok(Update::Snapshot(all))) => mirror.take(all),
            Some(Ok(Update::Changes(changes))) => mirror.apply(changes.changes, changes.seq),
            Some(Err(error)) => return Err(error),
            other => panic!("the list has not ended: {other:?}"),
        }
    }
    Ok(mirror)
}

/// Brings a mirror up to date after some time away.
async fn catch_up(list: &Collection<Json<Article>>, mirror: &mut Mirror) -> Result<()> {
    match list.changes_since(mirror.seq).await? {
        Since::Changes(missed) => mirror.apply(missed.changes, missed.seq),
        // Deletions in between have been forgotten: only the whole list is right.
        _ => mirror.take(list.snapshot().await?),
    }
    Ok(())
}

async fn shop(root: &Persistency) -> Result<Mirror> {
    let (_store, list) = open(root).await?;
    let followers = ["bob", "eve"].map(|name| tokio::spawn(follow(list.clone(), name, "the last article")));

    list.set(article("milk", 1, "ada")).await?;
    list.set(article("bread", 1, "ada")).await?;
    list.set(article("milk", 2, "bob")).await?; // the last arrival wins, as a whole
    list.delete("bread").await?;
    // Who builds on what is there says so: it is read, changed, and set if nobody was faster.
    let more = |milk: Option<Article>| milk.map(|milk| Article { count: milk.count + 1, ..milk });
    list.update("milk", more).await?;
    list.set(article("the last article", 1, "ada")).await?;

    let mut mirrors = Vec::new();
    for follower in followers {
        mirrors.push(follower.await.expect("a follower does not panic")?);
    }
    assert_eq!(mirrors[0], mirrors[1]);
    assert_eq!(mirrors[0].articles["milk"], article("milk", 3, "bob"));
    println!("bob and eve see {:?} at seq {}", mirrors[0].articles.keys(), mirrors[0].seq);
    Ok(mirrors.remove(0))
}

/// Takes part in the pool until it has converged; returns how many photographs this member has then.
async fn take_part(mut member: Member<Bytes>, own: Vec<Vec<u8>>) -> Result<usize> {
    let mut album = own.clone();
    member.merge(&own).await?;
    loop {
        match member.next().await {
            Some(Ok(PoolUpdate::Items(items))) => {
                let ids: Vec<_> = items.iter().map(|item| item.id).collect();
                album.extend(items.into_iter().map(|item| item.data));
                // Only now that they are in the album: what is not acknowledged is told again.
                member.acknowledge(&ids).await?;
            }
            Some(Ok(PoolUpdate::Converged { round })) => {
                println!("{}: {} photographs after round {round}", member.name(), album.len());
                return Ok(album.len());
            }
            Some(Err(error)) => return Err(error),
            other => panic!("the pool has not ended: {other:?}"),
        }
    }
}

async fn bring_together(root: &Persistency) -> Result<()> {
    let (store, _list) = open(root).await?;
    // An id of its own, which a link can carry; gone after an hour, whatever happens.
    let pool: Pool<Bytes> = store.pool("", PoolOptions::temporary().members_needed(3)).await?;
    let mut members = Vec::new();
    for name in ["ada", "bob", "eve"] {
        members.push(pool.join(name).await?);
    }
    let photographs = |first: u8| (first..first + 40).map(|n| vec![n; 1000]).collect::<Vec<_>>();
    let parts = members.into_iter().zip([0, 20, 40]);
    let parts: Vec<_> =
        parts.map(|(member, first)| tokio::spawn(take_part(member, photographs(first)))).collect();
    for part in parts {
        assert_eq!(part.await.expect("a member does not panic")?, 80, "each has each once");
    }
    assert_eq!(pool.info().await?.items, 0);
    assert_eq!(store.purge_expired().await?.pools, 0, "not yet");
    Ok(())
}

async fn next_day(directory: &Path, mut mirror: Mirror) -> Result<()> {
    let root = Persistency::open(directory)?;
    let (store, list) = open(&root).await?;
    let janitor = store.start_janitor(Duration::from_secs(60))?;
    let before = mirror.seq;
    let bread = list.set(article("bread", 1, "eve")).await?;
    assert_eq!(bread.seq, before + 1, "the sequence goes on where it was");
    list.delete("milk").await?;
    catch_up(&list, &mut mirror).await?;
    assert_eq!(Vec::from_iter(mirror.articles.keys()), ["bread", "the last article"]);
    println!("bob has missed {} changes and knows them now", mirror.seq - before);
    janitor.stop().await;
    root.close().await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = Persistency::open(directory.path())?;
    let mirror = shop(&root).await?;
    bring_together(&root).await?;
    root.close().await?; // also makes everything durable
    next_day(directory.path(), mirror).await?;
    Ok(())
}
