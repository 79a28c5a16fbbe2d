//! The driver: one IndexedDB transaction as one future that reads like straight code.
//!
//! The body is polled when the transaction begins and then only inside the success event of a
//! request, so each next request is made while the transaction is active, and whatever else a body
//! waited for would never wake it. Never retries, and never leaves a handler that could be called
//! after it has been dropped: the handlers live until the transaction has ended, whoever still
//! waits for it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{Event, IdbRequest, IdbTransaction};

use super::fault::{During, JsError, lost, thrown};
use super::layout::Store;
use super::raw::begin;
use super::request::Tx;
use crate::engine::{EngineError, Fault};
use crate::error::Outcome;

/// What a transaction may do, and where its commit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write { durable: bool },
}

impl Mode {
    fn during(self) -> During {
        match self {
            Mode::Read => During::Reading,
            Mode::Write { .. } => During::Writing,
        }
    }
}

/// What a connection and its transactions know of each other.
#[derive(Default)]
pub(super) struct Ties {
    closed: Cell<bool>,
    /// Those that have not ended; bounded by the calls under way.
    runs: RefCell<Vec<Weak<Run>>>,
}

impl Ties {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// No new transaction begins; those under way end by themselves.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// The browser closed the connection: what has not heard of its end never will.
    pub(super) fn lose(&self) {
        self.close();
        let runs = std::mem::take(&mut *self.runs.borrow_mut());
        for run in runs.iter().filter_map(Weak::upgrade) {
            let error = run.reason.take().unwrap_or_else(lost);
            run.answer(Err(error.with_outcome(Outcome::Unknown)));
            run.body.replace(None);
            // It keeps its handlers, and with them itself, for an event that should not come but could.
            let _ = run.transaction.abort();
        }
    }
}

type Body = Pin<Box<dyn Future<Output = Result<(), EngineError>>>>;

/// The handlers of a transaction.
struct Handlers {
    /// Of every request that is waited for.
    _success: Closure<dyn Fn()>,
    /// Of the transaction: `error` (bubbling from its requests), `abort`, `complete`.
    _event: Closure<dyn Fn(Event)>,
}

/// A transaction that has not ended, kept alive by its own handlers.
struct Run {
    transaction: IdbTransaction,
    mode: Mode,
    ties: Rc<Ties>,
    body: RefCell<Option<Body>>,
    /// Whether the body has returned `Ok`.
    done: Cell<bool>,
    /// Why it is being aborted.
    reason: Cell<Option<EngineError>>,
    answer: Cell<Option<oneshot::Sender<Result<(), EngineError>>>>,
    handlers: RefCell<Option<Handlers>>,
}

/// Begins a transaction over `stores` and runs `body` in it.
///
/// A reading one answers as soon as its body has returned, a writing one when it is complete: then,
/// and only then, it is applied.
pub(super) fn start<T, F, B>(
    database: &web_sys::IdbDatabase,
    ties: &Rc<Ties>,
    stores: &[Store],
    mode: Mode,
    body: F,
) -> Result<Running<T>, EngineError>
where
    T: 'static,
    F: FnOnce(Tx) -> B,
    B: Future<Output = Result<T, EngineError>> + 'static,
{
    if ties.is_closed() {
        return Err(lost());
    }
    let transaction = begin(database, stores, mode).map_err(|value| {
        let error = thrown(&value, mode.during());
        if error.fault == Fault::Lost {
            ties.close();
        }
        error
    })?;
    let (sender, receiver) = oneshot::channel();
    let run = Rc::new(Run {
        transaction,
        mode,
        ties: Rc::clone(ties),
        body: RefCell::new(None),
        done: Cell::new(false),
        reason: Cell::new(None),
        answer: Cell::new(Some(sender)),
        handlers: RefCell::new(None),
    });
    ties.runs.borrow_mut().push(Rc::downgrade(&run));
    let tx = run.attach();
    let value = Rc::new(Cell::new(None));
    let slot = Rc::clone(&value);
    let body = body(tx);
    run.body.replace(Some(Box::pin(async move {
        slot.set(Some(body.await?));
        Ok(())
    })));
    run.step();
    Ok(Running { run, answer: receiver, value })
}

