//! One raw connection to a job's database, and how it ends.
//!
//! Never opens itself again, and never stands in the way of whoever deletes or upgrades the
//! database: it closes at once when asked to.

use std::future::Future;
use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{Event, IdbDatabase};

use super::fault::corrupt;
use super::layout::{Store, VERSION};
use super::raw::{OpenDatabase, open_existing};
use super::request::Tx;
use super::transaction::{Mode, Running, Ties, start};
use crate::engine::{EngineError, Fault};

/// A connection; closed when it is dropped.
pub(super) struct Connection {
    database: OpenDatabase,
    ties: Rc<Ties>,
    _on_version_change: Closure<dyn Fn(Event)>,
    _on_close: Closure<dyn Fn()>,
}

impl Connection {
    /// Connects to an existing database of our version; `Missing` if there is none.
    pub(super) async fn open(name: &str) -> Result<Self, EngineError> {
        let connection = Connection::attach(open_existing(name).await?);
        let database = connection.database.get();
        // A whole number below 2^53.
        let version = database.version() as u64;
        if version > u64::from(VERSION) {
            let message = format!("the database has version {version}, newer than {VERSION}");
            return Err(EngineError::new(Fault::TooNew, message));
        }
        let names = database.object_store_names();
        if !Store::ALL.iter().all(|store| names.contains(store.name())) {
            return Err(corrupt("the database lacks an object store"));
        }
        Ok(connection)
    }

    fn attach(database: OpenDatabase) -> Self {
        let ties = Rc::new(Ties::default());
        let (raw, inner): (IdbDatabase, _) = (database.get().clone(), Rc::clone(&ties));
        // Somebody wants to delete or upgrade the database and waits for us.
        let on_version_change = Closure::<dyn Fn(Event)>::new(move |_| {
            inner.close();
            raw.close();
        });
        let inner = Rc::clone(&ties);
        let on_close = Closure::<dyn Fn()>::new(move || inner.lose());
        database.get().set_onversionchange(Some(on_version_change.as_ref().unchecked_ref()));
        database.get().set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Connection { database, ties, _on_version_change: on_version_change, _on_close: on_close }
    }

    /// Begins a transaction; see [`start`].
    pub(super) fn start<T, F, B>(
        &self,
        stores: &[Store],
        mode: Mode,
        body: F,
    ) -> Result<Running<T>, EngineError>
    where
        T: 'static,
        F: FnOnce(Tx) -> B,
        B: Future<Output = Result<T, EngineError>> + 'static,
    {
        start(self.database.get(), &self.ties, stores, mode, body)
    }

    #[cfg(test)]
    pub(super) fn lose_for_test(&self) {
        self.ties.lose();
    }

    /// Runs a reading transaction.
    pub(super) async fn read<T, F, B>(&self, stores: &[Store], body: F) -> Result<T, EngineError>
    where
        T: 'static,
        F: FnOnce(Tx) -> B,
        B: Future<Output = Result<T, EngineError>> + 'static,
    {
        self.start(stores, Mode::Read, body)?.await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ties.close();
        // The handlers go away with us, and an event may still be on its way.
        self.database.get().set_onversionchange(None);
        self.database.get().set_onclose(None);
    }
}
