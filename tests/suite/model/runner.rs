//! Runs a sequence on a job and on the model, and compares every answer.
//!
//! Keeps the transcript of what was answered as a digest. Nothing in it depends on time, chance or
//! the engine: no generation, no time of a commit, no page boundary.

use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::{Bound, RangeBounds};

use futures_util::future::join_all;
use persistency::{
    Batch, Durability, Error, Job, JobOptions, Key, KeyRange, LogRetention, Op, OpenMode, Persistency,
    Position, Receipt, WatchItem, prefix_range,
};
use sha2::{Digest, Sha256};

use super::generate::Generator;
use super::reference::Reference;
use super::step::{
    Answer, Condition, Expected, Form, LogItem, LogOperation, Operation, Range, Reopen, Request, Scan, Step,
};

/// The job of a sequence.
const JOB: &str = "alpha";
/// Requests of a sequence.
pub const STEPS: usize = 120;
/// Requests between two marks of a transcript.
const MARK: usize = 20;
/// Pages of a stream or items of a log, of which no sequence has so many: a job that repeats itself is
/// not listened to for ever.
const PARTS_MAX: usize = 1_000;
/// More than any sequence logs: a retention that never trims.
const EVERYTHING: LogRetention = LogRetention::LastBytes(1 << 40);

/// What a sequence came to.
pub struct Transcript {
    /// Of all lines.
    pub digest: String,
    /// The digests up to every so many lines, to find the first that differs between two places.
    pub marks: Vec<String>,
}

/// Runs the sequence of a seed in a root; an error names the first answer that is wrong.
pub async fn run(root: &str, seed: u64, reopens: bool) -> Result<Transcript, String> {
    let lasting = root != ":memory:";
    let mut generator = Generator::new(seed, reopens);
    let mut runner = Runner::open(root, lasting).await;
    let mut lines: VecDeque<String> = VecDeque::new();
    let mut hash = Sha256::new();
    let mut marks = Vec::new();
    for number in 1..=STEPS {
        let step = generator.step(&runner.model);
        let (got, expected) = runner.step(&step).await;
        let line = format!("{number} {} {got}", step.name());
        if got != expected {
            let before: Vec<String> = lines.into();
            return Err(format!(
                "seed {seed}, step {number}, root {root}, reopening {reopens}\n  step     {}\n  \
                 expected {expected}\n  got      {got}\n  before:\n    {}\n  again with PERSISTENCY_MODEL_SEED={seed}",
                shortened(&format!("{step:?}")),
                before.join("\n    "),
            ));
        }
        hash.update(&line);
        hash.update("\n");
        if number % MARK == 0 {
            marks.push(hex(&hash.clone().finalize()));
        }
        lines.push_back(shortened(&line));
        if lines.len() > 10 {
            lines.pop_front();
        }
    }
    runner.end().await;
    Ok(Transcript { digest: hex(&hash.finalize()), marks })
}

/// A job, its model, and the receipts that have not been asked.
struct Runner {
    root: Persistency,
    job: Job,
    generation: [u8; 16],
    model: Reference,
    lasting: bool,
    receipts: VecDeque<(u64, Receipt, Answer)>,
    accepted: u64,
}

impl Runner {
    async fn open(root: &str, lasting: bool) -> Self {
        let root = Persistency::open(root).unwrap();
        let job = root.open_job(JOB).await.unwrap();
        let generation = job.position().await.unwrap().generation;
        let model = Reference::new(lasting);
        Runner { root, job, generation, model, lasting, receipts: VecDeque::new(), accepted: 0 }
    }

    /// Leaves nothing behind, also where the job is a database of the browser.
    async fn end(self) {
        self.root.drop_job(JOB).await.unwrap();
        self.root.close().await.unwrap();
    }

    /// What the job answers, and what it has to.
    async fn step(&mut self, step: &Step) -> (Answer, Answer) {
        let (job, model) = (&self.job, &mut self.model);
        match step {
            Step::Write(request, form) => self.write(request, *form).await,
            Step::Burst(requests) => self.burst(requests).await,
            Step::DeleteAcked(category, key) => {
                let found = job.delete_acked(category, &**key).await;
                (answer(found, |found| Answer::Truth(vec![found])), model.delete_acked(category, key))
            }
            Step::Settle => self.settle().await,
            Step::Flush => {
                let flushed = fine(job.flush().await);
                let marks = [job.committed_seq(), job.durable_seq()].map(Answer::Seq);
                let expected = [model.flush(), Answer::Seq(model.seq()), Answer::Seq(model.seq())];
                (several([vec![flushed], marks.to_vec()].concat()), several(expected.to_vec()))
            }
            Step::Hold(name) => (answer(job.hold_log(name).await, Answer::Seq), model.hold(name)),
            Step::Advance(name, seq) => {
                (answer(job.advance_log(name, *seq).await, Answer::Seq), model.advance(name, *seq))
            }
            Step::Release(name) => (fine(job.release_log(name).await), model.release(name)),
            Step::Reopen(reopen) => self.reopen(reopen).await,
            Step::Recreate => self.recreate().await,
            read => (self.read(read).await, self.expect(read)),
        }
    }

