//! The border to `engine.js`: calls go out as bytes, their answers come in as messages.
//!
//! Never interprets either: what a call means is said in `job`, `site` and `engine.js`.
//!
//! Numbers are big-endian. A string of bytes follows its length; a range is 0 if it is empty, 1 and its
//! lower bound, or 2 and both bounds. An answer comes as items, each optional, and one number.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;

use super::layout::{Area, INLINE_BYTES_MAX, Store};
use super::write::write;
use crate::engine::row_key::Bounds;
use crate::engine::{Decide, EngineError, Fault, Rows, Verify};
use crate::error::Outcome;

/// Takes the messages of one call: a code, a number, and bytes.
pub(super) type Tell = Closure<dyn Fn(u32, u32, Vec<u8>)>;

#[wasm_bindgen(module = "/src/engine/indexed_db/engine.js")]
extern "C" {
    /// A database by its name, connected or not.
    pub(super) type Database;

    #[wasm_bindgen(constructor)]
    pub(super) fn new(name: &str) -> Database;

    /// A call, to be begun.
    #[wasm_bindgen(method)]
    fn call(this: &Database, tell: &Tell) -> Asked;

    /// Aborts what applies and what waits to.
    #[wasm_bindgen(method)]
    pub(super) fn abort(this: &Database);

    /// Tells the other owners of a commit.
    #[wasm_bindgen(method)]
    pub(super) fn announce(this: &Database, announcement: Vec<u8>);

    /// Whether others have had the database open beside us.
    #[wasm_bindgen(method, js_name = hasOthers)]
    pub(super) fn has_others(this: &Database) -> bool;

    /// Lets go of the connection and of the other owners.
    #[wasm_bindgen(method)]
    pub(super) fn close(this: &Database);

    /// A call under way.
    pub(super) type Asked;

    /// Begins it; its answer may come before this returns.
    #[wasm_bindgen(method)]
    fn begin(this: &Asked, code: u8, request: Vec<u8>);

    /// Takes writes while its decision is being made; `payload` is that of the one put apart.
    #[wasm_bindgen(method)]
    pub(super) fn write(this: &Asked, operations: &[u8], payload: &[u8]);

    /// Nobody waits for the call, or looks at its answer, any more: what is under way is aborted.
    #[wasm_bindgen(method)]
    fn release(this: &Asked);

    /// Tells what an exception means, as a call that failed with it would.
    #[cfg(any(test, not(feature = "web")))]
    #[wasm_bindgen(js_name = tellThrown)]
    fn tell_thrown(value: &wasm_bindgen::JsValue, during: u32, tell: &Tell);
}

/// Has the files carried along that `engine.js` imports. They are few, because the server of wasm-pack's tests
/// stops answering a worker that asks for more than six at once.
macro_rules! carried {
    ($($name:ident $file:literal)*) => { $(
        #[wasm_bindgen(module = $file)]
        extern "C" {
            #[allow(dead_code, reason = "a file is carried along for what is imported from it")]
            type $name;
        }
    )* };
}
carried! {
    Basics "/src/engine/indexed_db/basics.js"
    Format "/src/engine/indexed_db/format.js"
    Tasks "/src/engine/indexed_db/tasks.js"
    View "/src/engine/indexed_db/view.js"
}

/// The calls; `engine.js` and `tasks.js` have the same codes.
pub(super) mod code {
    pub(in super::super) const PROBE: u8 = 0;
    pub(in super::super) const LIST: u8 = 1;
    pub(in super::super) const DELETE: u8 = 2;
    pub(in super::super) const CONNECT: u8 = 3;
    pub(in super::super) const LISTEN: u8 = 4;
    pub(in super::super) const ENSURE: u8 = 5;
    pub(in super::super) const GET: u8 = 6;
    pub(in super::super) const PAGE: u8 = 7;
    pub(in super::super) const COUNT: u8 = 8;
    pub(in super::super) const CATEGORIES: u8 = 9;
    pub(in super::super) const APPLY: u8 = 10;
    pub(in super::super) const CHECK: u8 = 11;
    pub(in super::super) const COMPACT: u8 = 12;
    #[cfg(any(test, feature = "web"))]
    pub(in super::super) const CREATE: u8 = 13;
}

