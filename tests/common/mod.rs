//! What every shared test needs: one test attribute, roots of both kinds, and short words for rows.
//!
//! Never sleeps and starts no thread: the same source runs natively and in browsers.

use std::sync::{Mutex, PoisonError};

use persistency::{Batch, Clock, ErrorKind, Job, Key, Persistency};

/// Marks an async test, on whichever executor the platform has.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use tokio::test as async_test;
/// Marks an async test, on whichever executor the platform has.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use wasm_bindgen_test::wasm_bindgen_test as async_test;

/// Whether several roots of one name are several tabs; if not, the second one is `Busy`.
pub const SHARED: bool = cfg!(all(target_family = "wasm", target_os = "unknown"));

/// Stamps facts as tests: `everywhere` on a root on disk and on one in memory, the others on one kind.
///
/// A fact is an `async fn` that borrows the [`TestRoot`] made for it.
macro_rules! facts {
    ($(everywhere: $($both:ident),+;)? $(on_disk: $($disk:ident),+;)? $(in_memory: $($memory:ident),+;)?) => {
        mod on_disk {
            $($(facts!(@stamp $both, crate::common::TestRoot::on_disk);)+)?
            $($(facts!(@stamp $disk, crate::common::TestRoot::on_disk);)+)?
        }
        mod in_memory {
            $($(facts!(@stamp $both, crate::common::TestRoot::in_memory);)+)?
            $($(facts!(@stamp $memory, crate::common::TestRoot::in_memory);)+)?
        }
    };
    (@stamp $fact:ident, $make:path) => {
        #[crate::common::async_test]
        async fn $fact() {
            let root = $make(stringify!($fact));
            super::$fact(&root).await;
            root.finish().await;
        }
    };
}

/// Where one test keeps its jobs; knows every root object that it has given out.
pub struct TestRoot {
    fresh: Fresh,
    persists: bool,
    opened: Mutex<Vec<Persistency>>,
}

impl TestRoot {
    /// A directory of its own, or a name of its own in the browser.
    pub fn on_disk(name: &str) -> Self {
        TestRoot { fresh: fresh(name), persists: true, opened: Mutex::default() }
    }

    /// Memory; every root object of it is another one.
    pub fn in_memory(name: &str) -> Self {
        TestRoot { persists: false, ..TestRoot::on_disk(name) }
    }

    /// Whether jobs outlive the root object.
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// The root as [`Persistency::open`] takes it.
    pub fn name(&self) -> &str {
        if self.persists { self.fresh.root() } else { ":memory:" }
    }

    /// A new root object, closed at the end of the test.
    pub fn open(&self) -> Persistency {
        self.open_with_clock(Clock::system())
    }

    /// A new root object with this clock, closed at the end of the test.
    pub fn open_with_clock(&self, clock: Clock) -> Persistency {
        let p = Persistency::open_with_clock(self.name(), clock).unwrap();
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(p.clone());
        p
    }

    /// A new root object that the test alone holds.
    pub fn open_unheld(&self) -> Persistency {
        Persistency::open(self.name()).unwrap()
    }

    /// The job `alpha` of a new root object.
    pub async fn job(&self) -> Job {
        self.open().open_job("alpha").await.unwrap()
    }

    /// Closes what was opened, and leaves nothing behind, in the browser neither.
    pub async fn finish(self) {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for p in opened {
            // What a test leaves unreported is that test's own affair.
            p.close().await.ok();
        }
        if self.persists && SHARED {
            let p = self.open_unheld();
            for id in p.list_jobs().await.unwrap() {
                p.drop_job(&id).await.unwrap();
            }
            p.close().await.unwrap();
        }
    }
}

/// A key of exactly these bytes.
pub fn k(bytes: impl Into<Vec<u8>>) -> Key {
    Key::from_bytes(bytes)
}

/// The kind of the error that this is.
pub fn kind<T>(result: persistency::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.kind(),
    }
}

/// Every row of a category, in order.
pub async fn rows(job: &Job, category: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = job.scan(category, ..).await.unwrap();
    rows.into_iter().map(|row| (row.key.into_bytes(), row.payload)).collect()
}

/// Every key of a category, in order.
pub async fn keys(job: &Job, category: &str) -> Vec<Vec<u8>> {
    rows(job, category).await.into_iter().map(|(key, _)| key).collect()
}

/// Puts a row of each key, its payload the key itself.
pub async fn put_all<K: Into<Vec<u8>> + Clone>(job: &Job, category: &str, all: impl IntoIterator<Item = K>) {
    let batch = all.into_iter().fold(Batch::new(), |batch, key| batch.put(category, k(key.clone()), key));
    job.persist_acked(batch).await.unwrap();
}

/// A batch that fails with a `Conflict`, as long as there is no row `missing` in the category `missing`.
pub fn failing() -> Batch {
    Batch::new().require_present("missing", k("missing")).put("m", k("never"), "")
}

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
