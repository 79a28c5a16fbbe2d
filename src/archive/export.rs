//! A whole job as bytes, without a store: the objects of an archive, one after another.
//!
//! Never holds more than one object in memory. An export is, repeated to its end, the length of an object in
//! 8 bytes, big-endian, and the object: the rows of a base, the segments behind it up to where it ends, and
//! last the base's mark, which says that everything is there.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::limits::LOG_HOLDER_WHILE_OPEN;
use crate::persistency::{Filling, Persistency};
use crate::spawn::spawn;
use crate::watch::{LogReader, Position, WatchItem};

use super::base::{Taking, begins_empty};
use super::format::{
    ArchiveName, BaseMark, BasePiece, Builder, Kind, LifeNames, Segment, SegmentMark, chain_start, kind_of,
};
use super::options::ArchiveOptions;
use super::restore::{Restored, Writer};
use super::store::{Put, Store};

/// Bytes of a segment, one commit excepted.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of an object that an import takes at most: far above what a segment with the largest batch has.
const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;
const LENGTH_BYTES: usize = 8;

/// A job on its way out, see [`Job::export`](crate::Job::export).
pub struct Export {
    job: Job,
    generation: [u8; 16],
    names: LifeNames,
    holder: String,
    stage: Stage,
}

enum Stage {
    Rows(Box<Taking>),
    /// The builder keeps what has been read when a call is dropped in between.
    Commits {
        mark: BaseMark,
        log: Box<LogReader>,
        builder: Box<Builder>,
        seq: u64,
    },
    Done,
}

