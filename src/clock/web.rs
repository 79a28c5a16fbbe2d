//! The browser's time: its own functions, called as they are. What libraries have for that is ten times as much to load.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn monotonic_ms() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn unix_ms() -> f64;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(ring: &JsValue, ms: f64) -> f64;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(id: f64);
}

/// Time since the page or worker began.
pub(super) fn monotonic() -> Duration {
    whole_ms(monotonic_ms())
}

/// Time since the Unix epoch.
pub(super) fn unix() -> Duration {
    whole_ms(unix_ms())
}

fn whole_ms(ms: f64) -> Duration {
    // What is no such number becomes the nearest one that is.
    Duration::from_millis(ms as u64)
}

/// A timer, which is ready when so much time has passed.
pub(super) struct Delay {
    bell: Arc<Bell>,
    /// The timeout's number: unlike what it calls it can go to another thread, as its owner can.
    id: f64,
}

#[derive(Default)]
struct Bell(Mutex<State>);

#[derive(Default)]
struct State {
    rung: bool,
    waker: Option<Waker>,
}

impl Bell {
    fn ring(&self) {
        let mut state = self.lock();
        state.rung = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delay {
    pub(super) fn new(wait: Duration) -> Self {
        let bell = Arc::<Bell>::default();
        let rings = Arc::clone(&bell);
        let ring = Closure::<dyn Fn()>::new(move || rings.ring());
        // The browser frees it with its garbage, when it has been called or will not be.
        let id = set_timeout(&ring.into_js_value(), wait.as_millis() as f64);
        Delay { bell, id }
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.bell.lock();
        if state.rung {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // The browser collects what was to be called.
        clear_timeout(self.id);
    }
}
