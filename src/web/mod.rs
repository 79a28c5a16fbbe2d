//! What the npm package's Web Worker calls: roots by their numbers, frames of calls in, frames of answers out.
//!
//! Decides nothing: every meaning is that of [`Persistency`] and [`Job`]. What crosses is bytes (see
//! [`wire`] and [`call`]), but for the first word of all, a number.

mod call;
#[cfg(feature = "layers")]
mod layers;
mod question;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use wasm_bindgen::prelude::wasm_bindgen;

use self::call::Call;
use self::question::{Asking, Question, Said};
use self::wire::{
    Input, Kind, Output, PROTOCOL, malformed, pack_error, pack_items, pack_page, pack_payloads,
};
use crate::engine::Found;
use crate::error::Result;
use crate::job::{Job, done, payloads};
use crate::job_info::{JobInfo, JobStats};
use crate::limits;
use crate::options::{JobOptions, OpenMode};
use crate::persistency::Persistency;
use crate::range::Span;
use crate::record::{LogRetention, Record};
use crate::spawn::{give_up, spawn_local};
use crate::watch::{LogReader, Position, Watch, WatchItem};
use crate::worker::{Answered, Caller, Link, Progress, Reading};

/// Bytes of answers that are collected before they are posted without waiting for more.
const OUTBOX_BYTES: usize = 1024 * 1024;
/// Set in an operation's byte if the call may be given up.
const MAY_CANCEL: u8 = 0x80;

/// Weighs half of what the standard library's does, and joins what lies side by side as that one does.
#[global_allocator]
static MEMORY: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

thread_local! {
    /// The roots, by their numbers: a worker's answers can be sent between threads, a root cannot.
    static ROOTS: Table<Rc<Root>> = Table::default();
}

#[wasm_bindgen]
extern "C" {
    /// Who is given what goes back.
    #[derive(Debug)]
    pub type Page;

    /// Takes a frame of answers, in a buffer of its own.
    #[wasm_bindgen(method)]
    fn post(this: &Page, frame: Vec<u8>);

    /// Takes a packed error: there is no such root.
    #[wasm_bindgen(method)]
    fn refuse(this: &Page, error: Vec<u8>);
}

/// What the worker says first: the protocol's version.
#[wasm_bindgen]
pub fn hello() -> u32 {
    PROTOCOL
}

/// Opens the root of this name, in UTF-8, under this number, unless it is refused.
#[wasm_bindgen(js_name = openRoot)]
pub fn open_root(number: u32, name: &[u8], page: Page) {
    let persistency = match str::from_utf8(name).map_err(|_| malformed()).and_then(Persistency::open) {
        Ok(persistency) => persistency,
        Err(error) => return page.refuse(pack_error(&error)),
    };
    let root = Rc::new(Root {
        number,
        persistency,
        page,
        outbox: RefCell::default(),
        tenants: Table::default(),
        streams: Table::default(),
        running: Table::default(),
        orphans: RefCell::default(),
        #[cfg(feature = "layers")]
        objects: Rc::default(),
    });
    ROOTS.with(|roots| roots.insert(number, root));
}

/// Carries out the calls of a frame in their order; false if the frame is none.
#[wasm_bindgen(js_name = receiveFrame)]
pub fn receive_frame(root: u32, frame: &[u8]) -> bool {
    let Some(root) = ROOTS.with(|roots| roots.get(root)) else { return false };
    let mut input = Input(frame);
    while !input.0.is_empty() {
        if root.start(&mut input).is_err() {
            return false;
        }
    }
    true
}

/// Closes the root in the background; nobody hears of it.
#[wasm_bindgen(js_name = leaveRoot)]
pub fn leave_root(root: u32) {
    let Some(root) = ROOTS.with(|roots| roots.get(root)) else { return };
    spawn_local(async move {
        drop(root.persistency.close().await);
        ROOTS.with(|roots| roots.take(root.number));
    });
}

/// A [`Persistency`] behind frames.
#[derive(Debug)]
struct Root {
    number: u32,
    persistency: Persistency,
    page: Page,
    /// Answers on their way out. Those of one turn of the event loop leave in one frame.
    outbox: RefCell<Output>,
    /// Open jobs by the numbers that the page gave them.
    tenants: Table<Rc<Tenant>>,
    /// Watches and log readers by the numbers that the page gave them, while nobody reads from them.
    streams: Table<Stream>,
    /// Calls that may be given up, by their numbers, and the tasks of those that have one.
    running: Table<Option<u64>>,
    /// Calls under which their jobs end; answered when they have.
    orphans: RefCell<Vec<Asked>>,
    /// What layers have open without a job.
    #[cfg(feature = "layers")]
    objects: Rc<layers::Objects>,
}

