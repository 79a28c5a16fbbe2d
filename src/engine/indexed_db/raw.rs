//! Raw IndexedDB: the factory, opening without creating, deleting, listing, beginning transactions.
//!
//! Never creates a database: an upgrade that opening would cause is aborted. Never outlives its
//! caller: a database that opens after the caller has gone is closed again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect};
use tokio::sync::oneshot;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Event, IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbTransaction};

use super::fault::{During, thrown};
use super::layout::Store;
use super::transaction::Mode;
use crate::engine::{EngineError, Fault};

/// The browser's `indexedDB`, in a window or in a worker.
pub(super) fn factory() -> Result<IdbFactory, EngineError> {
    // Reading the property throws where an opaque origin forbids it.
    let value = Reflect::get(&js_sys::global(), &"indexedDB".into());
    let value = value.map_err(|value| {
        let mut error = thrown(&value, During::Opening);
        error.fault = Fault::Unsupported;
        error
    })?;
    if value.is_undefined() || value.is_null() {
        return Err(EngineError::new(Fault::Unsupported, "there is no IndexedDB here"));
    }
    Ok(value.unchecked_into())
}

/// A database that is closed when it is dropped.
pub(super) struct OpenDatabase(IdbDatabase);

impl OpenDatabase {
    pub(super) fn get(&self) -> &IdbDatabase {
        &self.0
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // Waits for the transactions under way by itself.
        self.0.close();
    }
}

/// Opens an existing database in whatever version it has; `Missing` if there is none.
pub(super) async fn open_existing(name: &str) -> Result<OpenDatabase, EngineError> {
    let request = factory()?.open(name).map_err(|value| thrown(&value, During::Opening))?;
    let database = ask(request).await?;
    database.ok_or_else(|| EngineError::new(Fault::Other, "opening gave no database"))
}

/// Deletes a database, or nothing; waits for as long as somebody has it open and does not let go.
pub(super) async fn delete(name: &str) -> Result<(), EngineError> {
    let request = factory()?.delete_database(name).map_err(|value| thrown(&value, During::Opening))?;
    ask(request).await.map(drop)
}

/// The names of all databases of this origin.
pub(super) async fn names() -> Result<Vec<String>, EngineError> {
    let factory = factory()?;
    let opening = |value: JsValue| thrown(&value, During::Opening);
    let method = Reflect::get(&factory, &"databases".into()).map_err(opening)?;
    let Ok(method) = method.dyn_into::<Function>() else {
        return Err(EngineError::new(Fault::Unsupported, "this browser cannot list its databases"));
    };
    let promise = method.call0(&factory).map_err(opening)?.unchecked_into::<Promise>();
    let infos: Array = JsFuture::from(promise).await.map_err(opening)?.unchecked_into();
    let name = |info: JsValue| {
        // WebKit goes on listing a database whose creation was aborted, in the version of no database.
        let version = Reflect::get(&info, &"version".into()).ok()?.as_f64()?;
        if version > 0.0 { Reflect::get(&info, &"name".into()).ok()?.as_string() } else { None }
    };
    Ok(infos.iter().filter_map(name).collect())
}

/// Whether this browser reads ranges from their end: the forms that do came with `getAllRecords`, and
/// cannot be asked for themselves. It is not used: taking its records apart measures slower than
/// asking for keys and values.
pub(super) fn has_direction() -> bool {
    let has = || -> Result<bool, JsValue> {
        let class = Reflect::get(&js_sys::global(), &"IDBObjectStore".into())?;
        let prototype = Reflect::get(&class, &"prototype".into())?;
        Reflect::has(&prototype, &"getAllRecords".into())
    };
    has().unwrap_or(false)
}

/// Begins a transaction.
pub(super) fn begin(database: &IdbDatabase, stores: &[Store], mode: Mode) -> Result<IdbTransaction, JsValue> {
    let names: Array = stores.iter().map(|store| JsValue::from_str(store.name())).collect();
    let options = Object::new();
    let (mode, durability) = match mode {
        Mode::Read => ("readonly", "default"),
        Mode::Write { durable: false } => ("readwrite", "relaxed"),
        Mode::Write { durable: true } => ("readwrite", "strict"),
    };
    Reflect::set(&options, &"durability".into(), &durability.into())?;
    let method: Function = Reflect::get(database, &"transaction".into())?.dyn_into()?;
    Ok(method.call3(database, &names, &mode.into(), &options)?.unchecked_into())
}

/// A database, or none after a deletion.
type Answer = Result<Option<OpenDatabase>, EngineError>;
type Handler = Closure<dyn Fn(Event)>;

/// A request for a database, kept alive by its own handlers until it has been answered.
struct Asked {
    request: IdbOpenDbRequest,
    /// Whether an upgrade was about to create the database.
    absent: Cell<bool>,
    answer: Cell<Option<oneshot::Sender<Answer>>>,
    handler: RefCell<Option<Handler>>,
}

/// Waits for a request for a database.
async fn ask(request: IdbOpenDbRequest) -> Answer {
    let (sender, receiver) = oneshot::channel();
    let asked = Rc::new(Asked {
        request,
        absent: Cell::new(false),
        answer: Cell::new(Some(sender)),
        handler: RefCell::new(None),
    });
    let inner = Rc::clone(&asked);
    let handler = Handler::new(move |event: Event| inner.on_event(&event));
    let function = Some(handler.as_ref().unchecked_ref());
    asked.request.set_onsuccess(function);
    asked.request.set_onerror(function);
    asked.request.set_onupgradeneeded(function);
    asked.handler.replace(Some(handler));
    drop(asked);
    let unanswered = |_| Err(EngineError::new(Fault::Other, "a request for a database was forgotten"));
    receiver.await.unwrap_or_else(unanswered)
}

impl Asked {
    fn on_event(&self, event: &Event) {
        match event.type_().as_str() {
            "upgradeneeded" => {
                self.absent.set(true);
                if let Some(upgrade) = self.request.transaction() {
                    // Then the request fails and the database stays uncreated.
                    let _ = upgrade.abort();
                }
            }
            "success" => {
                let result = self.request.result().ok();
                let database = result.and_then(|result| result.dyn_into::<IdbDatabase>().ok());
                self.end(Ok(database.map(OpenDatabase)));
            }
            _ => self.end(Err(self.error())),
        }
    }

    fn error(&self) -> EngineError {
        if self.absent.get() {
            return EngineError::new(Fault::Missing, "there is no such database");
        }
        match self.request.error() {
            Ok(Some(error)) => thrown(&error, During::Opening),
            Ok(None) => EngineError::new(Fault::Other, "a request for a database failed without an error"),
            Err(value) => thrown(&value, During::Opening),
        }
    }

    fn end(&self, answer: Answer) {
        self.request.set_onsuccess(None);
        self.request.set_onerror(None);
        self.request.set_onupgradeneeded(None);
        if let Some(sender) = self.answer.take() {
            // If nobody waits any more the database is dropped here, and so closed.
            let _ = sender.send(answer);
        }
        self.handler.replace(None);
    }
}
