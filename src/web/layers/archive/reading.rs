//! What lies on a server, for the page: segments, their commits, whether all is whole, and restoring.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{AbortHandle, abortable};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::{Mutex, watch};

use super::super::{Answer, Args, Object, check_next, no_method};
use super::fetch::Server;
use crate::archive::{
    ArchiveReader, RestoreProgress, RestoreTo, Restored, SegmentInfo, SegmentList, Verified,
};
use crate::error::{Error, ErrorKind, Result};
use crate::persistency::Persistency;
use crate::spawn::spawn_local;
use crate::watch::WatchItem;
use crate::web::wire::{Output, pack_items};

/// Segments that are told at one time.
const SEGMENTS_AT_ONCE: usize = 64;

/// Opens what a server has of a job: the server, the archive's name, and a generation, or a time in unix ms, if it is
/// not the last life.
///
/// # Errors
///
/// `InvalidArgument` for other arguments, and those of [`ArchiveReader::open`].
pub async fn open(root: &Persistency, args: Args<'_>) -> Result<Answer> {
    let (server, name, generation, time_ms): (Server, &str, Option<ByteBuf>, Option<u64>) = args.read()?;
    let server = Arc::new(server);
    let reader = match (generation, time_ms) {
        (None, None) => ArchiveReader::open(server, name).await?,
        (None, Some(ms)) => ArchiveReader::open_at(server, name, ms).await?,
        (Some(bytes), _) => {
            let other = |_| Error::new(ErrorKind::InvalidArgument, "a generation has 16 bytes");
            let generation = bytes.into_vec().try_into().map_err(other)?;
            ArchiveReader::open_generation(server, name, generation)?
        }
    };
    let generation = ByteBuf::from(reader.generation());
    Ok(Answer::value(&generation)?.with(Reader { reader, root: root.clone() }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SegmentOut {
    first_seq: u64,
    last_seq: u64,
    first_ms: u64,
    last_ms: u64,
    bytes: u64,
}

impl From<SegmentInfo> for SegmentOut {
    fn from(info: SegmentInfo) -> Self {
        let SegmentInfo { first_seq, last_seq, first_ms, last_ms, bytes, .. } = info;
        SegmentOut { first_seq, last_seq, first_ms, last_ms, bytes }
    }
}

#[derive(Serialize)]
struct VerifiedOut {
    bases: u64,
    rows: u64,
    segments: u64,
    commits: u64,
    bytes: u64,
    restorable: Vec<(u64, u64)>,
}

/// The moment whose rows are restored, as it crosses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum To {
    Latest,
    Seq(u64),
    TimeMs(u64),
}

impl From<To> for RestoreTo {
    fn from(to: To) -> Self {
        match to {
            To::Latest => RestoreTo::Latest,
            To::Seq(seq) => RestoreTo::Seq(seq),
            To::TimeMs(ms) => RestoreTo::Time(ms),
        }
    }
}

/// What was restored, as it crosses.
#[derive(Serialize)]
pub struct RestoredOut {
    #[serde(with = "serde_bytes")]
    generation: Vec<u8>,
    seq: u64,
}

impl From<Restored> for RestoredOut {
    fn from(restored: Restored) -> Self {
        RestoredOut { generation: restored.generation.to_vec(), seq: restored.seq }
    }
}

struct Reader {
    reader: ArchiveReader,
    root: Persistency,
}

#[async_trait(?Send)]
impl Object for Reader {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Reader { reader, root } = self;
        match method {
            "archivedSeq" => {
                args.none()?;
                Answer::value(&reader.archived_seq().await?)
            }
            "listSegments" => {
                let (until,): (u64,) = args.read()?;
                Ok(Answer::nothing().with(Segments(Mutex::new(reader.list_segments(until)))))
            }
            "findSegment" => {
                let (seq,): (u64,) = args.read()?;
                match reader.find_segment(seq).await? {
                    Some(info) => Answer::value(&SegmentOut::from(info)),
                    None => Ok(Answer::nothing()),
                }
            }
            "fetch" => {
                let (first_seq,): (u64,) = args.read()?;
                let found = reader.find_segment(first_seq).await?.filter(|info| info.first_seq == first_seq);
                let none = || Error::new(ErrorKind::InvalidArgument, "no segment begins with this seq");
                let commits = reader.fetch(&found.ok_or_else(none)?).await?;
                let items: Vec<WatchItem> = commits.into_iter().map(WatchItem::Commit).collect();
                let mut out = Output::default();
                pack_items(&mut out, &items, 0);
                Answer::value(&ByteBuf::from(out.0))
            }
            "verify" => {
                args.none()?;
                let Verified { bases, rows, segments, commits, bytes, restorable } = reader.verify().await?;
                Answer::value(&VerifiedOut { bases, rows, segments, commits, bytes, restorable })
            }
            "prune" => {
                let (oldest,): (To,) = args.read()?;
                let pruned = reader.prune(oldest.into()).await?;
                Answer::value(&(pruned.objects, pruned.first_seq))
            }
            "restore" => {
                let (id, to): (String, To) = args.read()?;
                Ok(Answer::nothing().with(Restoring::begin(reader.clone(), root.clone(), id, to.into())))
            }
            _ => Err(no_method(method)),
        }
    }
}

/// Segments, pulled some at a time.
struct Segments(Mutex<SegmentList>);

#[async_trait(?Send)]
impl Object for Segments {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let mut list = self.0.lock().await;
        let mut told: Vec<SegmentOut> = Vec::new();
        while told.len() < SEGMENTS_AT_ONCE {
            match list.next().await.transpose()? {
                Some(info) => told.push(info.into()),
                None => break,
            }
        }
        Answer::value(&told)
    }
}

/// A restore that is under way: what it has come to, and how it ended.
struct Restoring {
    news: Mutex<watch::Receiver<News>>,
    running: AbortHandle,
}

#[derive(Clone, Default)]
struct News {
    progress: Option<RestoreProgress>,
    ended: Option<Result<Restored>>,
}

/// What is told of it: progress, or at last what was restored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Told {
    Progress { rows: u64, rows_of: u64, seq: u64 },
    Restored(RestoredOut),
}

impl Restoring {
    fn begin(reader: ArchiveReader, root: Persistency, id: String, to: RestoreTo) -> Self {
        let (tell, news) = watch::channel(News::default());
        let (work, running) = abortable(async move {
            let progress = |progress| tell.send_modify(|news| news.progress = Some(progress));
            let ended = reader.restore(&root, &id, to, progress).await;
            tell.send_modify(|news| news.ended = Some(ended));
        });
        spawn_local(async move {
            work.await.ok();
        });
        Restoring { news: Mutex::new(news), running }
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // There is no job then; another restore of it goes on where this one was.
        self.running.abort();
    }
}

#[async_trait(?Send)]
impl Object for Restoring {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let mut news = self.news.lock().await;
        // Where the sender has gone it has said how it ended.
        drop(news.changed().await);
        let News { progress, ended } = news.borrow_and_update().clone();
        match (ended, progress) {
            (Some(ended), _) => Answer::value(&Told::Restored(ended?.into())),
            (None, Some(RestoreProgress { rows, rows_of, seq, .. })) => {
                Answer::value(&Told::Progress { rows, rows_of, seq })
            }
            (None, None) => Err(Error::new(ErrorKind::Closed, "the restore has been given up")),
        }
    }
}
