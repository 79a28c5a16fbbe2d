//! What the npm package's Web Worker calls: one [`Host`] for one root, frames of calls in, frames of answers out.
//!
//! Decides nothing: every meaning is that of [`Persistency`] and [`Job`]. What crosses is bytes (see
//! [`wire`] and [`call`]), but for the first word of all (see [`convert`]).

mod call;
mod convert;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{AbortHandle, abortable};
use js_sys::{Function, Uint8Array};
use tokio::sync::watch;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use self::call::Call;
use self::wire::{Input, Kind, Output, malformed, pack_error, pack_items, pack_page, pack_payloads, range};
use crate::engine::{Found, Page, Query};
use crate::error::Result;
use crate::job::{Job, Weighed, payloads};
use crate::job_info::{JobInfo, JobStats};
use crate::limits;
use crate::options::{JobOptions, OpenMode};
use crate::persistency::Persistency;
use crate::range::Span;
use crate::record::{LogRetention, Record};
use crate::watch::{LogReader, Position, Watch, WatchItem};
use crate::worker::{LogChange, Progress, Read, Reading};

/// Bytes of answers that are collected before they are posted without waiting for more.
const OUTBOX_BYTES: usize = 1024 * 1024;
/// Set in an operation's byte if the call may be given up.
const MAY_CANCEL: u8 = 0x80;

/// What the worker says first.
#[wasm_bindgen]
pub fn hello() -> JsValue {
    convert::hello()
}

/// A [`Persistency`] behind frames.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Host {
    root: Rc<Root>,
}

#[wasm_bindgen]
impl Host {
    /// Opens the root; each frame of answers is given to `post`, in a buffer of its own.
    ///
    /// # Errors
    ///
    /// A packed error.
    #[wasm_bindgen(constructor)]
    pub fn new(name: &str, post: Function) -> Result<Host, JsValue> {
        let persistency =
            Persistency::open(name).map_err(|error| Uint8Array::from(pack_error(&error).as_slice()))?;
        let outbox = Outbox { post, waiting: RefCell::default() };
        let root = Root {
            persistency,
            outbox,
            jobs: Table::default(),
            streams: Table::default(),
            running: Table::default(),
        };
        Ok(Host { root: Rc::new(root) })
    }

    /// Carries out the calls of a frame in their order; false if the frame is none.
    pub fn receive(&self, frame: &[u8]) -> bool {
        let mut input = Input(frame);
        while !input.0.is_empty() {
            if self.root.start(&mut input).is_err() {
                return false;
            }
        }
        true
    }

    /// Closes the root in the background; nobody hears of it.
    pub fn leave(&self) {
        let root = Rc::clone(&self.root);
        spawn_local(async move { drop(root.persistency.close().await) });
    }
}

#[derive(Debug)]
struct Root {
    persistency: Persistency,
    outbox: Outbox,
    /// Open jobs by the numbers that the page gave them.
    jobs: Table<Job>,
    /// Watches and log readers by the numbers that the page gave them, while nobody reads from them.
    streams: Table<Stream>,
    /// Calls that may be given up, by their numbers.
    running: Table<AbortHandle>,
}

/// Something that yields commits.
#[derive(Debug)]
enum Stream {
    Watch(Watch),
    Log(LogReader),
}

impl Root {
    /// Starts the next call of a frame; an error if there is none.
    fn start(self: &Rc<Self>, input: &mut Input<'_>) -> Result<()> {
        let (number, operation) = (input.count()? as u32, input.byte()?);
        let (about, body) = (input.count()? as u32, input.bytes()?);
        let work = match Call::decode(operation & !MAY_CANCEL, body) {
            Ok(Call::Cancel) => {
                if let Some(running) = self.running.take(about) {
                    running.abort();
                }
                return Ok(());
            }
            Ok(call) => self.work(about, call),
            Err(error) => Err(error),
        };
        let work = match work {
            Ok(work) => work,
            Err(error) => {
                self.outbox.answer(number, Kind::Error, &pack_error(&error), self);
                return Ok(());
            }
        };
        let (work, handle) = abortable(Rc::clone(self).carry_out(about, work));
        if operation & MAY_CANCEL != 0 {
            self.running.insert(number, handle);
        }
        let root = Rc::clone(self);
        spawn_local(async move {
            // One that was given up is answered no more.
            let Ok(result) = work.await else { return };
            root.running.take(number);
            match result {
                Ok(Output(body)) => root.outbox.answer(number, Kind::Value, &body, &root),
                Err(error) => root.outbox.answer(number, Kind::Error, &pack_error(&error), &root),
            }
        });
        Ok(())
    }

