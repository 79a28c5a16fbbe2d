//! The engine contract's laws over IndexedDB, and what is peculiar to this engine.
//!
//! Runs in every browser, in a window and in a worker. Never leaves a database behind.

mod connections;
mod format;
mod memory;
mod reads;
mod transactions;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_timer::Delay;
use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use rexie::{ObjectStore, Rexie, TransactionMode};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, EventTarget};

use super::IndexedDbSite;
use super::job::IndexedDbEngine;
use super::layout::Store;
use crate::batch::Batch;
use crate::engine::laws::Ask;
use crate::engine::{
    Change, Engine, EngineError, Get, Got, Look, OpenMode, Point, Site, Space, Verify, Want, Write,
};
use crate::key::Key;

// The format in numbers, told apart from the code that follows it.
const INLINE_BYTES_MAX: usize = 32 * 1024;
const CHUNK_BYTES: usize = 48 * 1024;
const BUCKET_BYTES_MAX: usize = 16 * 1024;

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

/// A database opened by somebody else's code, which creates it if it is not there.
async fn foreign(site: &IndexedDbSite, version: u32, stores: &[&str]) -> Rexie {
    let builder = Rexie::builder(&site.database_name("job").expect("a good id")).version(version);
    let add = |builder: rexie::RexieBuilder, name: &&str| builder.add_object_store(ObjectStore::new(name));
    stores.iter().fold(builder, add).build().await.expect("builds")
}

/// A second connection to the job, to look at the stores themselves or to damage them; to be closed.
async fn beside(site: &IndexedDbSite) -> Rexie {
    foreign(site, 1, &Store::ALL.map(Store::name)).await
}

/// Every key and value of a store.
async fn everything(connection: &Rexie, store: Store) -> (Vec<JsValue>, Vec<JsValue>) {
    let transaction = connection.transaction(&[store.name()], TransactionMode::ReadOnly).expect("begins");
    let store = transaction.store(store.name()).expect("is there");
    let keys = store.get_all_keys(None, None).await.expect("reads");
    (keys, store.get_all(None, None).await.expect("reads"))
}

/// Puts a value, or deletes what is there, behind the engine's back.
async fn tamper(connection: &Rexie, store: Store, key: JsValue, value: Option<JsValue>) {
    let transaction = connection.transaction(&[store.name()], TransactionMode::ReadWrite).expect("begins");
    let opened = transaction.store(store.name()).expect("is there");
    match value {
        Some(value) => drop(opened.put(&value, Some(&key)).await.expect("puts")),
        None => opened.delete(key).await.expect("deletes"),
    }
    transaction.done().await.expect("is complete");
}

fn bytes_to_js(bytes: impl AsRef<[u8]>) -> JsValue {
    Uint8Array::from(bytes.as_ref()).into()
}

/// The key of one piece of a long payload.
fn chunk_key(row: &[u8], index: usize) -> JsValue {
    Array::of2(&bytes_to_js(row), &JsValue::from_f64(index as f64)).into()
}

/// Replaces a method of the browser's, until it is dropped.
struct Patch {
    prototype: Object,
    name: &'static str,
    original: JsValue,
    replacement: JsValue,
}

impl Patch {
    /// `source` is JavaScript that makes the method of the one before; `undefined` takes it away.
    fn new(class: &str, name: &'static str, source: &str) -> Self {
        let class = Reflect::get(&js_sys::global(), &class.into()).expect("a class");
        let prototype: Object = Reflect::get(&class, &"prototype".into()).expect("has one").unchecked_into();
        let original = Reflect::get(&prototype, &name.into()).expect("reads");
        let make: Function = js_sys::eval(source).expect("is JavaScript").unchecked_into();
        let replacement = make.call1(&JsValue::NULL, &original).expect("makes one");
        if replacement.is_undefined() {
            Reflect::delete_property(&prototype, &name.into()).expect("goes");
        } else {
            Reflect::set(&prototype, &name.into(), &replacement).expect("is set");
        }
        Patch { prototype, name, original, replacement }
    }

    /// A property that the method keeps.
    fn kept(&self, name: &str) -> JsValue {
        Reflect::get(&self.replacement, &name.into()).expect("reads")
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        if !self.original.is_undefined() {
            let _ = Reflect::set(&self.prototype, &self.name.into(), &self.original);
        }
    }
}

/// Opens the job, with a hand on its connection.
async fn open_to_lose(site: &IndexedDbSite) -> (IndexedDbEngine, EventTarget) {
    let opening = "(open) => function patched(...args) { return patched.request = open.apply(this, args); }";
    let patch = Patch::new("IDBFactory", "open", opening);
    let engine = open(site).await;
    let connection = Reflect::get(&patch.kept("request"), &"result".into()).expect("is open");
    (engine, connection.unchecked_into())
}

/// What the browser does when it closes a connection by itself.
fn lose(connection: &EventTarget) {
    connection.dispatch_event(&Event::new("close").expect("an event")).expect("is dispatched");
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