    // ---- writes -------------------------------------------------------------------------------

    async fn write(&mut self, request: &Request, form: Form) -> (Answer, Answer) {
        let refused = self.model.refuses(request);
        let accepted = refused.is_none();
        let expected = refused.unwrap_or_else(|| self.model.apply(request));
        if let Form::Acked = form {
            return (answer(acked(&self.job, request).await, Answer::Seq), expected);
        }
        let receipt = match persist(&self.job, request).await {
            Ok(receipt) if accepted => receipt,
            Ok(_) => return (Answer::Fine, expected),
            Err(error) => return (failed(&error), expected),
        };
        if let Form::Durable = form {
            return (answer(receipt.durable().await, Answer::Seq), expected);
        }
        self.accepted += 1;
        self.model.keep(self.accepted, &expected);
        if let Form::Later = form {
            self.receipts.push_back((self.accepted, receipt, expected));
        }
        (Answer::Fine, Answer::Fine)
    }

    async fn burst(&mut self, requests: &[Request]) -> (Answer, Answer) {
        let accepting = requests.iter().map(|request| self.job.persist(batch(request)));
        for (request, receipt) in requests.iter().zip(join_all(accepting).await) {
            let Ok(receipt) = receipt else { return (failed(&receipt.unwrap_err()), Answer::Fine) };
            let expected = self.model.apply(request);
            self.accepted += 1;
            self.model.keep(self.accepted, &expected);
            self.receipts.push_back((self.accepted, receipt, expected));
        }
        (Answer::Fine, Answer::Fine)
    }

    async fn settle(&mut self) -> (Answer, Answer) {
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        for (number, receipt, answered) in self.receipts.drain(..) {
            got.push(answer(receipt.committed().await, Answer::Seq));
            self.model.reported(number);
            expected.push(answered);
        }
        (several(got), several(expected))
    }

    // ---- reads --------------------------------------------------------------------------------

    async fn read(&self, step: &Step) -> Answer {
        let job = &self.job;
        match step {
            Step::Get(category, key) => {
                answer(job.get(category, &**key).await, |payload| Answer::Payloads(vec![payload]))
            }
            Step::Exists(category, key) => {
                answer(job.exists(category, &**key).await, |found| Answer::Truth(vec![found]))
            }
            Step::GetMany(category, keys) => {
                answer(job.get_many(category, keys.iter().map(|of| key(of))).await, Answer::Payloads)
            }
            Step::ExistsMany(category, keys) => {
                answer(job.exists_many(category, keys.iter().map(|of| key(of))).await, Answer::Truth)
            }
            Step::Count(category, range) => {
                answer(job.count(category, key_range(range)).await, Answer::Count)
            }
            Step::Scan(scan) => scanned(job, scan).await,
            Step::Categories => answer(job.categories().await, Answer::Names),
            Step::Care => match job.compact().await {
                Ok(()) => answer(job.check().await, Answer::Names),
                Err(error) => failed(&error),
            },
            Step::Log(after) => log(job, Position { generation: self.generation, seq: *after }).await,
            Step::ForeignLog => log(job, Position { generation: [0; 16], seq: 0 }).await,
            _ => answer(job.info().await, |info| Answer::Info {
                seqs: [info.committed_seq, info.log_first_seq],
                keeps_log: info.log == EVERYTHING,
                holders: info.log_holders,
            }),
        }
    }

    fn expect(&self, step: &Step) -> Answer {
        let model = &self.model;
        match step {
            Step::Get(category, key) => model.get_many(category, std::slice::from_ref(key)),
            Step::Exists(category, key) => model.exists_many(category, std::slice::from_ref(key)),
            Step::GetMany(category, keys) => model.get_many(category, keys),
            Step::ExistsMany(category, keys) => model.exists_many(category, keys),
            Step::Count(category, range) => model.count(category, range),
            Step::Scan(scan) => model.scan(scan),
            Step::Categories => model.categories(),
            Step::Care => Answer::Names(Vec::new()),
            Step::Log(after) => model.log(*after),
            Step::ForeignLog => Answer::refused("JobNotFound"),
            _ => model.info(),
        }
    }

    // ---- lives --------------------------------------------------------------------------------