    /// What there is to do, if the arguments are within their limits.
    fn work(&self, about: u32, call: Call<'_>) -> Result<Work> {
        let root = |what, id: &str| Ok(Work::Root { what, id: id.to_owned() });
        let stream = |what, stream| Ok(Work::Stream { what, stream });
        match call {
            Call::OpenJob { id, options } => root(OfRoot::OpenJob(options), id),
            Call::CloseJob { id } => root(OfRoot::CloseJob, id),
            Call::DropJob { id } => root(OfRoot::DropJob, id),
            Call::ListJobs => root(OfRoot::ListJobs, ""),
            Call::Close => root(OfRoot::Close, ""),
            // What is there to be done has been done where the call arrived.
            Call::Ping | Call::Cancel => Ok(Work::Nothing),
            Call::Watch { stream: number, from, category, span } => {
                stream(OfStream::Watch(self.job(about)?, from, category.to_owned(), span), number)
            }
            Call::LogFrom { stream: number, from } => {
                stream(OfStream::LogFrom(self.job(about)?, from), number)
            }
            Call::Next { stream: number } => {
                // Held by this call, so that giving the call up ends the stream.
                stream(OfStream::Next(self.streams.take(number).ok_or_else(malformed)?), number)
            }
            Call::End { stream } => {
                drop(self.streams.take(stream));
                Ok(Work::Nothing)
            }
            call => {
                let job = self.job(about)?;
                Ok(Work::Ask(question(&job, call)?, job))
            }
        }
    }

    async fn carry_out(self: Rc<Self>, about: u32, work: Work) -> Result<Output> {
        let mut out = Output::default();
        match work {
            Work::Nothing => {}
            Work::Root { what, id } => self.carry_out_of_root(about, what, &id, &mut out).await?,
            Work::Stream { what, stream } => self.carry_out_of_stream(what, stream, &mut out).await?,
            Work::Ask(question, job) => ask(&job, question, &mut out).await?,
        }
        Ok(out)
    }

    async fn carry_out_of_root(
        self: &Rc<Self>,
        about: u32,
        what: OfRoot,
        id: &str,
        out: &mut Output,
    ) -> Result<()> {
        match what {
            OfRoot::OpenJob(options) => {
                let job = self.persistency.open_tenant(id, options).await?;
                let Position { generation, seq } = job.position().await?;
                out.raw(&generation).number(seq).number(job.durable_seq());
                spawn_local(Rc::clone(self).follow(about, job.link().progress()));
                self.jobs.insert(about, job);
            }
            OfRoot::CloseJob => self.persistency.close_job(id).await?,
            OfRoot::DropJob => self.persistency.drop_job(id).await?,
            OfRoot::ListJobs => drop(out.strings(&self.persistency.list_jobs().await?)),
            OfRoot::Close => self.persistency.close().await?,
        }
        Ok(())
    }

    async fn carry_out_of_stream(&self, what: OfStream, number: u32, out: &mut Output) -> Result<()> {
        let opened = match what {
            OfStream::Watch(job, from, category, span) => {
                Stream::Watch(job.start_watch(from, &category, span).await?)
            }
            OfStream::LogFrom(job, from) => Stream::Log(job.log_from(from).await?),
            OfStream::Next(mut held) => {
                if let Some(item) = held.next().await {
                    let mut items = vec![item?];
                    while let Some(item) = held.try_next() {
                        items.push(item);
                    }
                    pack_items(out, &items, held.position().seq);
                    self.streams.insert(number, held);
                }
                return Ok(());
            }
        };
        pack_position(out, opened.position());
        self.streams.insert(number, opened);
        Ok(())
    }

    /// Tells how far a job has come until it ends.
    async fn follow(self: Rc<Self>, number: u32, mut progress: watch::Receiver<Progress>) {
        loop {
            let Progress { committed_seq, durable_seq, end, .. } = progress.borrow_and_update().clone();
            let mut out = Output::default();
            out.number(committed_seq).number(durable_seq);
            self.outbox.answer(number, Kind::Progress, &out.0, &self);
            if let Some(end) = end {
                self.outbox.answer(number, Kind::Ended, &pack_error(&end.afterwards), &self);
                break;
            }
            if progress.changed().await.is_err() {
                break;
            }
        }
        self.jobs.take(number);
    }

    fn job(&self, number: u32) -> Result<Job> {
        self.jobs.get(number).ok_or_else(malformed)
    }
}

