//! Creates a job's database with its stores, and lets go of it.
//!
//! Never changes one that is there. Rust programs have rexie do it; the npm package, whose every byte a page
//! waits for, has its own script do the same (in `engine.js`). A test compares what they make.

#[cfg(any(test, not(feature = "web")))]
pub(super) mod by_rexie {
    use rexie::{ObjectStore, Rexie};
    use tokio::sync::oneshot;
    use wasm_bindgen_futures::spawn_local;

    use super::super::bridge::{During, thrown};
    use super::super::layout::{Store, VERSION};
    use crate::engine::{EngineError, Fault};

    /// Creates the database, unless somebody else has been faster.
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

#[cfg(any(test, feature = "web"))]
pub(super) mod by_script {
    use super::super::bridge::{Call, Database, Packed, code};

    /// Creates the database, unless somebody else has been faster.
    pub(in super::super) fn create(name: &str) -> Call {
        Call::begin(&Database::new(name), code::CREATE, Packed::default(), None)
    }
}

#[cfg(not(feature = "web"))]
pub(super) use by_rexie::create;
#[cfg(feature = "web")]
pub(super) use by_script::create;