impl Run {
    /// Makes the handlers and the body's view of the transaction.
    fn attach(self: &Rc<Self>) -> Tx {
        let run = Rc::clone(self);
        let success = Closure::<dyn Fn()>::new(move || run.step());
        let run = Rc::clone(self);
        let event = Closure::<dyn Fn(Event)>::new(move |event: Event| run.on_event(&event));
        let tx = Tx::new(&self.transaction, success.as_ref().unchecked_ref(), self.mode.during());
        let handler = Some(event.as_ref().unchecked_ref());
        self.transaction.set_onerror(handler);
        self.transaction.set_onabort(handler);
        self.transaction.set_oncomplete(handler);
        self.handlers.replace(Some(Handlers { _success: success, _event: event }));
        tx
    }

    /// Lets the body go on as far as it can.
    fn step(&self) {
        let Some(mut body) = self.body.take() else { return };
        match body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.body.replace(Some(body));
            }
            Poll::Ready(Ok(())) => {
                self.done.set(true);
                // Refused only where a request has failed meanwhile, and then `abort` follows; a
                // browser without it commits by itself.
                #[expect(deprecated, reason = "so marked without a successor; the standard has no other")]
                let _ = self.transaction.commit();
                if self.mode == Mode::Read {
                    self.answer(Ok(()));
                }
            }
            Poll::Ready(Err(error)) => self.fail(error),
        }
    }

    /// Aborts because of `error`, which is what will be answered unless it completes nevertheless.
    fn fail(&self, error: EngineError) {
        self.body.replace(None);
        if self.mode == Mode::Read {
            self.answer(Err(error));
        } else {
            let first = self.reason.take().unwrap_or(error);
            self.reason.set(Some(first));
        }
        // Refused if it is already ending; then its event tells how.
        let _ = self.transaction.abort();
    }

    fn on_event(&self, event: &Event) {
        match event.type_().as_str() {
            "error" => self.on_error(event),
            "complete" => {
                self.answer(if self.done.get() {
                    Ok(())
                } else {
                    let message = "the transaction ended before its work was done";
                    Err(EngineError::new(Fault::Other, message).with_outcome(Outcome::Unknown))
                });
                self.end();
            }
            _ => {
                let reason = self.reason.take().unwrap_or_else(|| match self.transaction.error() {
                    Some(error) => thrown(&error, self.mode.during()),
                    None => lost(),
                });
                self.answer(Err(reason));
                self.end();
            }
        }
    }

    /// A request failed. Its own error says more than the transaction's will.
    fn on_error(&self, event: &Event) {
        let request = event.target().and_then(|target| target.dyn_into::<IdbRequest>().ok());
        let error = request.and_then(|request| request.error().ok().flatten());
        let error = error.map(|error| JsError { name: error.name(), message: error.message() });
        match error {
            // The transaction is being aborted already, and `abort` follows.
            Some(error) if error.name == "AbortError" => {
                self.body.replace(None);
            }
            Some(error) => self.fail(error.into_engine_error(self.mode.during())),
            None => self.fail(EngineError::new(Fault::Other, "a request failed without an error")),
        }
    }

    fn answer(&self, answer: Result<(), EngineError>) {
        if let Some(sender) = self.answer.take() {
            // Nobody waits any more: the caller dropped the future.
            let _ = sender.send(answer);
        }
    }

    /// The transaction has ended: nothing of it will be called again.
    fn end(&self) {
        self.body.replace(None);
        self.transaction.set_onerror(None);
        self.transaction.set_onabort(None);
        self.transaction.set_oncomplete(None);
        self.ties.runs.borrow_mut().retain(|run| !std::ptr::eq(run.as_ptr(), self));
        self.handlers.replace(None);
    }

    fn is_answered(&self) -> bool {
        let sender = self.answer.take();
        let answered = sender.is_none();
        self.answer.set(sender);
        answered
    }
}

/// A transaction under way. Dropping it aborts the transaction unless it has been answered.
pub(super) struct Running<T> {
    run: Rc<Run>,
    answer: oneshot::Receiver<Result<(), EngineError>>,
    value: Rc<Cell<Option<T>>>,
}

impl<T> Running<T> {
    /// Aborts; the future then says how it ended.
    pub(super) fn abort(&self) {
        self.run.fail(EngineError::new(Fault::Aborted, "the transaction was aborted on request"));
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| Err(lost().with_outcome(Outcome::Unknown)))?;
            self.value.take().ok_or_else(|| EngineError::new(Fault::Other, "a transaction without a result"))
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if !self.run.is_answered() {
            self.run.body.replace(None);
            let _ = self.run.transaction.abort();
        }
    }
}
