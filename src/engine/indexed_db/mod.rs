//! The engine of the browser: each job is one IndexedDB database, in windows and in workers.
//!
//! Never retries, never reconnects by itself and never awaits anything foreign inside a transaction.
//! The mechanics are JavaScript, in `engine.js` and `tasks.js`: IndexedDB's transactions live in callbacks,
//! which are at home there, a browser has a fraction of the code to load, and the rows of a page or of a
//! commit cross the border together. What a row is stays here: keys, what is decided, what is written.
//!
//! # Format 1
//!
//! Database `persistency/<escaped root>/<escaped id>`, version 1, four stores without key paths:
//!
//! | store | key | value |
//! |---|---|---|
//! | `rows` | escaped category, then the row's key | the payload, or its length if it is long |
//! | `chunks` | \[the key in `rows`, index from 0\] | a piece of a long payload, all but the last full |
//! | `log` | as given | as given |
//! | `meta` | as given | as given; under `chunks` the note that there may be chunks |
//!
//! Binary keys and all values are `Uint8Array`s of exactly their own bytes. A category is escaped by
//! writing its 00 as 00 FF and ending it with 00 01, which keeps the order of its bytes. A payload is
//! long above 32 KiB and is cut into pieces of 48 KiB, so that no value passes 64 KiB.

mod bridge;
mod job;
mod layout;
mod owner;
mod site;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

pub(crate) use site::IndexedDbSite;

/// How long a call may take, unless the options say otherwise.
pub(crate) const DEADLINE_DEFAULT: Option<Duration> = Some(Duration::from_secs(30));