/// What a call has to be done, with all that it takes.
enum Work {
    Nothing,
    Root { what: OfRoot, id: String },
    Stream { what: OfStream, stream: u32 },
    Ask(Question, Job),
}

/// Work on a root, most of it about a job's id.
enum OfRoot {
    /// Under the number that the call is about.
    OpenJob(Option<JobOptions>),
    CloseJob,
    DropJob,
    ListJobs,
    Close,
}

/// Work on a stream.
enum OfStream {
    Watch(Job, Option<Position>, String, Span),
    LogFrom(Job, Position),
    Next(Stream),
}

/// What a call asks of a job's worker.
enum Question {
    Read {
        read: Read,
        category: Option<Arc<str>>,
        operation: &'static str,
        as_position: bool,
    },
    Task {
        weighed: Weighed,
        operation: &'static str,
    },
    /// Nothing: the answer is known.
    Answered(Found),
    Flush,
    Durable(u64),
    Stats,
}

/// What the call asks of the job's worker, if its arguments are within their limits.
fn question(job: &Job, call: Call<'_>) -> Result<Question> {
    let read = |read, operation| {
        Ok(Question::Read { read, category: None, operation, as_position: operation == "position" })
    };
    let ask = |query, whole, category: &str, operation| {
        let (read, category) = (Read::Ask { query, whole }, Some(Arc::from(category)));
        Ok(Question::Read { read, category, operation, as_position: false })
    };
    let task = |weighed, operation| Ok(Question::Task { weighed, operation });
    match call {
        Call::Apply { report_existed, batch } => {
            task(job.batch_task(batch, report_existed, "persist")?, "persist")
        }
        Call::HoldLog { name } => {
            task(job.log_task(name, LogChange::Hold(name.to_owned()), "holdLog")?, "holdLog")
        }
        Call::AdvanceLog { name, seq } => {
            task(job.log_task(name, LogChange::Advance(name.to_owned(), seq), "advanceLog")?, "advanceLog")
        }
        Call::ReleaseLog { name } => {
            task(job.log_task(name, LogChange::Release(name.to_owned()), "releaseLog")?, "releaseLog")
        }
        Call::Get { presence_only, many, category, keys } => {
            let operation = match (presence_only, many) {
                (false, false) => "get",
                (false, true) => "getMany",
                (true, false) => "exists",
                (true, true) => "existsMany",
            };
            let points = job.points_query(category, keys, presence_only, operation)?;
            ask(points, true, category, operation)
        }
        Call::Count { category, span } => match job.count_query(category, span)? {
            Some(count) => ask(count, true, category, "count"),
            None => Ok(Question::Answered(Found::Count(0))),
        },
        Call::Scan { whole, reverse, keys_only, limit, category, span } => {
            let mut scan = job.scan(category, range(span)).limit(limit);
            if reverse {
                scan = scan.reverse();
            }
            if keys_only {
                scan = scan.keys_only();
            }
            match scan.query(whole)? {
                Some(page) => ask(page, whole, category, "scan"),
                None => Ok(Question::Answered(Found::Page(Page::default()))),
            }
        }
        Call::Categories => {
            let query = Query::Categories { bytes_max: limits::SCAN_BYTES_MAX };
            read(Read::Ask { query, whole: true }, "categories")
        }
        Call::Info => read(Read::Details, "info"),
        Call::Position => read(Read::Details, "position"),
        Call::Check => read(Read::Check, "check"),
        Call::Compact => {
            job.check_writable("compact")?;
            read(Read::Compact, "compact")
        }
        Call::Flush => Ok(Question::Flush),
        Call::Durable { seq } => Ok(Question::Durable(seq)),
        Call::Stats => Ok(Question::Stats),
        // The others are about no job's worker.
        _ => Err(malformed()),
    }
}

/// Has the job's worker answer.
async fn ask(job: &Job, question: Question, out: &mut Output) -> Result<()> {
    match question {
        Question::Read { read, category, operation, as_position } => {
            let reading = job.link().read(read).await;
            let packed = reading.and_then(|reading| pack_reading(out, job, reading, as_position));
            packed.map_err(|error| job.explain(error, category.as_deref(), operation))?;
        }
        Question::Task { weighed, operation } => {
            let (seq, existed) = job.carry_out(weighed, operation).await?;
            out.number(seq).flag(existed);
        }
        Question::Answered(found) => pack_reading(out, job, Reading::Found(found), false)?,
        Question::Flush => job.flush().await?,
        Question::Durable(seq) => job.link().durable(seq).await?,
        Question::Stats => pack_stats(out, job.stats()),
    }
    Ok(())
}

