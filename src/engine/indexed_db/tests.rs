//! The engine contract's laws over IndexedDB, and what is peculiar to this engine.
//!
//! Runs in every browser, in a window and in a worker. Never leaves a database behind.

mod connections;
mod format;
mod reads;
mod transactions;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_timer::Delay;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{Event, EventTarget, IdbKeyRange};

use super::IndexedDbSite;
use super::connection::Connection;
use super::job::IndexedDbEngine;
use super::layout::Store;
use super::request::{Tx, elements};
use super::transaction::Mode;
use crate::batch::Batch;
use crate::engine::laws::Ask;
use crate::engine::{
    Change, Engine, EngineError, Get, Got, Look, OpenMode, Point, Site, Space, Verify, Want, Write,
};
use crate::key::Key;

mod laws {
    crate::engine::laws::engine_laws!(persistent, (super::fresh_site(), ()));
}

/// Counts errors that nobody caught, which a page would see.
struct Uncaught {
    count: Rc<Cell<u32>>,
    listener: Closure<dyn Fn(Event)>,
}

impl Uncaught {
    fn listen() -> Self {
        let count = Rc::new(Cell::new(0));
        let inner = Rc::clone(&count);
        let listener = Closure::<dyn Fn(Event)>::new(move |_| inner.set(inner.get() + 1));
        let target: EventTarget = js_sys::global().unchecked_into();
        for name in ["error", "unhandledrejection"] {
            target
                .add_event_listener_with_callback(name, listener.as_ref().unchecked_ref())
                .expect("listens");
        }
        Uncaught { count, listener }
    }

    async fn none_after_a_while(self) {
        Delay::new(Duration::from_millis(50)).await;
        let target: EventTarget = js_sys::global().unchecked_into();
        for name in ["error", "unhandledrejection"] {
            let listener = self.listener.as_ref().unchecked_ref();
            target.remove_event_listener_with_callback(name, listener).expect("stops listening");
        }
        assert_eq!(self.count.get(), 0, "uncaught errors");
    }
}

/// A root that no other test has.
fn fresh_site() -> IndexedDbSite {
    IndexedDbSite::new(&format!("Test/{}", js_sys::Math::random()))
}

async fn open(site: &IndexedDbSite) -> IndexedDbEngine {
    site.open_now("job", OpenMode::Create, b"record".to_vec()).await.expect("opens")
}

/// Closes the engine and deletes the job.
async fn end(site: &IndexedDbSite, engine: &IndexedDbEngine) {
    engine.close().await.expect("closes");
    site.destroy("job").await.expect("is destroyed");
}

/// A second connection to the job, to look at the stores themselves or to damage them.
async fn beside(site: &IndexedDbSite) -> Connection {
    Connection::open(&site.database_name("job").expect("a good id")).await.expect("connects")
}

/// Every key and value of a store.
async fn everything(
    connection: &Connection,
    store: Store,
) -> (Vec<wasm_bindgen::JsValue>, Vec<wasm_bindgen::JsValue>) {
    let body = move |tx: Tx| async move {
        let store = tx.store(store)?;
        let all = IdbKeyRange::lower_bound(&f64::NEG_INFINITY.into()).expect("a range");
        let (keys, values) =
            (store.get_all_keys(&all, u32::MAX, false)?, store.get_all(&all, u32::MAX, false)?);
        Ok((elements(keys.await?)?.to_vec(), elements(values.await?)?.to_vec()))
    };
    connection.read(&[store], body).await.expect("reads")
}

/// Changes the stores behind the engine's back.
async fn tamper(connection: &Connection, change: impl FnOnce(Tx) -> Result<(), EngineError> + 'static) {
    let mode = Mode::Write { durable: false };
    let running = connection.start(&Store::ALL, mode, |tx| async move { change(tx) });
    running.expect("begins").await.expect("is complete");
}

fn row(key: impl AsRef<[u8]>) -> Point {
    Point { space: Space::Rows(Arc::from("c")), key: key.as_ref().to_vec() }
}

fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from_bytes(bytes.as_ref().to_vec())
}

fn change(batch: Batch) -> Change {
    let writes = vec![Write::Rows(Arc::from(batch.operations()))];
    let reads = vec![Look { point: Point::record(), want: Want::Payload(1000) }];
    Change { reads, decide: Box::new(move |_| Some(writes)), durable: false }
}

fn put(name: &str, payload: impl Into<Vec<u8>>) -> Change {
    change(Batch::new().put("c", key(name), payload))
}

async fn get(engine: &IndexedDbEngine, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let get = Get { points: vec![row(name)], presence_only: false, bytes_max: usize::MAX };
    match engine.get(get, Verify::Never).await?.value {
        Got::Payloads(mut payloads) => Ok(payloads.remove(0)),
        Got::TooLarge(bytes) => panic!("{bytes} bytes are no more than the bound"),
    }
}
