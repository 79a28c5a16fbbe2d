//! What an archive needs of a store, and the one place that copes with stores that answer twice or half.

mod faulty;
mod memory;
mod timed;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};

pub use faulty::{FaultyStore, StoreFault};
pub use memory::MemoryStore;
pub(super) use timed::TimedStore;

/// Names asked for in one call of [`Store::list`] at most.
pub const LIST_MAX: usize = 1000;
/// How often one put looks again at a name that somebody else changes under it.
const PUT_ROUNDS_MAX: usize = 4;

/// What [`Store::put_new`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The object is there now, and was not before.
    Created,
    /// There is one of this name already; it stays as it is.
    Exists,
}

/// Where objects are kept: names and bytes.
///
/// Names are of `a-z 0-9 - _ . = /`. Any call may be repeated. An error means that it is not known
/// whether the call was carried out; an archive asks again. Errors are best of the kind `Backend`, with a
/// message that says what a person can do.
///
/// # What is asked of a store
///
/// * A put that was answered with [`Put::Created`] is on the medium, and every later `get` and `list`
///   sees it.
/// * Of several puts of one name one is `Created`. This fences a second writer.
/// * An object is there whole or not at all. One that an upload left half is noticed by its checksum
///   and replaced; but while that happens the fence is open.
///
/// Futures have to be `Send` on every platform, and the library runs them without a runtime.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates the object, unless there is one of this name.
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put>;

    /// The object's bytes; `None` if there is none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// The first `limit` names, at most [`LIST_MAX`], that begin with `prefix` and are `from` or come
    /// after it, ascending by their bytes. `prefix` ends with `/`.
    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>>;

    /// Removes the object; fine if there is none.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// Puts an object that may have been put before, by this call or an earlier one.
///
/// Returns `None` when the store holds these bytes, or what it holds instead if that is `whole`. An
/// object that is not is what an upload left half, and is replaced.
pub(super) async fn put_settled(
    store: &dyn Store,
    name: &str,
    bytes: &[u8],
    whole: fn(&[u8]) -> Result<()>,
) -> Result<Option<Vec<u8>>> {
    for _ in 0..PUT_ROUNDS_MAX {
        if store.put_new(name, bytes).await? == Put::Created {
            return Ok(None);
        }
        match store.get(name).await? {
            Some(there) if there == bytes => return Ok(None),
            Some(there) => match whole(&there) {
                Ok(()) => return Ok(Some(there)),
                Err(error) if error.kind() == ErrorKind::Corrupt => store.delete(name).await?,
                Err(error) => return Err(error.in_context(name)),
            },
            None => {}
        }
    }
    Err(Error::new(ErrorKind::Backend, format!("{name}: it changes while it is written")))
}

/// The object, which has to be there; `Corrupt` if it is missing.
pub(super) async fn get_whole(store: &dyn Store, name: &str) -> Result<Vec<u8>> {
    let missing = || Error::new(ErrorKind::Corrupt, format!("{name}: the object is missing"));
    store.get(name).await?.ok_or_else(missing)
}