/// The messages; `engine.js` has the same codes.
mod told {
    /// Further items, each behind its length plus one, 0 for none.
    pub(super) const ITEMS: u32 = 0;
    /// A further piece of the last item, or of the last row's payload.
    pub(super) const APPEND: u32 = 1;
    /// The job's record, if the number is 1, or that there is none.
    pub(super) const RECORD: u32 = 2;
    /// The last items of what a decision has to see.
    pub(super) const DECIDE: u32 = 3;
    /// The answer's number and last items.
    pub(super) const END: u32 = 4;
    /// The fault's index, 256 if the outcome is unknown, 65536 if something was thrown; the message.
    pub(super) const FAILED: u32 = 5;
    /// Further rows, as they lie in buckets; of each key so many bytes are left away.
    pub(super) const ROWS: u32 = 6;
}

/// The faults by their numbers in `engine.js`.
const FAULTS: [Fault; 9] = [
    Fault::StorageFull,
    Fault::Corrupt,
    Fault::TooNew,
    Fault::TooLarge,
    Fault::Unsupported,
    Fault::Missing,
    Fault::Lost,
    Fault::Aborted,
    Fault::Other,
];

/// What was being done when JavaScript threw; some names mean different things. Numbers of `engine.js`.
#[cfg(any(test, not(feature = "web")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Reaching, opening, listing or deleting databases.
    Opening,
    /// A read request.
    #[cfg(test)]
    Reading,
    /// A write request, or the commit.
    #[cfg(test)]
    Writing,
}

/// What was thrown, as text: errors must be able to leave the thread.
#[derive(Clone)]
struct Thrown(String);

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As it is shown.
impl fmt::Debug for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Thrown {}

/// The error that something thrown means, with nothing applied.
#[cfg(any(test, not(feature = "web")))]
pub(super) fn thrown(value: &wasm_bindgen::JsValue, during: During) -> EngineError {
    let (told, tell) = Told::new(None);
    tell_thrown(value, during as u32, &tell);
    let error = told.end.take().and_then(Result::err);
    error.unwrap_or_else(|| EngineError::new(Fault::Other, "something was thrown"))
}

/// The bytes of a call, or of writes.
#[derive(Default)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Packed {
    pub(super) fn byte(&mut self, byte: impl Into<u8>) -> &mut Self {
        self.0.push(byte.into());
        self
    }

    pub(super) fn number(&mut self, number: usize) -> &mut Self {
        // A usize has 32 bits here.
        self.0.extend((number as u32).to_be_bytes());
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len());
        self.0.extend(bytes);
        self
    }

    /// The store's key for a key of the area.
    pub(super) fn key(&mut self, area: &Area, key: &[u8]) -> &mut Self {
        self.number(area.prefix.len() + key.len());
        self.0.extend(&area.prefix);
        self.0.extend(key);
        self
    }

    pub(super) fn bounds(&mut self, bounds: Option<&Bounds>) -> &mut Self {
        match bounds {
            None => self.byte(0),
            Some(Bounds { lower, upper: None }) => self.byte(1).bytes(lower),
            Some(Bounds { lower, upper: Some(upper) }) => self.byte(2).bytes(lower).bytes(upper),
        }
    }

    pub(super) fn store(&mut self, store: Store) -> &mut Self {
        self.byte(store as u8)
    }

    pub(super) fn verify(&mut self, verify: Verify) -> &mut Self {
        self.byte(match verify {
            Verify::Never => 0,
            Verify::WhenEmpty => 1,
            Verify::Always => 2,
        })
    }
}

/// What a call was answered.
pub(super) struct Answer {
    pub(super) number: u32,
    pub(super) items: Vec<Option<Vec<u8>>>,
    pub(super) rows: Rows,
    /// The job's record, if the call asked for it.
    pub(super) record: Option<Option<Vec<u8>>>,
}

/// A call under way: a future of its answer. Dropping it gives the call up.
pub(super) struct Call {
    told: Rc<Told>,
    /// Whether the answer has been taken.
    taken: bool,
    _tell: Tell,
}

/// What a call has been told so far.
struct Told {
    asked: OnceCell<Asked>,
    items: RefCell<Vec<Option<Vec<u8>>>>,
    rows: RefCell<Rows>,
    record: Cell<Option<Option<Vec<u8>>>>,
    end: Cell<Option<Result<u32, EngineError>>>,
    decide: Cell<Option<Decide>>,
    waker: Cell<Option<Waker>>,
}

