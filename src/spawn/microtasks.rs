//! Tasks of this thread, run by its microtasks: what `wasm_bindgen_futures` does, without what it knows of other places.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Wake};

use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::tasks::Tasks;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(run: &Closure<dyn Fn()>);
}

thread_local! {
    static HERE: Here = Here {
        tasks: Tasks::default(),
        last: Cell::new(0),
        is_due: Cell::new(false),
        run: Closure::new(|| HERE.with(Here::run)),
    };
}

/// The tasks, and what runs them.
struct Here {
    tasks: Tasks<()>,
    /// The last one's number.
    last: Cell<u64>,
    /// Whether a microtask has been queued.
    is_due: Cell<bool>,
    run: Closure<dyn Fn()>,
}

impl Here {
    fn call(&self) {
        if !self.is_due.replace(true) {
            queue_microtask(&self.run);
        }
    }

    /// Polls those that were woken; others that this wakes are left to the next microtask.
    fn run(&self) {
        self.is_due.set(false);
        let waker = Arc::new(Caller).into();
        self.tasks.poll(&Context::from_waker(&waker), usize::MAX, |_, ()| {});
    }
}

/// Runs the future to its end; polls it when who starts it has returned. Answers its number.
pub(crate) fn spawn_local(future: impl Future<Output = ()> + 'static) -> u64 {
    HERE.with(|here| {
        here.last.set(here.last.get() + 1);
        here.tasks.add(here.last.get(), Box::pin(future));
        here.call();
        here.last.get()
    })
}

/// Drops the future of this number, unless it has ended.
pub(crate) fn give_up(number: u64) {
    HERE.with(|here| here.tasks.remove(number));
}

/// Has this thread's tasks run.
struct Caller;

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        HERE.with(Here::call);
    }
}
