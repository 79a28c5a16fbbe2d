//! What every shared test needs: one test attribute and root names, the same on both platforms.

/// Marks an async test, on whichever executor the platform has.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use tokio::test as async_test;
/// Marks an async test, on whichever executor the platform has.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use wasm_bindgen_test::wasm_bindgen_test as async_test;

/// A root that no other test has, and that leaves nothing behind natively.
pub struct Fresh {
    name: String,
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    _directory: tempfile::TempDir,
}

impl Fresh {
    /// The root as [`Persistency::open`](persistency) takes it: a directory, or a name in the browser.
    pub fn root(&self) -> &str {
        &self.name
    }
}

/// Makes a root whose name starts with `name`; natively its directory lives as long as the value.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub fn fresh(name: &str) -> Fresh {
    let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().unwrap();
    Fresh { name: directory.path().join("root").display().to_string(), _directory: directory }
}

/// Makes a root whose name starts with `name`; natively its directory lives as long as the value.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub fn fresh(name: &str) -> Fresh {
    // Random and not counted: the databases of an earlier page may still be there.
    Fresh { name: format!("{name}-{:016x}", getrandom::u64().unwrap()) }
}
