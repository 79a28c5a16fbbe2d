//! Facts about memory: of a job that is shipped, checked or restored there is a piece of bounded size at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use futures_util::future::poll_fn;
use persistency::archive::{ArchiveReader, MemoryStore, Put, RestoreProgress, RestoreTo, Store};
use persistency::{Job, Result};

use super::{attach_with, on_demand, options, reader};
use crate::common::{TestRoot, k};

facts! {
    in_memory:
        a_base_is_shipped_and_checked_piece_by_piece,
        a_history_is_shipped_and_checked_piece_by_piece,
        a_restore_has_read_little_more_than_it_has_written,
        an_export_comes_in_pieces;
}

const ROWS: usize = 320;
const PAYLOAD_BYTES: usize = 40_000;
const CUT_BYTES: u64 = 100_000;
/// Bytes of an object besides what it is cut at: its frame, and what is around rows.
const FRAME_BYTES: usize = 10_000;
/// Bytes of a base's object: whoever takes one adds pages until it is full.
const BASE_PIECE_BYTES: usize = CUT_BYTES as usize + PAGE_BYTES + FRAME_BYTES;
const PAGE_BYTES: usize = 1024 * 1024;
/// Bytes of rows in one piece of an export, unless a page is more than what is left.
const EXPORTED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that a restore writes at one time.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Counts what is put and got.
#[derive(Clone, Default)]
struct Counting {
    store: MemoryStore,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    objects: AtomicUsize,
    largest: AtomicUsize,
    under_way: AtomicUsize,
    under_way_most: AtomicUsize,
    read: AtomicUsize,
}

impl Counting {
    /// A call with an object of so many bytes, after others have had their chance to begin as well.
    async fn object<T>(&self, bytes: usize, call: impl Future<Output = T>) -> T {
        let counts = &self.counts;
        counts.objects.fetch_add(1, Ordering::Relaxed);
        counts.largest.fetch_max(bytes, Ordering::Relaxed);
        let under_way = counts.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        counts.under_way_most.fetch_max(under_way, Ordering::Relaxed);
        give_way().await;
        let done = call.await;
        counts.under_way.fetch_sub(1, Ordering::Relaxed);
        done
    }

    /// Whether there were many objects of at most so many bytes, one at a time.
    #[track_caller]
    fn assert_pieces(&self, bytes_max: usize) {
        let [objects, largest, at_once] =
            [&self.counts.objects, &self.counts.largest, &self.counts.under_way_most]
                .map(|count| count.swap(0, Ordering::Relaxed));
        assert!(objects > ROWS * PAYLOAD_BYTES / bytes_max, "{objects} objects");
        assert!(largest <= bytes_max, "an object of {largest} bytes");
        assert_eq!(at_once, 1);
    }
}

#[async_trait]
impl Store for Counting {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.object(bytes.len(), self.store.put_new(name, bytes)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let object = self.store.get(name).await?;
        let bytes = object.as_ref().map_or(0, Vec::len);
        self.counts.read.fetch_add(bytes, Ordering::Relaxed);
        self.object(bytes, async { Ok(object) }).await
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        self.store.list(prefix, from, limit).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.store.delete(name).await
    }
}

async fn give_way() {
    let mut has_been_polled = false;
    poll_fn(|context| match std::mem::replace(&mut has_been_polled, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Puts rows that do not compress, several pages and batches of a restore.
async fn fill(job: &Job) {
    let mut state = 1u64;
    for n in 0..ROWS as u32 {
        let byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let payload: Vec<u8> = std::iter::repeat_with(byte).take(PAYLOAD_BYTES).collect();
        job.persist_put("m", k(n.to_be_bytes()), payload).await.unwrap();
    }
}

async fn a_base_is_shipped_and_checked_piece_by_piece(root: &TestRoot) {
    let (job, store) = (root.job().await, Counting::default());
    fill(&job).await;
    let cut = on_demand().bytes(CUT_BYTES);
    attach_with(&job, &store, options().cut(cut)).await.unwrap().close().await.unwrap();
    store.assert_pieces(BASE_PIECE_BYTES);
    assert_eq!(reader(&store).await.verify().await.unwrap().rows, ROWS as u64);
    store.assert_pieces(BASE_PIECE_BYTES);
}

async fn a_history_is_shipped_and_checked_piece_by_piece(root: &TestRoot) {
    let (job, store) = (root.job().await, Counting::default());
    shipped(&job, &store).await;
    // The commit that reaches the bound is in it.
    let segment = CUT_BYTES as usize + PAYLOAD_BYTES + FRAME_BYTES;
    store.assert_pieces(segment);
    assert_eq!(reader(&store).await.verify().await.unwrap().commits, ROWS as u64);
    store.assert_pieces(segment);
}

/// Ships each commit of a job that is filled.
async fn shipped(job: &Job, store: &Counting) {
    let cut = on_demand().bytes(CUT_BYTES);
    let archive = attach_with(job, store, options().cut(cut)).await.unwrap();
    archive.ship().await.unwrap();
    fill(job).await;
    archive.close().await.unwrap();
}

async fn a_restore_has_read_little_more_than_it_has_written(root: &TestRoot) {
    let (p, store) = (root.open(), Counting::default());
    let base = p.open_job("base").await.unwrap();
    fill(&base).await;
    let history = p.open_job("history").await.unwrap();
    shipped(&history, &store).await;
    let cut = on_demand().bytes(CUT_BYTES);
    let named = options().name("rows").cut(cut);
    attach_with(&base, &store, named).await.unwrap().close().await.unwrap();
    for name in ["rows", "backup"] {
        let reader = ArchiveReader::open(Arc::new(store.clone()), name).await.unwrap();
        store.counts.read.store(0, Ordering::Relaxed);
        let (mut most, mut written) = (0, 0);
        // Told when a batch has been written: until then what was written is what was told before.
        let told = |progress: RestoreProgress| {
            let read = store.counts.read.load(Ordering::Relaxed);
            most = most.max(read.saturating_sub(written));
            written = progress.rows.max(progress.seq) as usize * PAYLOAD_BYTES;
        };
        reader.restore(&p, "restored", RestoreTo::Latest, told).await.unwrap();
        p.drop_job("restored").await.unwrap();
        assert!((1..=2 * BASE_PIECE_BYTES + BATCH_BYTES).contains(&most), "{most} bytes of {name}");
    }
}

async fn an_export_comes_in_pieces(root: &TestRoot) {
    let job = root.job().await;
    fill(&job).await;
    let mut export = job.export().await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = export.next().await {
        pieces.push(piece.unwrap().len());
    }
    let largest = EXPORTED_BYTES + PAGE_BYTES + FRAME_BYTES;
    assert!(pieces.len() > 2 && pieces.iter().all(|bytes| *bytes <= largest), "{pieces:?}");
}
