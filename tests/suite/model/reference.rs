//! The model: what a job has to answer, in the simplest words, written without a look at the engines.
//!
//! One sorted map of rows, compared key by key. Never optimises, never shares code with the crate.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::step::{
    Answer, Condition, Expected, LogItem, LogOperation, Operation, Range, Reopen, Request, Scan,
};

const CATEGORY_BYTES_MAX: usize = 255;
const KEY_BYTES_MAX: usize = 128 * 1024;

/// A job as it should be.
pub struct Reference {
    /// Whether the job outlives being closed.
    lasting: bool,
    rows: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    seq: u64,
    log: BTreeMap<u64, Vec<LogOperation>>,
    log_first: u64,
    keeps_log: bool,
    holders: BTreeMap<String, u64>,
    /// Errors of accepted batches that nobody has been told, by the number of the receipt.
    unreported: BTreeMap<u64, Answer>,
}

impl Reference {
    pub fn new(lasting: bool) -> Self {
        Reference {
            lasting,
            rows: BTreeMap::new(),
            seq: 0,
            log: BTreeMap::new(),
            log_first: 1,
            keeps_log: false,
            holders: BTreeMap::new(),
            unreported: BTreeMap::new(),
        }
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn get(&self, category: &str, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(&(category.to_owned(), key.to_vec())).map(Vec::as_slice)
    }

    // ---- writes -------------------------------------------------------------------------------

    /// What is found wrong with a request before it is queued.
    pub fn refuses(&self, request: &Request) -> Option<Answer> {
        let conditions = request.conditions.iter().map(|condition| (&condition.category, &*condition.key));
        let operations = request.operations.iter().map(|operation| match operation {
            Operation::Put(category, key, _) | Operation::Delete(category, key) => (category, &**key),
            Operation::DeletePrefix(category, _)
            | Operation::DeleteRange(category, _)
            | Operation::Clear(category) => (category, &b""[..]),
        });
        conditions.chain(operations).find_map(|(category, key)| too_large(category, key))
    }

    /// Applies a batch: its seq, or the conflict.
    pub fn apply(&mut self, request: &Request) -> Answer {
        let failed = request.conditions.iter().position(|condition| !self.holds(condition));
        if let Some(index) = failed {
            return Answer::conflict(index);
        }
        if request.operations.is_empty() {
            return Answer::Seq(self.seq);
        }
        for operation in &request.operations {
            self.operate(operation);
        }
        self.seq += 1;
        if self.keeps_log || !self.holders.is_empty() {
            self.log.insert(self.seq, request.operations.iter().map(logged).collect());
        } else {
            self.log_first = self.seq + 1;
        }
        Answer::Seq(self.seq)
    }

    /// Takes note that the receipt of this number has an error that nobody has asked for.
    pub fn keep(&mut self, receipt: u64, answer: &Answer) {
        if matches!(answer, Answer::Failed { .. }) {
            self.unreported.insert(receipt, answer.clone());
        }
    }

    /// The receipt of this number has been asked.
    pub fn reported(&mut self, receipt: u64) {
        self.unreported.remove(&receipt);
    }

    pub fn delete_acked(&mut self, category: &str, key: &[u8]) -> Answer {
        if let Some(refusal) = too_large(category, key) {
            return refusal;
        }
        let existed = self.get(category, key).is_some();
        let operations = vec![Operation::Delete(category.to_owned(), key.to_vec())];
        self.apply(&Request { conditions: Vec::new(), operations });
        Answer::Truth(vec![existed])
    }

    /// The first error that nobody has been told; with it all have been told.
    pub fn flush(&mut self) -> Answer {
        let first = self.unreported.pop_first().map(|(_, error)| error);
        self.unreported.clear();
        first.unwrap_or(Answer::Fine)
    }

    fn holds(&self, condition: &Condition) -> bool {
        let now = self.get(&condition.category, &condition.key);
        match &condition.expected {
            Expected::Absent => now.is_none(),
            Expected::Present => now.is_some(),
            Expected::Equal(payload) => now == Some(payload),
        }
    }

    fn operate(&mut self, operation: &Operation) {
        let mut remove = |of: &String, range: &dyn Fn(&[u8]) -> bool| {
            self.rows.retain(|(category, key), _| category != of || !range(key));
        };
        match operation {
            Operation::Put(category, key, payload) => {
                self.rows.insert((category.clone(), key.clone()), payload.clone());
            }
            Operation::Delete(category, key) => {
                self.rows.remove(&(category.clone(), key.clone()));
            }
            Operation::DeletePrefix(category, prefix) => remove(category, &|key| key.starts_with(prefix)),
            Operation::DeleteRange(category, range) => remove(category, &|key| contains(range, key)),
            Operation::Clear(category) => remove(category, &|_| true),
        }
    }

    // ---- reads --------------------------------------------------------------------------------

    pub fn get_many(&self, category: &str, keys: &[Vec<u8>]) -> Answer {
        match keys.iter().find_map(|key| too_large(category, key)) {
            Some(refusal) => refusal,
            None => {
                let found = keys.iter().map(|key| self.get(category, key).map(<[u8]>::to_vec));
                Answer::Payloads(found.collect())
            }
        }
    }

    pub fn exists_many(&self, category: &str, keys: &[Vec<u8>]) -> Answer {
        Answer::Truth(keys.iter().map(|key| self.get(category, key).is_some()).collect())
    }

    pub fn count(&self, category: &str, range: &Range) -> Answer {
        Answer::Count(self.within(category, range).count() as u64)
    }

    pub fn scan(&self, scan: &Scan) -> Answer {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = self.within(&scan.category, &scan.range).collect();
        if scan.reverse {
            rows.reverse();
        }
        rows.truncate(scan.limit.unwrap_or(rows.len()));
        if scan.keys_only {
            rows.iter_mut().for_each(|(_, payload)| payload.clear());
        }
        Answer::Rows(rows)
    }

    pub fn categories(&self) -> Answer {
        // Rust compares strings as their bytes in UTF-8.
        let mut names: Vec<String> = self.rows.keys().map(|(category, _)| category.clone()).collect();
        names.dedup();
        Answer::Names(names)
    }

    fn within(&self, of: &str, range: &Range) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let rows =
            self.rows.iter().filter(move |((category, key), _)| category == of && contains(range, key));
        rows.map(|((_, key), payload)| (key.clone(), payload.clone()))
    }

