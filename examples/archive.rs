//! Backups of a job: shipped to a directory while it is written, restored as it was before a mistake.
//!
//! `cargo run --example archive --features archive,cli`

use std::sync::Arc;

use persistency::archive::{Archive, ArchiveOptions, ArchiveReader, RestoreTo, Store};
use persistency::object_stores::ObjectStores;
use persistency::{Batch, Persistency, Result, key};

fn main() -> Result<()> {
    futures_executor::block_on(run())
}

async fn run() -> Result<()> {
    let place = std::env::temp_dir().join(format!("persistency-archive-{}", std::process::id()));
    // Anything that `object_store` reaches is a store: S3, GCS, Azure, or as here a directory.
    let store: Arc<dyn Store> = Arc::new(ObjectStores::directory(place.join("backups"))?);
    let p = Persistency::open(place.join("data"))?;
    let job = p.open_job("library").await?;

    // From now on what is durable is shipped in the background, by default every few minutes.
    let archive = Archive::attach(&job, Arc::clone(&store), ArchiveOptions::new()).await?;
    for (number, title) in (1i64..).zip(["Emma", "Middlemarch", "Ulysses"]) {
        job.persist_put("book", key!(number)?, title).await?;
    }
    let good = archive.ship().await?;
    println!("archived up to seq {good}");

    // The mistake.
    job.persist_acked(Batch::new().clear("book")).await?;
    archive.close().await?;
    println!("books now: {}", job.count("book", ..).await?);

    let reader = ArchiveReader::open(store, "library").await?;
    println!("sound, and restorable at seqs {:?}", reader.verify().await?.restorable);
    let restored = reader.restore(&p, "library-restored", RestoreTo::Seq(good), |_| {}).await?;
    let job = p.open_job("library-restored").await?;
    println!("books as of seq {}: {}", restored.seq, job.count("book", ..).await?);
    p.close().await?;
    std::fs::remove_dir_all(&place).ok();
    Ok(())
}