fn pack_reading(out: &mut Output, job: &Job, reading: Reading, as_position: bool) -> Result<()> {
    match reading {
        Reading::Found(Found::Page(page)) => *out = Output(pack_page(&page.rows, page.more)),
        Reading::Found(Found::Count(count)) => drop(out.number(count)),
        Reading::Found(Found::Categories(strings)) | Reading::Damage(strings) => drop(out.strings(&strings)),
        Reading::Found(found) => *out = Output(pack_payloads(&payloads(found)?)),
        Reading::Details(details) if as_position => {
            let Record { generation, committed_seq, .. } = *details.record;
            pack_position(out, Position { generation, seq: committed_seq });
        }
        Reading::Details(details) => pack_info(out, &job.info_of(details)),
        // Watches and the log read commits, through their streams.
        Reading::Commits(_) | Reading::Compacted => {}
    }
    Ok(())
}

impl Stream {
    async fn next(&mut self) -> Option<Result<WatchItem>> {
        match self {
            Stream::Watch(watch) => watch.next().await,
            Stream::Log(log) => log.next().await,
        }
    }

    fn try_next(&mut self) -> Option<WatchItem> {
        match self {
            Stream::Watch(watch) => watch.try_next(),
            Stream::Log(log) => log.try_next(),
        }
    }

    fn position(&self) -> Position {
        match self {
            Stream::Watch(watch) => watch.position(),
            Stream::Log(log) => log.position(),
        }
    }
}

/// Answers on their way out. Those of one turn of the event loop leave in one frame.
#[derive(Debug)]
struct Outbox {
    post: Function,
    waiting: RefCell<Output>,
}

impl Outbox {
    fn answer(&self, number: u32, kind: Kind, body: &[u8], root: &Rc<Root>) {
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.0.is_empty();
        waiting.answer(number, kind, body);
        let full = waiting.0.len() >= OUTBOX_BYTES;
        drop(waiting);
        if full {
            self.send();
        } else if first {
            let root = Rc::clone(root);
            spawn_local(async move { root.outbox.send() });
        }
    }

    fn send(&self) {
        let frame = self.waiting.take().0;
        if !frame.is_empty() {
            // Where posting fails nobody is left who could be told.
            drop(self.post.call1(&JsValue::NULL, &Uint8Array::from(frame.as_slice())));
        }
    }
}

/// Few things by number.
#[derive(Debug)]
struct Table<T>(RefCell<Vec<(u32, T)>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table(RefCell::default())
    }
}

impl<T> Table<T> {
    fn insert(&self, number: u32, value: T) {
        self.0.borrow_mut().push((number, value));
    }

    fn take(&self, number: u32) -> Option<T> {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|(of, _)| *of == number)?;
        Some(all.swap_remove(at).1)
    }
}

impl<T: Clone> Table<T> {
    fn get(&self, number: u32) -> Option<T> {
        self.0.borrow().iter().find(|(of, _)| *of == number).map(|(_, value)| value.clone())
    }
}

fn pack_position(out: &mut Output, position: Position) {
    out.raw(&position.generation).number(position.seq);
}

/// Generation (16), creation time, committed and durable seq, a flag for shared, the mode (0 create, 1 must
/// exist, 2 read only), a flag and the bytes, a flag and the log's last bytes, the log's first seq, and the
/// holders to the end, each a string and a seq. Numbers have 8 bytes.
fn pack_info(out: &mut Output, info: &JobInfo) {
    out.raw(&info.generation).number(info.created_ms).number(info.committed_seq).number(info.durable_seq);
    out.flag(info.shared).byte(match info.mode {
        OpenMode::Create => 0,
        OpenMode::MustExist => 1,
        OpenMode::ReadOnly => 2,
    });
    out.flag(info.bytes.is_some()).number(info.bytes.unwrap_or(0));
    let last_bytes = match info.log {
        LogRetention::Off => None,
        LogRetention::LastBytes(bytes) => Some(bytes),
    };
    out.flag(last_bytes.is_some()).number(last_bytes.unwrap_or(0)).number(info.log_first_seq);
    for (name, seq) in &info.log_holders {
        out.bytes(name.as_bytes()).number(*seq);
    }
}

fn pack_stats(out: &mut Output, stats: JobStats) {
    out.number(stats.queued_operations as u64).number(stats.queued_bytes as u64);
    out.number(stats.batches_committed).number(stats.batches_failed);
    out.number(stats.groups).number(stats.syncs).number(stats.reads);
}
