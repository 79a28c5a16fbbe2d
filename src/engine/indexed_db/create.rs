//! Connects to a job's database, and creates it with its stores where that is wanted.
//!
//! Never changes one that is there. Rust programs have rexie create it; in the npm package, whose every byte a page
//! waits for, the script that connects does the same in passing (`engine.js`). A test compares what they make.

use super::job::IndexedDbEngine;
use crate::engine::EngineError;

/// Connects to the database of this name. `Missing` if there was none: `creates` says that it is to be tried again
/// then, because now there is one.
#[cfg(not(feature = "web"))]
pub(super) async fn connect(engine: &IndexedDbEngine, name: &str, creates: bool) -> Result<(), EngineError> {
    let connected = engine.connect(false).await;
    if creates && connected.as_ref().is_err_and(|error| error.fault == crate::engine::Fault::Missing) {
        by_rexie::create(name).await?;
    }
    connected
}

/// Connects to the database, which is created if there is none and `creates`.
#[cfg(feature = "web")]
pub(super) async fn connect(engine: &IndexedDbEngine, _: &str, creates: bool) -> Result<(), EngineError> {
    engine.connect(creates).await
}

#[cfg(any(test, not(feature = "web")))]
pub(super) mod by_rexie {
    use rexie::{ObjectStore, Rexie};
    use tokio::sync::oneshot;
    use wasm_bindgen_futures::spawn_local;

    use super::super::bridge::{During, thrown};
    use super::super::layout::{Store, VERSION};
    use crate::engine::{EngineError, Fault};

    /// Creates the database, unless somebody else has been faster, and lets go of it.
    pub(in super::super) async fn create(name: &str) -> Result<(), EngineError> {
        let (sender, receiver) = oneshot::channel();
        let name = name.to_owned();
        // In a task of its own, because rexie's futures must not be dropped before they have ended.
        spawn_local(async move {
            let builder = Rexie::builder(&name).version(VERSION);
            let add = |builder: rexie::RexieBuilder, store: Store| {
                builder.add_object_store(ObjectStore::new(store.name()))
            };
            let created = Store::ALL.into_iter().fold(builder, add).build().await.map(Rexie::close);
            // If nobody waits any more the next opening finds an empty database and goes on.
            let _ = sender.send(created.map_err(|error| rexie_error(&error)));
        });
        let forgotten = |_| Err(EngineError::new(Fault::Other, "the creation of the database was forgotten"));
        receiver.await.unwrap_or_else(forgotten)
    }

    /// The browser's own exception, where rexie passes one on.
    fn rexie_error(error: &rexie::Error) -> EngineError {
        use idb::Error::{DomException, IndexedDbOpenFailed, ObjectStoreCreateFailed};
        match error {
            rexie::Error::IdbError(DomException(exception)) => thrown(exception, During::Opening),
            rexie::Error::IdbError(IndexedDbOpenFailed(value) | ObjectStoreCreateFailed(value)) => {
                thrown(value, During::Opening)
            }
            _ => EngineError::new(Fault::Other, "the database could not be created"),
        }
    }
}
