//! The engine of the browser: each job is one IndexedDB database, in windows and in workers.
//!
//! Never retries, never reconnects by itself and never awaits anything foreign inside a transaction.
//! The mechanics are JavaScript: IndexedDB's transactions live in callbacks, which are at home there, a browser
//! has a fraction of the code to load, and the rows of a page or of a commit cross the border together. What
//! a row is stays here: keys, what is decided, what is written.
//!
//! | file | what it is for |
//! |---|---|
//! | `engine.js` | connections, calls, their turns, transactions and their events |
//! | `tasks.js` | what each call reads and writes |
//! | `view.js` | what a task sees of the job: remembered, or read in its transaction |
//! | `format.js` | pure: the bytes of buckets and of the journal |
//! | `basics.js` | pure: what exceptions mean, and how bytes are ordered, read and gathered |
//!
//! # Format 1
//!
//! Database `persistency/<escaped root>/<escaped id>`, version 1, five stores without key paths. Binary keys
//! and all values are `Uint8Array`s of exactly their own bytes; numbers within them are big-endian.
//!
//! | store | key | value |
//! |---|---|---|
//! | `rows` | a binary key, the bucket's bound | a bucket |
//! | `journal` | a number from 1 | an entry |
//! | `chunks` | \[a row's key, index from 0\] | a piece of a long payload, all but the last full |
//! | `log` | as given | as given |
//! | `meta` | as given, but for the job's record | as given |
//!
//! **A row's key** is its category, escaped by writing 00 as 00 FF and ended with 00 01, which keeps the order
//! of its bytes, then the key itself. **A packed row** is the length of that (4 bytes), the length of the
//! payload (4), the key, and the payload unless it is long: above 32 KiB it is cut into pieces of 48 KiB.
//!
//! **A bucket** is packed rows in the order of their keys, of which there is at least one. They are at or
//! behind the bucket's bound, and before that of the next one. A bucket of more than 16 KiB is a single row.
//! So no value passes 64 KiB, unless a key alone is that long.
//!
//! **An entry** is its number (8 bytes, the same as its key), the length of a record (4), the record, and
//! operations: 00 and a packed row (put), 01 and a row's key behind its length (delete), or 02 and a range
//! (delete all within): 01 and its lower bound, or 02, its lower and its upper bound, which is not within,
//! each behind its length. Each commit adds the next number, or several, of which the last one has the job's
//! record and the others none. The newest entry is always there: **its record is that of the job.**
//!
//! What the job holds is the rows of the buckets, with all operations of the journal carried out over them,
//! in order. Carried out twice they come to the same, so what an entry did may be in the buckets already: while
//! the journal is too large each commit writes some of the result into them, in the order of the keys, and
//! when it is through it removes the entries from before it began. A commit that is far too large itself
//! writes all of it, and begins the journal anew with one entry that has no operations. The ranges of an entry have been removed from the
//! buckets when it is added, and its long payloads are in `chunks`. The pieces of a long payload that the
//! journal replaces by a short one, or deletes, may still be there as long as its row is in a bucket.

mod bridge;
mod create;
mod job;
mod layout;
mod owner;
mod site;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

pub(crate) use site::IndexedDbSite;

/// Whether there are [`Direct`](super::Direct) reads: only the engine of the tests has them.
pub(crate) const READS_DIRECTLY: bool = cfg!(test);

/// Writers come in frames, all of one turn of the event loop together; tests hold the machine to the rule all the same.
pub(crate) const GATHERS: bool = cfg!(test);

/// Whether engines give something back while their jobs have no work: here too, only those of the tests do.
pub(crate) const RESTS: bool = cfg!(test);

/// How long a call may take, unless the options say otherwise.
pub(crate) const DEADLINE_DEFAULT: Option<Duration> = Some(Duration::from_secs(30));
