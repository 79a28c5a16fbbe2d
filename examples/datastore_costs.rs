//! What the layer `datastore` costs over the bare job: the same work through both, and the ratio.
//!
//! A collection of 100,000 records of 200 bytes beside a category with the same rows. Each line is the
//! mean of some rounds that alternate between the two, so that both see the same machine.
//!
//! `cargo run --release --example datastore_costs --features datastore,cli`

use std::future::Future;
use std::time::Instant;

use futures_util::future::join_all;
use persistency::datastore::{Bytes, Collection, CollectionOptions, Datastore, Since};
use persistency::{Batch, Job, Key, Persistency, Result};

const RECORDS: u32 = 100_000;
const BATCH: u32 = 1_000;

/// Keys in no order, as names are.
fn key(number: u32) -> Key {
    Key::from(number.wrapping_mul(2_654_435_761).to_be_bytes())
}

fn data(number: u32) -> Vec<u8> {
    vec![number as u8; 200]
}

struct Sides {
    bare: Job,
    store: Datastore,
    layer: Collection<Bytes>,
}

/// Seconds that the work takes.
async fn timed(work: impl Future<Output = Result<()>>) -> Result<f64> {
    #[allow(clippy::disallowed_methods, reason = "it measures")]
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed().as_secs_f64())
}

/// With every checkpoint that the writing brings.
fn mean(times: Vec<f64>) -> f64 {
    times.iter().sum::<f64>() / times.len() as f64
}

/// What both cost for each of so many operations, and the ratio.
fn report(name: &str, operations: u32, bares: Vec<f64>, layers: Vec<f64>) {
    let (bare, layer) = (mean(bares), mean(layers));
    let each = |time: f64| time * 1e6 / f64::from(operations);
    println!("{name:<40} {:>9.2} {:>9.2} {:>6.2}", each(bare), each(layer), layer / bare);
}

/// Measures both, turn about; `operations` is how many of what is named there are in each round.
async fn compare(
    name: &str,
    rounds: u32,
    operations: u32,
    bare: impl AsyncFn(u32) -> Result<()>,
    layer: impl AsyncFn(u32) -> Result<()>,
) -> Result<()> {
    let (mut bares, mut layers) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        bares.push(timed(bare(round)).await?);
        layers.push(timed(layer(round)).await?);
    }
    report(name, operations, bares, layers);
    Ok(())
}

/// Records in an order that looks like none and has each once; another one for another `pass`.
fn some(pass: usize, round: u32, of: u32) -> impl Iterator<Item = u32> {
    let step = u64::from([7_919u32, 104_729, 1_299_709, 15_485_863, 32_452_843][pass]);
    (0..of).map(move |n| (u64::from(round * of + n) * step % u64::from(RECORDS)) as u32)
}

async fn measure(sides: &Sides) -> Result<()> {
    let Sides { bare, store, layer } = sides;
    println!("{:<40} {:>9} {:>9} {:>6}", "microseconds for each", "bare", "layer", "ratio");
    // Other data in each pass: SQLite leaves a page alone on which a row gets the payload that it has, while
    // a set always takes a seq.
    let put = async |pass: usize, round| {
        let rows = some(pass, round, BATCH).map(|n| (key(n), data(n + pass as u32)));
        let batch = rows.fold(Batch::new(), |batch, (key, data)| batch.put("rows", key, data));
        bare.persist_acked(batch).await.map(drop)
    };
    let set = async |pass: usize, round| {
        layer.set_many(some(pass, round, BATCH).map(|n| (key(n), data(n + pass as u32)))).await.map(drop)
    };
    for (pass, name) in ["insert, 1,000 in a batch", "replace, 1,000 in a batch"].into_iter().enumerate() {
        let (put, set) = (async |round| put(pass, round).await, async |round| set(pass, round).await);
        compare(name, RECORDS / BATCH, BATCH, put, set).await?;
    }
    // Whoever has not written the records before has to read where they are.
    let put = async |round| put(2, round).await;
    let set = async |round| {
        let store = Datastore::new(store.job().clone());
        let Some(layer) = store.find_collection::<Bytes>(layer.id()).await? else { panic!("it is there") };
        layer.set_many(some(2, round, BATCH).map(|n| (key(n), data(n + 2)))).await.map(drop)
    };
    compare("the same, each by a new object", RECORDS / BATCH, BATCH, put, set).await?;

    let put = async |n: u32| bare.put_acked("rows", key(some(3, n, 1).sum()), data(n + 1)).await.map(drop);
    let set = async |n: u32| layer.set(key(some(3, n, 1).sum()), data(n + 1)).await.map(drop);
    compare("set, one after another", 10_000, 1, put, set).await?;

    let put = async |round| {
        let all = join_all(some(4, round, 1_000).map(|n| bare.put_acked("rows", key(n), data(n + 3)))).await;
        all.into_iter().try_for_each(|done| done.map(drop))
    };
    let set = async |round| {
        let all = join_all(some(4, round, 1_000).map(|n| layer.set(key(n), data(n + 3)))).await;
        all.into_iter().try_for_each(|done| done.map(drop))
    };
    compare("set, 1,000 callers at one time", 20, 1_000, put, set).await?;

    let get = async |round| {
        for n in some(4, round, 1_000) {
            assert!(bare.get("rows", key(n)).await?.is_some());
        }
        Ok(())
    };
    let read = async |round| {
        for n in some(4, round, 1_000) {
            assert!(layer.get(key(n)).await?.is_some());
        }
        Ok(())
    };
    compare("get", 100, 1_000, get, read).await?;

    let scan = async |_| {
        assert_eq!(bare.scan("rows", ..).await?.len(), RECORDS as usize);
        Ok(())
    };
    let changes = async |_| {
        let Since::Changes(all) = layer.changes_since(0).await? else { panic!("nothing is deleted") };
        assert_eq!(all.changes.len(), RECORDS as usize);
        Ok(())
    };
    compare("changes_since(0), whole", 12, RECORDS, scan, changes).await?;

    let scan = async |_| {
        let (mut pages, mut rows) = (bare.scan("rows", ..).stream(), 0);
        while let Some(page) = pages.next().await {
            rows += page?.len();
        }
        assert_eq!(rows, RECORDS as usize);
        Ok(())
    };
    let changes = async |_| {
        let (mut pages, mut rows) = (layer.pages_since(0), 0);
        while let Some(page) = pages.next().await {
            let Since::Changes(page) = page? else { panic!("nothing is deleted") };
            rows += page.changes.len();
        }
        assert_eq!(rows, RECORDS as usize);
        Ok(())
    };
    compare("changes_since(0), by pages", 12, RECORDS, scan, changes).await?;

    let seq = layer.info().await?.seq;
    // From the first row of the category on, so that there are so many.
    let some: Vec<Key> = (0..100u8).map(|begin| Key::from([begin])).collect();
    let scan = async |_| {
        for key in &some {
            bare.scan("rows", key..).limit(1_000).await?;
        }
        Ok(())
    };
    let changes = async |_| {
        for _ in 0..100 {
            layer.changes_since(seq - 1_000).await?;
        }
        Ok(())
    };
    compare("changes_since(the last 1,000)", 12, 100_000, scan, changes).await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = Persistency::open(directory.path())?;
    let bare = root.open_job("bare").await?;
    let store = Datastore::new(root.open_job("layer").await?);
    let layer = store.collection("records", CollectionOptions::permanent()).await?;
    measure(&Sides { bare, store, layer }).await?;
    root.close().await?;
    Ok(())
}