    // ---- log ----------------------------------------------------------------------------------

    pub fn info(&self) -> Answer {
        Answer::Info {
            seqs: [self.seq, self.log_first],
            keeps_log: self.keeps_log,
            holders: self.holders.iter().map(|(name, seq)| (name.clone(), *seq)).collect(),
        }
    }

    pub fn hold(&mut self, name: &str) -> Answer {
        if name.is_empty() {
            return Answer::refused("InvalidArgument");
        }
        let held = *self.holders.entry(name.to_owned()).or_insert(self.seq);
        self.trim();
        Answer::Seq(held)
    }

    pub fn advance(&mut self, name: &str, to: u64) -> Answer {
        let Some(held) = self.holders.get_mut(name) else { return Answer::refused("InvalidArgument") };
        *held = to.min(self.seq).max(*held);
        let held = *held;
        self.trim();
        Answer::Seq(held)
    }

    pub fn release(&mut self, name: &str) -> Answer {
        if name.is_empty() {
            return Answer::refused("InvalidArgument");
        }
        self.holders.remove(name);
        self.trim();
        Answer::Fine
    }

    pub fn log(&self, after: u64) -> Answer {
        if after > self.seq {
            return Answer::refused("InvalidArgument");
        }
        let mut items = Vec::new();
        if self.log_first > after + 1 {
            items.push(LogItem::Lagged(after + 1, self.log_first - 1));
        }
        let commits = self.log.range(after + 1..);
        items.extend(commits.map(|(seq, operations)| LogItem::Commit(*seq, operations.clone())));
        Answer::Log(items)
    }

    /// Forgets what nobody holds, unless the job keeps its log by itself.
    fn trim(&mut self) {
        if self.keeps_log {
            return;
        }
        let released = self.holders.values().copied().min().unwrap_or(self.seq);
        self.log.retain(|seq, _| *seq > released);
        self.log_first = self.log_first.max(released + 1);
    }

    // ---- lives --------------------------------------------------------------------------------

    /// Closes the job: the answer of the close.
    pub fn close(&mut self) -> Answer {
        let answer = self.flush();
        if !self.lasting {
            *self = Reference::new(false);
        }
        answer
    }

    /// What opening an existing job answers after it has been closed.
    pub fn open_existing(&self) -> Answer {
        if self.lasting { Answer::Fine } else { Answer::refused("JobNotFound") }
    }

    /// The jobs that exist while it is closed.
    pub fn list_closed(&self, id: &str) -> Answer {
        Answer::Names(if self.lasting { vec![id.to_owned()] } else { Vec::new() })
    }

    pub fn open(&mut self, reopen: &Reopen) {
        if let Some(keeps) = reopen.log {
            self.keeps_log = keeps;
            self.trim();
        }
    }

    pub fn recreate(&mut self) {
        *self = Reference::new(self.lasting);
    }
}

fn too_large(category: &str, key: &[u8]) -> Option<Answer> {
    let beyond = category.len() > CATEGORY_BYTES_MAX || key.len() > KEY_BYTES_MAX;
    beyond.then(|| Answer::refused("TooLarge"))
}

fn contains(range: &Range, key: &[u8]) -> bool {
    let (start, end) = match range {
        Range::Prefix(prefix) => return key.starts_with(prefix),
        Range::Between(start, end) => (start, end),
    };
    let starts = match start {
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
        Bound::Unbounded => true,
    };
    let ends = match end {
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Unbounded => true,
    };
    starts && ends
}

/// The operation as the log has to show it: every range from an inclusive start to an exclusive end.
fn logged(operation: &Operation) -> LogOperation {
    let after = |key: &Vec<u8>| [key.as_slice(), &[0]].concat();
    match operation {
        Operation::Put(category, key, payload) => {
            LogOperation::Put(category.clone(), key.clone(), payload.clone())
        }
        Operation::Delete(category, key) => LogOperation::Delete(category.clone(), key.clone()),
        Operation::Clear(category) => LogOperation::DeleteRange(category.clone(), Vec::new(), None),
        Operation::DeletePrefix(category, prefix)
        | Operation::DeleteRange(category, Range::Prefix(prefix)) => {
            let mut end = prefix.clone();
            while end.pop_if(|last| *last == 0xff).is_some() {}
            let end = end.split_last().map(|(last, head)| [head, &[last + 1]].concat());
            LogOperation::DeleteRange(category.clone(), prefix.clone(), end)
        }
        Operation::DeleteRange(category, Range::Between(start, end)) => {
            let start = match start {
                Bound::Included(start) => start.clone(),
                Bound::Excluded(start) => after(start),
                Bound::Unbounded => Vec::new(),
            };
            let end = match end {
                Bound::Included(end) => Some(after(end)),
                Bound::Excluded(end) => Some(end.clone()),
                Bound::Unbounded => None,
            };
            match end {
                Some(end) if end <= start => LogOperation::DeleteNothing(category.clone()),
                end => LogOperation::DeleteRange(category.clone(), start, end),
            }
        }
    }
}