impl Call {
    /// Begins the call; only an apply decides.
    pub(super) fn begin(database: &Database, code: u8, request: Packed, decide: Option<Decide>) -> Self {
        let (told, tell) = Told::new(decide);
        told.asked.get_or_init(|| database.call(&tell)).begin(code, request.0);
        Call { told, taken: false, _tell: tell }
    }
}

impl Told {
    /// With what to tell it.
    fn new(decide: Option<Decide>) -> (Rc<Self>, Tell) {
        let told = Rc::new(Told {
            asked: OnceCell::new(),
            items: RefCell::default(),
            rows: RefCell::default(),
            record: Cell::default(),
            end: Cell::default(),
            decide: Cell::new(decide),
            waker: Cell::default(),
        });
        let inner = Rc::clone(&told);
        (told, Tell::new(move |code, number, bytes| inner.take(code, number, bytes)))
    }

    fn take(&self, code: u32, number: u32, bytes: Vec<u8>) {
        match code {
            told::ITEMS => self.unpack(&bytes),
            told::ROWS => self.unpack_rows(&bytes, number as usize),
            told::APPEND => match self.items.borrow_mut().last_mut() {
                Some(Some(last)) => last.extend(bytes),
                _ => self.rows.borrow_mut().append(&bytes),
            },
            told::RECORD => self.record.set(Some((number == 1).then_some(bytes))),
            told::DECIDE => {
                self.unpack(&bytes);
                let items = self.items.take();
                let writes = self.decide.take().and_then(|decide| decide(items));
                if let (Some(writes), Some(asked)) = (writes, self.asked.get()) {
                    write(asked, writes);
                }
            }
            told::END => {
                self.unpack(&bytes);
                self.end(Ok(number));
            }
            told::FAILED => self.end(Err(failed(number, bytes))),
            _ => {}
        }
    }

    fn unpack(&self, mut bytes: &[u8]) {
        let mut items = self.items.borrow_mut();
        while let Some((length, rest)) = bytes.split_first_chunk() {
            let (item, rest) = match u32::from_be_bytes(*length) as usize {
                0 => (None, rest),
                length => {
                    let (item, rest) = rest.split_at_checked(length - 1).unwrap_or((rest, &[]));
                    (Some(item.to_vec()), rest)
                }
            };
            items.push(item);
            bytes = rest;
        }
    }

    /// Takes rows, their keys without so many bytes, and their payloads as far as these are there.
    fn unpack_rows(&self, mut bytes: &[u8], prefix: usize) {
        let mut rows = self.rows.borrow_mut();
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            Some(taken)
        };
        let mut row = || {
            let [key, payload] = [take(4)?, take(4)?].map(be_number);
            let key = take(key)?.get(prefix..)?;
            let payload = if payload > INLINE_BYTES_MAX { &[] } else { take(payload)? };
            Some((key, payload))
        };
        while let Some((key, payload)) = row() {
            rows.push(key, payload);
        }
    }

    fn end(&self, end: Result<u32, EngineError>) {
        self.end.set(Some(end));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn be_number(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize)
}

fn failed(number: u32, message: Vec<u8>) -> EngineError {
    let fault = FAULTS.get((number & 0xFF) as usize).copied().unwrap_or(Fault::Other);
    let message = String::from_utf8(message).unwrap_or_default();
    let source = (number & 0x10000 != 0).then(|| Thrown(message.clone()));
    let mut error = EngineError::new(fault, message);
    if let Some(source) = source {
        error = error.with_source(source);
    }
    if number & 0x100 == 0 { error } else { error.with_outcome(Outcome::Unknown) }
}

impl Future for Call {
    type Output = Result<Answer, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(end) = self.told.end.take() else {
            self.told.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        };
        self.taken = true;
        let told = &self.told;
        let (items, rows, record) = (told.items.take(), told.rows.take(), told.record.take());
        Poll::Ready(end.map(|number| Answer { number, items, rows, record }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Afterwards nothing is told any more, so the closure can go.
        if let (false, Some(asked)) = (self.taken, self.told.asked.get()) {
            asked.release();
        }
    }
}