/// Keeps what is put, for the next call to hand out.
#[derive(Default)]
struct Sink(Mutex<VecDeque<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

#[async_trait]
impl Store for Sink {
    async fn put_new(&self, _name: &str, bytes: &[u8]) -> Result<Put> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(bytes.to_vec());
        Ok(Put::Created)
    }

    async fn get(&self, _name: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    async fn list(&self, _prefix: &str, _from: &str, _limit: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn delete(&self, _name: &str) -> Result<()> {
        Ok(())
    }
}

impl Job {
    /// Exports the job as it is at a moment before the export ends, while it goes on being written.
    ///
    /// The commit log is held until the export is through or dropped. Where the process dies before, it is held
    /// until the job is opened again; in browsers, until it is by a tab that is the only one. Without Web Locks a
    /// tab does not know of others: opening the job there ends their exports with an error.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the job is open for reading only; `TooLarge` if the log has too many holders.
    pub async fn export(&self) -> Result<Export> {
        self.check_writable("export")?;
        let random = getrandom::u64().map_err(|error| Error::new(ErrorKind::Backend, error.to_string()))?;
        let holder = format!("{LOG_HOLDER_WHILE_OPEN}export-{random:016x}");
        // From here on the log is let go of in any case.
        let mut export = Export {
            job: self.clone(),
            generation: [0; 16],
            names: ArchiveName::new("export")?.of(&[0; 16]),
            holder,
            stage: Stage::Done,
        };
        let from = self.hold_log(&export.holder).await?;
        export.generation = self.position().await?.generation;
        let is_empty = begins_empty(self, from).await?;
        export.stage = Stage::Rows(Box::new(Taking::new(export.generation, (from, None, 0), is_empty)));
        Ok(export)
    }
}

impl Export {
    /// The next bytes, some megabytes at most but for a large payload; `None` when it is through, and
    /// after an error.
    ///
    /// # Errors
    ///
    /// Those of reading the job.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>>> {
        let next = self.object().await;
        if !matches!(next, Ok(Some(_))) {
            self.stage = Stage::Done;
        }
        let framed = |object: Vec<u8>| [&(object.len() as u64).to_be_bytes()[..], &object].concat();
        let id = Quoted(self.job.id());
        next.map_err(|error| error.in_context(format_args!("job {id}, export")))
            .transpose()
            .map(|next| next.map(framed))
    }

    async fn object(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            match &mut self.stage {
                Stage::Done => return Ok(None),
                Stage::Rows(taking) => {
                    let sink = Sink::default();
                    match taking.step(&self.job, &sink, &self.names, &ArchiveOptions::default()).await? {
                        None => return Ok(sink.take()),
                        Some(mark) => {
                            let position = Position { generation: self.generation, seq: mark.from };
                            let log = Box::new(self.job.log_from(position).await?);
                            let builder = Builder::new(Kind::History, self.generation, mark.chain);
                            let (builder, seq) = (Box::new(builder), mark.from);
                            self.stage = Stage::Commits { mark, log, builder, seq };
                        }
                    }
                }
                Stage::Commits { mark, log, builder, seq } => {
                    while *seq < mark.to && builder.bytes() < SEGMENT_BYTES {
                        let gone = || Error::new(ErrorKind::Backend, "the log has been released");
                        let WatchItem::Commit(commit) = log.next().await.ok_or_else(gone)?? else {
                            return Err(gone());
                        };
                        builder.push(&commit);
                        *seq = commit.seq;
                    }
                    if let Some(sealed) = builder.seal() {
                        return Ok(Some(sealed.bytes));
                    }
                    let last = mark.encode();
                    self.job.release_log(&self.holder).await?;
                    self.stage = Stage::Done;
                    return Ok(Some(last));
                }
            }
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let (job, holder) = (self.job.clone(), self.holder.clone());
        // Fine if it has been released already. Where no task can be started, the next export cannot either.
        let released = spawn("export", move || async move {
            if let Err(error) = job.release_log(&holder).await {
                log::warn!("the log is still held by an export that has ended: {error}");
            }
        });
        if let Err(error) = released {
            log::warn!("the log is still held by an export that has ended: {error}");
        }
    }
}

/// A job on its way in, see [`Persistency::import_job`].
pub struct Import {
    filling: Filling,
    writer: Writer<fn(super::RestoreProgress)>,
    /// Bytes of an object that has not come whole yet.
    buffer: Vec<u8>,
    /// The generation and the chains, once the first object has told them.
    rows: Option<([u8; 16], u64)>,
    pieces: Vec<BasePiece>,
    row_count: u64,
    history: Option<SegmentMark>,
    first: Option<SegmentMark>,
    end: Option<BaseMark>,
}

impl Persistency {
    /// Begins a job that is to be filled with what [`Job::export`](crate::Job::export) has written. There is
    /// no such job before [`Import::finish`]; if that never comes there never is one.
    ///
    /// # Errors
    ///
    /// `Conflict` if there is such a job already; else those of opening one.
    pub async fn import_job(&self, id: &str) -> Result<Import> {
        let filling = self.fill_job(id).await?;
        let nothing: fn(super::RestoreProgress) = |_| {};
        Ok(Import {
            writer: Writer::new(filling.job().clone(), nothing, 0),
            filling,
            buffer: Vec::new(),
            rows: None,
            pieces: Vec::new(),
            row_count: 0,
            history: None,
            first: None,
            end: None,
        })
    }
}

impl Import {
    /// Takes the next bytes of the export, cut anywhere.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are no export, or damaged; `VersionTooNew`; and those of writing.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend(bytes);
        let mut taken = 0;
        while let Some((length, rest)) = self.buffer[taken..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u64::from_be_bytes(*length);
            if length > OBJECT_BYTES_MAX {
                return Err(damaged("an object is larger than any can be"));
            }
            // Within what an address can be, as just checked.
            let length = length as usize;
            if rest.len() < length {
                break;
            }
            let object = rest[..length].to_vec();
            taken += LENGTH_BYTES + length;
            self.take(&object).await?;
        }
        self.buffer.drain(..taken);
        Ok(())
    }

    /// Gives the import up: nothing is left of the job. Dropping it does the same in the background.
    ///
    /// # Errors
    ///
    /// Those of deleting it.
    pub async fn abandon(self) -> Result<()> {
        self.filling.abandon().await
    }

    /// Ends the import: the job is there, durable and closed, as it was exported.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the export is not complete; and those of writing. There is no job then.
    pub async fn finish(mut self) -> Result<Restored> {
        let filled = match (&self.end, self.buffer.is_empty()) {
            (Some(end), true) => Ok(Restored { generation: end.generation, seq: end.to }),
            _ => Err(damaged("the export ends early")),
        };
        let filled = match filled {
            Ok(restored) => self.writer.flush().await.map(|()| restored),
            Err(error) => Err(error),
        };
        match filled {
            Ok(restored) => self.filling.finish().await.map(|()| restored),
            Err(error) => {
                self.filling.abandon().await.ok();
                Err(error)
            }
        }
    }

    async fn take(&mut self, object: &[u8]) -> Result<()> {
        if self.end.is_some() {
            return Err(damaged("something follows its end"));
        }
        match kind_of(object) {
            Some(Kind::Rows) if self.history.is_none() => self.take_rows(object).await,
            Some(Kind::History) => self.take_commits(object).await,
            _ => self.take_end(object),
        }
    }

    async fn take_rows(&mut self, object: &[u8]) -> Result<()> {
        let Segment { mark, commits } = Segment::decode(Kind::Rows, object)?;
        // How the first one begins is checked against the mark at the end.
        let follows =
            self.pieces.last().map_or(0, |last| last.last_record).checked_add(1) == Some(mark.first_seq);
        if !follows || self.rows.is_some_and(|rows| rows != (mark.generation, mark.chain_before)) {
            return Err(damaged("rows do not follow what is before them"));
        }
        if self.rows.is_none() {
            self.first = Some(mark.clone());
        }
        self.rows = Some((mark.generation, mark.chain_after));
        self.pieces.push(BasePiece {
            last_record: mark.last_seq,
            bytes: mark.bytes,
            checksum: mark.checksum,
        });
        for page in &commits {
            self.row_count += page.operations.len() as u64;
            self.writer.take(page).await?;
        }
        Ok(())
    }

    async fn take_commits(&mut self, object: &[u8]) -> Result<()> {
        let Segment { mut mark, commits } = Segment::decode(Kind::History, object)?;
        if let Some(before) = &self.history {
            let follows = before.generation == mark.generation
                && before.chain_after == mark.chain_before
                && before.last_seq.checked_add(1) == Some(mark.first_seq);
            if !follows {
                return Err(damaged("commits do not follow what is before them"));
            }
            (mark.first_seq, mark.chain_before) = (before.first_seq, before.chain_before);
        }
        self.history = Some(mark);
        for commit in &commits {
            self.writer.take(commit).await?;
        }
        Ok(())
    }

    /// The mark at the end says what has to have been there.
    fn take_end(&mut self, object: &[u8]) -> Result<()> {
        let end = BaseMark::decode(object)?;
        let rows_begin = chain_start(Kind::Rows, &end.generation, end.from);
        let rows_fit = self
            .first
            .as_ref()
            .is_none_or(|first| first.generation == end.generation && first.chain_before == rows_begin);
        let history_fits = match &self.history {
            None => end.from == end.to,
            Some(all) => {
                (all.generation, all.chain_before) == (end.generation, end.chain)
                    && (Some(all.first_seq), all.last_seq) == (end.from.checked_add(1), end.to)
            }
        };
        if !rows_fit || !history_fits || self.pieces != end.pieces || self.row_count != end.rows {
            return Err(damaged("something is missing in it"));
        }
        self.end = Some(end);
        Ok(())
    }
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the export is damaged: {what}"))
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("job", &self.job.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("job", &self.filling.job().id()).finish_non_exhaustive()
    }
}
