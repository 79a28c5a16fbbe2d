//! What the npm package's Web Worker calls: roots by their numbers, frames of calls in, frames of answers out.
//!
//! Decides nothing: every meaning is that of [`Persistency`] and [`Job`]. What crosses is bytes (see
//! [`wire`] and [`call`]), but for the first word of all, a number.

mod asked;
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

use self::asked::{Asked, Asker, Then};
use self::call::Call;
use self::question::{Asking, Question, Said};
use self::wire::{Input, Kind, Output, PROTOCOL, malformed, pack_error};
use crate::error::Result;
use crate::job::Job;
use crate::job_info::JobStats;
use crate::limits;
use crate::options::JobOptions;
use crate::persistency::Persistency;
use crate::spawn::{give_up, spawn_local};
use crate::watch::Commits;
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
        waiting: Table::default(),
        #[cfg(feature = "layers")]
        objects: Rc::default(),
    });
    ROOTS.with(|roots| roots.insert(number, root));
}

/// Carries out the calls of a frame in their order; false if the frame is none.
#[wasm_bindgen(js_name = receiveFrame)]
pub fn receive_frame(root: u32, frame: &[u8]) -> bool {
    let Some(root) = ROOTS.with(|roots| roots.get(root)) else { return false };
    let mut input = Input::new(frame);
    while !input.is_empty() {
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
struct Root {
    number: u32,
    persistency: Persistency,
    page: Page,
    /// Answers on their way out. Those of one turn of the event loop leave in one frame.
    outbox: RefCell<Output>,
    /// Open jobs by the numbers that the page gave them.
    tenants: Table<Rc<Tenant>>,
    /// Watches and log readers by the numbers that the page gave them, while nobody reads from them.
    streams: Table<Box<Commits>>,
    /// Calls that may be given up, by their numbers, and the tasks of those that have one.
    running: Table<Option<u64>>,
    /// Calls that wait until their jobs come further, or end, by their numbers.
    waiting: Table<Asked>,
    /// What layers have open without a job.
    #[cfg(feature = "layers")]
    objects: Rc<layers::Objects>,
}

/// An open job.
struct Tenant {
    job: Job,
    /// How many of its calls, batches apart, its worker has been asked.
    asked: Cell<usize>,
    /// Further ones, which wait until others have been answered.
    waiting: RefCell<VecDeque<Waiting>>,
    /// Whether one of these is being posted.
    posts: Cell<bool>,
    /// What layers have open over it.
    #[cfg(feature = "layers")]
    objects: Rc<layers::Objects>,
}

/// A call that waits until its job's worker can be asked.
struct Waiting {
    question: Question,
    asker: Asker,
    deadline: Option<u64>,
}

impl Root {
    /// Starts the next call of a frame; an error if there is none.
    fn start(self: &Rc<Self>, input: &mut Input<'_>) -> Result<()> {
        let (number, operation) = (input.count() as u32, input.byte());
        let (about, body) = (input.count() as u32, input.bytes());
        input.check()?;
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
    fn ask(
        self: &Rc<Self>,
        number: u32,
        may_cancel: bool,
        about: u32,
        operation: u8,
        body: &[u8],
    ) -> Result<()> {
        let tenant = self.tenant(about)?;
        let (question, said) = question::question(&tenant.job, operation, body)?;
        let counts = matches!(question, Question::Read(_) | Question::Sync(_));
        let asked = self.asked(number, may_cancel, about, counts, &tenant, said);
        tenant.ask(question, Asker::new(asked), counts);
        Ok(())
    }

    fn asked(
        &self,
        number: u32,
        may_cancel: bool,
        about: u32,
        counts: bool,
        tenant: &Tenant,
        said: Said,
    ) -> Asked {
        if may_cancel {
            self.running.insert(number, None);
        }
        Asked { root: self.number, number, about, may_cancel, counts, job: tenant.job.clone(), said }
    }

    /// Begins a call if its arguments are within their limits.
    fn begin(self: &Rc<Self>, number: u32, may_cancel: bool, about: u32, call: Call<'_>) -> Result<()> {
        let mut out = Output::default();
        let (what, id) = match call {
            Call::OpenJob { id, options } => (OfRoot::OpenJob(options), id),
            Call::CloseJob { id } => (OfRoot::CloseJob, id),
            Call::DropJob { id } => (OfRoot::DropJob, id),
            Call::ListJobs => (OfRoot::ListJobs, ""),
            Call::Close => (OfRoot::Close, ""),
            Call::Next { stream } => {
                let tenant = self.tenant(about)?;
                let commits = self.streams.take(stream).ok_or_else(malformed)?;
                let said = Said { category: None, operation: "", kind: Asking::Next(stream, commits) };
                self.go_on(self.asked(number, may_cancel, about, true, &tenant, said), None);
                return Ok(());
            }
            Call::Cancel => {
                drop(self.waiting.take(about));
                if let Some(Some(task)) = self.running.take(about) {
                    give_up(task);
                }
                return Ok(());
            }
            Call::Ping | Call::End { .. } | Call::Stats => {
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
        self.run(number, may_cancel, Rc::clone(self).carry_out(about, what, id.to_owned()));
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

    async fn carry_out(self: Rc<Self>, about: u32, what: OfRoot, id: String) -> Result<Output> {
        let mut out = Output::default();
        match what {
            OfRoot::OpenJob(options) => {
                let job = self.persistency.open_tenant(&id, options).await?;
                let Progress { opened, committed_seq, durable_seq, .. } = job.link().see(Progress::clone);
                out.raw(&opened.unwrap_or_default()).number(committed_seq).number(durable_seq);
                spawn_local(Rc::clone(&self).follow(about, Arc::clone(job.link())));
                let tenant = Tenant {
                    job,
                    asked: Cell::new(0),
                    waiting: RefCell::default(),
                    posts: Cell::new(false),
                    #[cfg(feature = "layers")]
                    objects: Rc::default(),
                };
                self.tenants.insert(about, Rc::new(tenant));
            }
            OfRoot::CloseJob => self.persistency.close_job(&id).await?,
            OfRoot::DropJob => self.persistency.drop_job(&id).await?,
            OfRoot::ListJobs => drop(out.strings(&self.persistency.list_jobs().await?)),
            OfRoot::Close => self.persistency.close().await?,
        }
        Ok(out)
    }

    /// Tells how far a job has come until it ends, and has the calls go on that wait for that.
    async fn follow(self: Rc<Self>, number: u32, link: Arc<Link>) {
        let mut told = None;
        loop {
            let come = |progress: &Progress| Some((progress.committed_seq, progress.durable_seq));
            let news = |progress: &Progress| {
                (come(progress) != told || progress.end.is_some()).then(|| progress.clone())
            };
            let progress = link.reach(news).await;
            told = come(&progress);
            let mut out = Output::default();
            out.number(progress.committed_seq).number(progress.durable_seq);
            self.answer(number, Kind::Progress, &out.0);
            let has_ended = progress.end.is_some();
            if let Some(end) = progress.end {
                self.answer(number, Kind::Ended, &pack_error(&end.afterwards));
                self.tenants.take(number);
            }
            for asked in self.waiting.take_all(|asked| asked.is_of(&link) && (has_ended || asked.follows())) {
                match has_ended {
                    true => _ = self.conclude(asked, Err(link.closed())),
                    false => self.go_on(asked, None),
                }
            }
            if has_ended {
                return;
            }
        }
    }

    /// Takes what a job's worker answered; whether that was still wanted.
    fn conclude(self: &Rc<Self>, asked: Asked, answer: Result<Answered>) -> bool {
        if asked.counts
            && let Some(tenant) = self.tenants.get(asked.about)
        {
            tenant.answered();
        }
        // One that was given up is answered no more.
        let wanted = !asked.may_cancel || self.running.get(asked.number).is_some();
        if wanted {
            self.go_on(asked, Some(answer));
        }
        wanted
    }

    /// Answers a call, if there is all that it takes.
    fn go_on(self: &Rc<Self>, mut asked: Asked, answer: Option<Result<Answered>>) {
        let mut out = self.outbox.borrow_mut();
        let (start, body) = out.begin(asked.number, Kind::Value);
        let then = asked.go_on(answer, &self.streams, &mut out);
        match &then {
            Ok(Then::Answered) => out.end(body),
            Ok(Then::Ask(_) | Then::Wait) => out.0.truncate(start),
            Err(error) => {
                out.0.truncate(start);
                out.answer(asked.number, Kind::Error, &pack_error(error));
            }
        }
        let length = out.0.len();
        drop(out);
        match then {
            Ok(Then::Ask(read)) => match self.tenants.get(asked.about) {
                Some(tenant) => tenant.ask(Question::Read(read), Asker::new(asked), true),
                None => {
                    let error = asked.job.link().closed();
                    self.go_on(asked, Some(Err(error)));
                }
            },
            Ok(Then::Wait) => self.waiting.insert(asked.number, asked),
            Ok(Then::Answered) | Err(_) => {
                self.running.take(asked.number);
                self.collected(start, length);
            }
        }
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
        self.asked.set(self.asked.get().saturating_sub(1));
        // One that ends as it is posted is noticed by the loop that posts it.
        if self.posts.replace(true) {
            return;
        }
        while self.asked.get() < limits::READS_MAX {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(Waiting { question, asker, deadline }) = next else { break };
            self.asked.set(self.asked.get() + 1);
            self.post(question, asker, deadline);
        }
        self.posts.set(false);
    }
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

    /// Takes those out that are wanted.
    fn take_all(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        self.0.borrow_mut().extract_if(.., |(_, value)| wanted(value)).map(|(_, value)| value).collect()
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

fn pack_stats(out: &mut Output, stats: JobStats) {
    out.number(stats.queued_operations as u64).number(stats.queued_bytes as u64);
    out.number(stats.batches_committed).number(stats.batches_failed);
    out.number(stats.groups).number(stats.syncs).number(stats.reads);
}