/// An open job.
#[derive(Debug)]
struct Tenant {
    job: Job,
    /// How many of its calls, batches apart, its worker has been asked.
    asked: Cell<usize>,
    /// Further ones, which wait until others have been answered.
    waiting: RefCell<VecDeque<Waiting>>,
    /// What layers have open over it.
    #[cfg(feature = "layers")]
    objects: Rc<layers::Objects>,
}

/// A call that waits until its job's worker can be asked.
#[derive(Debug)]
struct Waiting {
    question: Question,
    asker: Asker,
    deadline: Option<u64>,
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
        let (may_cancel, operation) = (operation & MAY_CANCEL != 0, operation & !MAY_CANCEL);
        let begun = match operation {
            #[cfg(feature = "layers")]
            50 => self.call_layer(number, may_cancel, about, body),
            #[cfg(feature = "layers")]
            51 => self.objects(about).and_then(|(_, objects)| objects.leave(body)),
            _ if question::is_one(operation) => self.ask(number, may_cancel, about, operation, body),
            _ => Call::decode(operation, body).and_then(|call| self.begin(number, may_cancel, about, call)),
        };
        if let Err(error) = begun {
            self.answer(number, Kind::Error, &pack_error(&error));
        }
        Ok(())
    }

    /// Has a job's worker answer a call.
    fn ask(&self, number: u32, may_cancel: bool, about: u32, operation: u8, body: &[u8]) -> Result<()> {
        let tenant = self.tenant(about)?;
        let (question, said) = question::question(&tenant.job, operation, body)?;
        if may_cancel {
            self.running.insert(number, None);
        }
        let (root, job) = (self.number, tenant.job.clone());
        let counts = matches!(question, Question::Read(_) | Question::Sync(_));
        let asked = Asked { root, number, about, may_cancel, counts, job, said };
        tenant.ask(question, Asker(Some(asked)), counts);
        Ok(())
    }

    /// Begins a call if its arguments are within their limits.
    fn begin(self: &Rc<Self>, number: u32, may_cancel: bool, about: u32, call: Call<'_>) -> Result<()> {
        let root = |what, id: &str| Work::Root { what, id: id.to_owned() };
        let stream = |what, stream| Work::Stream { what, stream };
        let work = match call {
            Call::OpenJob { id, options } => root(OfRoot::OpenJob(options), id),
            Call::CloseJob { id } => root(OfRoot::CloseJob, id),
            Call::DropJob { id } => root(OfRoot::DropJob, id),
            Call::ListJobs => root(OfRoot::ListJobs, ""),
            Call::Close => root(OfRoot::Close, ""),
            Call::Watch { stream: number, from, category, span } => {
                stream(OfStream::Watch(self.tenant(about)?, from, category.to_owned(), span), number)
            }
            Call::LogFrom { stream: number, from } => {
                stream(OfStream::LogFrom(self.tenant(about)?, from), number)
            }
            Call::Next { stream: number } => {
                // Held by this call, so that giving the call up ends the stream.
                stream(OfStream::Next(self.streams.take(number).ok_or_else(malformed)?), number)
            }
            Call::Check => Work::Check(self.tenant(about)?),
            Call::Cancel => {
                if let Some(Some(task)) = self.running.take(about) {
                    give_up(task);
                }
                return Ok(());
            }
            Call::Ping | Call::End { .. } | Call::Stats => {
                let mut out = Output::default();
                match call {
                    Call::End { stream } => drop(self.streams.take(stream)),
                    Call::Stats => pack_stats(&mut out, self.tenant(about)?.job.stats()),
                    // Shows that the worker is alive, by being answered.
                    _ => {}
                }
                self.answer(number, Kind::Value, &out.0);
                return Ok(());
            }
        };
        self.run(number, may_cancel, Rc::clone(self).carry_out(about, work));
        Ok(())
    }

    /// Has a layer answer a call: see [`layers`].
    #[cfg(feature = "layers")]
    fn call_layer(self: &Rc<Self>, number: u32, may_cancel: bool, about: u32, body: &[u8]) -> Result<()> {
        let (owner, objects) = self.objects(about)?;
        self.run(number, may_cancel, objects.call(&owner, body)?);
        Ok(())
    }

    /// What layers have open over a job, or for 0 over the root.
    #[cfg(feature = "layers")]
    fn objects(&self, about: u32) -> Result<(layers::Owner, Rc<layers::Objects>)> {
        if about == 0 {
            return Ok((layers::Owner::Root(self.persistency.clone()), Rc::clone(&self.objects)));
        }
        let tenant = self.tenant(about)?;
        Ok((layers::Owner::Job(tenant.job.clone()), Rc::clone(&tenant.objects)))
    }

    /// Carries out a call that has to be awaited, and answers it.
    fn run(
        self: &Rc<Self>,
        number: u32,
        may_cancel: bool,
        work: impl Future<Output = Result<Output>> + 'static,
    ) {
        let root = Rc::clone(self);
        let task = spawn_local(async move {
            let result = work.await;
            root.running.take(number);
            match result {
                Ok(Output(body)) => root.answer(number, Kind::Value, &body),
                Err(error) => root.answer(number, Kind::Error, &pack_error(&error)),
            }
        });
        if may_cancel {
            self.running.insert(number, Some(task));
        }
    }

    async fn carry_out(self: Rc<Self>, about: u32, work: Work) -> Result<Output> {
        let mut out = Output::default();
        match work {
            Work::Root { what, id } => self.carry_out_of_root(about, what, &id, &mut out).await?,
            Work::Stream { what, stream } => self.carry_out_of_stream(what, stream, &mut out).await?,
            Work::Check(of) => drop(out.strings(&of.job.check().await?)),
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
                spawn_local(Rc::clone(self).follow(about, Arc::clone(job.link())));
                let tenant = Tenant {
                    job,
                    asked: Cell::new(0),
                    waiting: RefCell::default(),
                    #[cfg(feature = "layers")]
                    objects: Rc::default(),
                };
                self.tenants.insert(about, Rc::new(tenant));
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
            OfStream::Watch(of, from, category, span) => {
                Stream::Watch(of.job.start_watch(from, &category, span).await?)
            }
            OfStream::LogFrom(of, from) => Stream::Log(of.job.log_from(from).await?),
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
    async fn follow(self: Rc<Self>, number: u32, link: Arc<Link>) {
        let mut told = None;
        loop {
            let news = |progress: &Progress| {
                let now = Some((progress.committed_seq, progress.durable_seq));
                let end = progress.end.as_ref().map(|end| end.afterwards.clone());
                (now != told || end.is_some()).then_some((now, end))
            };
            let (now, end) = link.reach(news).await;
            told = now;
            let (committed, durable) = now.unwrap_or_default();
            let mut out = Output::default();
            out.number(committed).number(durable);
            self.answer(number, Kind::Progress, &out.0);
            if let Some(afterwards) = end {
                self.answer(number, Kind::Ended, &pack_error(&afterwards));
                break;
            }
        }
        self.tenants.take(number);
        for asked in self.orphans.take() {
            if Arc::ptr_eq(asked.job.link(), &link) {
                self.conclude(asked, Err(link.closed()));
            } else {
                self.orphans.borrow_mut().push(asked);
            }
        }
    }

    /// Answers what a job's worker was asked; whether that was still wanted.
    fn conclude(self: &Rc<Self>, asked: Asked, answer: Result<Answered>) -> bool {
        // One that was given up is answered no more.
        let wanted = !asked.may_cancel || self.running.take(asked.number).is_some();
        if wanted {
            let mut out = self.outbox.borrow_mut();
            let (start, body) = out.begin(asked.number, Kind::Value);
            if let Err(error) = asked.pack(answer, &mut out) {
                out.0.truncate(start);
                out.answer(asked.number, Kind::Error, &pack_error(&error));
            } else {
                out.end(body);
            }
            let length = out.0.len();
            drop(out);
            self.collected(start, length);
        }
        if asked.counts
            && let Some(tenant) = self.tenants.get(asked.about)
        {
            tenant.answered();
        }
        wanted
    }

    fn answer(self: &Rc<Self>, number: u32, kind: Kind, body: &[u8]) {
        let mut out = self.outbox.borrow_mut();
        let before = out.0.len();
        out.answer(number, kind, body);
        let after = out.0.len();
        drop(out);
        self.collected(before, after);
    }

    /// Sees to it that the answers leave, of whose bytes there were so many before and are so many now.
    fn collected(self: &Rc<Self>, before: usize, now: usize) {
        if now >= OUTBOX_BYTES {
            self.send();
        } else if before == 0 {
            let root = Rc::clone(self);
            spawn_local(async move { root.send() });
        }
    }

    fn send(&self) {
        let frame = self.outbox.take().0;
        if !frame.is_empty() {
            self.page.post(frame);
        }
    }

    fn tenant(&self, number: u32) -> Result<Rc<Tenant>> {
        self.tenants.get(number).ok_or_else(malformed)
    }
}

impl Tenant {
    /// Has the job's worker answer, now or after those it has been asked before.
    fn ask(&self, question: Question, asker: Asker, counts: bool) {
        let deadline = self.job.link().deadline();
        if counts {
            if self.asked.get() >= limits::READS_MAX {
                self.waiting.borrow_mut().push_back(Waiting { question, asker, deadline });
                return;
            }
            self.asked.set(self.asked.get() + 1);
        }
        self.post(question, asker, deadline);
    }

    fn post(&self, question: Question, asker: Asker, deadline: Option<u64>) {
        let (link, asker) = (self.job.link(), Box::new(asker));
        match question {
            Question::Read(read) => link.post_read(read, asker, deadline),
            Question::Task(task) => link.post_task(task, asker),
            Question::Sync(seq) => link.post_sync(seq, asker, deadline),
            Question::Answered(found) => {
                asker.answer(Ok(Answered::Reading(Reading::Found(found))));
            }
        }
    }

    /// A call has been answered: another may be asked.
    fn answered(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        match next {
            Some(Waiting { question, asker, deadline }) => self.post(question, asker, deadline),
            None => self.asked.set(self.asked.get().saturating_sub(1)),
        }
    }
}

/// What a job's worker was asked, until it has answered.
#[derive(Debug)]
struct Asked {
    root: u32,
    /// The call, and the job that it is about.
    number: u32,
    about: u32,
    may_cancel: bool,
    /// Whether it is one of those of which a job's worker is asked so many at a time.
    counts: bool,
    /// Stays open until then.
    job: Job,
    said: Said,
}

/// Waits for an answer of a job's worker.
#[derive(Debug)]
struct Asker(Option<Asked>);

impl Asker {
    fn take(&mut self) -> Option<(Rc<Root>, Asked)> {
        let asked = self.0.take()?;
        Some((ROOTS.with(|roots| roots.get(asked.root))?, asked))
    }
}

impl Caller for Asker {
    fn answer(mut self: Box<Self>, answer: Result<Answered>) -> bool {
        self.take().is_some_and(|(root, asked)| root.conclude(asked, answer))
    }

    fn has_gone(&self) -> bool {
        let given_up = |asked: &Asked| {
            let root = ROOTS.with(|roots| roots.get(asked.root));
            asked.may_cancel && root.is_none_or(|root| root.running.get(asked.number).is_none())
        };
        self.0.as_ref().is_none_or(given_up)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let Some((root, asked)) = self.take() else { return };
        let link = asked.job.link();
        if link.see(|progress| progress.end.is_some()) {
            let error = link.closed();
            root.conclude(asked, Err(error));
        } else {
            root.orphans.borrow_mut().push(asked);
        }
    }
}

impl Asked {
    fn pack(&self, answer: Result<Answered>, out: &mut Output) -> Result<()> {
        let Asked { job, said, .. } = self;
        let packed = match (&said.kind, answer) {
            (Asking::Durable(seq), answer) => {
                return job.link().durable_result(*seq, answer.and_then(Answered::flushed));
            }
            // Their errors say where already.
            (Asking::Task, Err(error)) => return Err(error),
            (_, Ok(Answered::Task(answer))) => {
                let (seq, existed) = done(answer);
                out.number(seq).flag(existed);
                Ok(())
            }
            (kind, Ok(Answered::Reading(reading))) => {
                pack_reading(out, job, reading, matches!(kind, Asking::Position))
            }
            (_, answer) => answer.and_then(Answered::flushed),
        };
        packed.map_err(|error| job.explain(error, said.category.as_deref(), said.operation))
    }
}

/// What has to be awaited, with all that it takes.
enum Work {
    Root { what: OfRoot, id: String },
    Stream { what: OfStream, stream: u32 },
    Check(Rc<Tenant>),
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
    Watch(Rc<Tenant>, Option<Position>, String, Span),
    LogFrom(Rc<Tenant>, Position),
    Next(Stream),
}

fn pack_reading(out: &mut Output, job: &Job, reading: Reading, as_position: bool) -> Result<()> {
    match reading {
        Reading::Found(Found::Page(page)) => pack_page(out, &page),
        Reading::Found(Found::Count(count)) => drop(out.number(count)),
        Reading::Found(Found::Categories(strings)) => drop(out.strings(&strings)),
        Reading::Found(found) => pack_payloads(out, &payloads(found)?),
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

    #[cfg(feature = "layers")]
    fn len(&self) -> usize {
        self.0.borrow().len()
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
