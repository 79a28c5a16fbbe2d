//! The engine contract's laws over IndexedDB, and what is peculiar to this engine.
//!
//! Runs in every browser, in a window and in a worker.

mod laws {
    crate::engine::laws::engine_laws!(persistent, (super::fresh_site(), ()));
}

use super::IndexedDbSite;

/// A root that no other test has.
fn fresh_site() -> IndexedDbSite {
    IndexedDbSite::new(&format!("Test/{}", js_sys::Math::random()))
}