    async fn reopen(&mut self, reopen: &Reopen) -> (Answer, Answer) {
        let mut got = vec![fine(self.root.close_job(JOB).await)];
        let mut expected = vec![self.model.close()];
        self.after_end(&mut got, &mut expected, "Closed").await;
        expected.push(self.model.list_closed(JOB));
        if reopen.must_exist {
            let options = JobOptions::new().mode(OpenMode::MustExist);
            let opened = self.root.open_job_with(JOB, options).await;
            got.extend([fine(opened.map(drop)), fine(self.root.close_job(JOB).await)]);
            expected.extend([self.model.open_existing(), Answer::Fine]);
        }
        if reopen.read_only {
            got.extend(self.visit().await);
            expected.push(self.model.open_existing());
            if self.lasting {
                let refused = Answer::refused("Unsupported");
                expected.extend([refused.clone(), refused, self.model.categories(), Answer::Fine]);
            }
        }
        let options = options(reopen);
        self.model.open(reopen);
        self.reopened(options, self.lasting, &mut got, &mut expected).await;
        (several(got), several(expected))
    }

    async fn recreate(&mut self) -> (Answer, Answer) {
        let mut got = vec![fine(self.root.drop_job(JOB).await)];
        let mut expected = vec![Answer::Fine];
        self.after_end(&mut got, &mut expected, "JobNotFound").await;
        self.model.recreate();
        expected.push(Answer::Names(Vec::new()));
        self.reopened(JobOptions::new(), false, &mut got, &mut expected).await;
        (several(got), several(expected))
    }

    /// What is asked after the end of a job: its receipts, its old handle, and the list of jobs.
    async fn after_end(&mut self, got: &mut Vec<Answer>, expected: &mut Vec<Answer>, end: &'static str) {
        let (receipts, settled) = self.settle().await;
        got.push(receipts);
        expected.push(settled);
        got.push(fine(self.job.exists("", Key::empty()).await.map(drop)));
        expected.push(Answer::refused(end));
        got.push(answer(self.root.list_jobs().await, Answer::Names));
    }

    /// Opens the job for reading only, where it is still there.
    async fn visit(&self) -> Vec<Answer> {
        let options = JobOptions::new().mode(OpenMode::ReadOnly);
        let job = match self.root.open_job_with(JOB, options).await {
            Ok(job) => job,
            Err(error) => return vec![failed(&error)],
        };
        vec![
            Answer::Fine,
            fine(job.persist_put("", Key::empty(), "").await.map(drop)),
            fine(job.hold_log("a").await.map(drop)),
            answer(job.categories().await, Answer::Names),
            fine(self.root.close_job(JOB).await),
        ]
    }

    /// Opens the job and looks whether it is the same one.
    async fn reopened(
        &mut self,
        options: JobOptions,
        same: bool,
        got: &mut Vec<Answer>,
        expected: &mut Vec<Answer>,
    ) {
        self.job = self.root.open_job_with(JOB, options).await.unwrap();
        let position = self.job.position().await.unwrap();
        got.extend([Answer::Seq(position.seq), Answer::Truth(vec![position.generation == self.generation])]);
        expected.extend([Answer::Seq(self.model.seq()), Answer::Truth(vec![same])]);
        self.generation = position.generation;
    }
}

// ---- asking -----------------------------------------------------------------------------------

fn options(reopen: &Reopen) -> JobOptions {
    let mut options = JobOptions::new();
    if let Some(keep) = reopen.log {
        options = options.log(if keep { EVERYTHING } else { LogRetention::Off });
    }
    if reopen.small_queue {
        options = options.queue_operations(2).queue_bytes(40);
    }
    if reopen.strict {
        options = options.durability(Durability::Strict);
    }
    options
}

/// Writes in the shortest way there is.
async fn persist(job: &Job, request: &Request) -> persistency::Result<Receipt> {
    match (&*request.conditions, &*request.operations) {
        ([], [Operation::Put(category, key, payload)]) => {
            job.persist_put(category, &**key, payload.clone()).await
        }
        ([], [Operation::Delete(category, key)]) => job.persist_delete(category, &**key).await,
        ([], [Operation::DeletePrefix(category, prefix)]) => {
            job.persist_delete_prefix(category, &**prefix).await
        }
        _ => job.persist(batch(request)).await,
    }
}

async fn acked(job: &Job, request: &Request) -> persistency::Result<u64> {
    match (&*request.conditions, &*request.operations) {
        ([], [Operation::Put(category, key, payload)]) => {
            job.put_acked(category, &**key, payload.clone()).await
        }
        _ => job.persist_acked(batch(request)).await,
    }
}

