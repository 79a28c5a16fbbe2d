//! Layer `write_behind`: memory is the truth, the store follows.

mod bootstrap;
mod dirty_set;
mod engine;
mod fence;
mod flush;
mod flusher;
mod options;
mod repair;
mod schema;
mod sets;
mod strong;

pub use bootstrap::Bootstrap;
pub use dirty_set::{DirtySet, Mark};
pub use engine::{Status, WriteBehind};
pub use flush::Flushed;
pub use options::{Backoff, FlushPolicy, MARK_BYTES_MAX, MARKS_MAX, Options, SetBounds};
pub use repair::{RelationReport, RepairReport};
pub use schema::{RelationKind, Schema};
pub use sets::{Rows, StrongSet, WeakSet};
pub use strong::{ATTEMPTS_MAX, Saved};

#[cfg(test)]
mod tests;