fn batch(request: &Request) -> Batch {
    let mut batch = Batch::new();
    for Condition { category, key: of, expected } in &request.conditions {
        batch = match expected {
            Expected::Absent => batch.require_absent(category, key(of)),
            Expected::Present => batch.require_present(category, key(of)),
            Expected::Equal(payload) => batch.require_equal(category, key(of), payload.clone()),
        };
    }
    for operation in &request.operations {
        batch = match operation {
            Operation::Put(category, of, payload) => batch.put(category, key(of), payload.clone()),
            Operation::Delete(category, of) => batch.delete(category, key(of)),
            Operation::DeletePrefix(category, prefix) => batch.delete_prefix(category, key(prefix)),
            Operation::DeleteRange(category, Range::Between(start, end)) => {
                batch.delete_range(category, (bound(start), bound(end)))
            }
            Operation::DeleteRange(category, range) => batch.delete_range(category, key_range(range)),
            Operation::Clear(category) => batch.clear(category),
        };
    }
    batch
}

async fn scanned(job: &Job, scan: &Scan) -> Answer {
    let mut asked = match &scan.range {
        Range::Between(start, end) => job.scan(&scan.category, (bound(start), bound(end))),
        Range::Prefix(prefix) => job.scan_prefix(&scan.category, &**prefix),
    };
    if scan.reverse {
        asked = asked.reverse();
    }
    if let Some(rows) = scan.limit {
        asked = asked.limit(rows);
    }
    if scan.keys_only {
        asked = asked.keys_only();
    }
    let mut rows = Vec::new();
    if scan.stream {
        let mut pages = asked.stream();
        let mut parts = 0;
        while let Some(page) = pages.next().await {
            parts += 1;
            match page {
                Ok(_) if parts > PARTS_MAX => return Answer::Names(vec!["pages without end".to_owned()]),
                Ok(page) if page.is_empty() => return Answer::Names(vec!["an empty page".to_owned()]),
                Ok(page) => rows.extend(page),
                Err(error) => return failed(&error),
            }
        }
    } else {
        match asked.await {
            Ok(found) => rows = found,
            Err(error) => return failed(&error),
        }
    }
    Answer::Rows(rows.into_iter().map(|row| (row.key.into_bytes(), row.payload)).collect())
}

async fn log(job: &Job, from: Position) -> Answer {
    let mut reader = match job.log_from(from).await {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    let mut items = Vec::new();
    while let Some(item) = reader.next().await {
        if items.len() > PARTS_MAX {
            return Answer::Names(vec!["a log without end".to_owned()]);
        }
        items.push(match item {
            Ok(WatchItem::Commit(commit)) => {
                LogItem::Commit(commit.seq, commit.operations.iter().map(logged).collect())
            }
            Ok(WatchItem::Lagged { from, to }) => LogItem::Lagged(from, to),
            Ok(_) => return Answer::Names(vec!["an unknown item".to_owned()]),
            Err(error) => return failed(&error),
        });
    }
    Answer::Log(items)
}

fn logged(operation: &Op) -> LogOperation {
    let category = operation.category().to_owned();
    match operation {
        Op::Put { key, payload, .. } => LogOperation::Put(category, key.as_bytes().to_vec(), payload.clone()),
        Op::Delete { key, .. } => LogOperation::Delete(category, key.as_bytes().to_vec()),
        Op::DeleteRange { range, .. } => {
            let bytes = |bound: Bound<&Key>| match bound {
                Bound::Included(key) | Bound::Excluded(key) => Some(key.as_bytes().to_vec()),
                Bound::Unbounded => None,
            };
            let start = bytes(range.start_bound()).unwrap_or_default();
            match bytes(range.end_bound()) {
                Some(end) if end <= start => LogOperation::DeleteNothing(category),
                end => LogOperation::DeleteRange(category, start, end),
            }
        }
        other => panic!("an operation that was never made: {other:?}"),
    }
}

fn key(bytes: &[u8]) -> Key {
    Key::from_bytes(bytes)
}

fn bound(bound: &Bound<Vec<u8>>) -> Bound<Key> {
    bound.as_ref().map(|of| key(of))
}

fn key_range(range: &Range) -> KeyRange {
    match range {
        Range::Between(start, end) => KeyRange::new((bound(start), bound(end))),
        Range::Prefix(prefix) => prefix_range(&key(prefix)),
    }
}

// ---- answers ----------------------------------------------------------------------------------

fn answer<T>(result: persistency::Result<T>, of: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(|error| failed(&error), of)
}

fn fine(result: persistency::Result<()>) -> Answer {
    answer(result, |()| Answer::Fine)
}

fn failed(error: &Error) -> Answer {
    let (kind, outcome) = (error.kind().name(), error.outcome().name());
    Answer::Failed { kind, outcome, conflict: error.conflict_index() }
}

fn several(answers: Vec<Answer>) -> Answer {
    Answer::Several(answers)
}

/// The first 16 digits: enough to tell transcripts apart.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn shortened(text: &str) -> String {
    const MAX: usize = 600;
    text.chars().take(MAX).chain(if text.len() > MAX { "..." } else { "" }.chars()).collect()
}
