//! Direct reads: single rows and pages of the log, read on their callers' threads from connections of their own.
//!
//! Never writes, never waits for another caller, and never says why it has no answer: whoever gets none
//! asks the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::fault::Result;
use super::files::Files;
use super::overlay::Shared;
use super::{read, schema};
use crate::engine::{Direct, Fault, NotDirectly, Wanted};
#[cfg(feature = "archive")]
use crate::engine::{Page, PageRequest};
use crate::limits::SMALL_GET_BYTES_MAX;

/// Connections for rows at most; a caller that finds all of them in use asks the engine. There is one more for
/// the log, whose pages are not to drive those of rows out.
const CONNECTIONS_MAX: usize = 4;
/// KiB of pages that each of them keeps: 100,000 rows of 100 bytes. A page that is not there costs as much
/// as the rest of a get.
const CACHE_KIB: i32 = 16 * 1024;

/// The connections for direct reads, each opened when it is first needed.
pub(super) struct DirectReads {
    files: Files,
    /// What the journal says of rows; whoever closes the engine forgets it.
    overlay: Arc<Shared>,
    connections: Mutex<Connections>,
    returned: Condvar,
    /// Whether there has been a read since somebody asked.
    used: AtomicBool,
}

#[derive(Default)]
struct Connections {
    rows: Idle,
    log: Idle,
    closed: bool,
}

/// Connections for one purpose, and how many of them are in use.
#[derive(Default)]
struct Idle {
    idle: Vec<Connection>,
    lent: usize,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "archive"), allow(dead_code, reason = "archives read the log so, and nobody else"))]
enum For {
    Rows,
    Log,
}

impl Connections {
    fn of(&mut self, purpose: For) -> (&mut Idle, usize) {
        match purpose {
            For::Rows => (&mut self.rows, CONNECTIONS_MAX),
            For::Log => (&mut self.log, 1),
        }
    }
}

/// A connection in use; goes back if it is sound, and is closed otherwise.
struct Lent<'a> {
    of: &'a DirectReads,
    purpose: For,
    conn: Option<Connection>,
    is_sound: bool,
}

impl DirectReads {
    pub(super) fn new(files: Files, overlay: Arc<Shared>) -> Self {
        DirectReads {
            files,
            overlay,
            connections: Mutex::default(),
            returned: Condvar::new(),
            used: AtomicBool::new(false),
        }
    }

    /// Closes every connection, waiting for those in use; there are none from then on.
    pub(super) fn close(&self) {
        let mut connections = self.lock();
        connections.closed = true;
        while connections.rows.lent + connections.log.lent > 0 {
            connections = self.returned.wait(connections).unwrap_or_else(PoisonError::into_inner);
        }
        let (rows, log) =
            (std::mem::take(&mut connections.rows.idle), std::mem::take(&mut connections.log.idle));
        drop(connections);
        for conn in rows.into_iter().chain(log) {
            close(conn);
        }
    }

    /// Whether there has been a read since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn lend(&self, purpose: For) -> Option<Lent<'_>> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let mut connections = self.lock();
        let is_closed = connections.closed;
        let (of_purpose, most) = connections.of(purpose);
        if is_closed || of_purpose.lent >= most {
            return None;
        }
        of_purpose.lent += 1;
        let conn = of_purpose.idle.pop();
        drop(connections);
        let mut lent = Lent { of: self, purpose, conn, is_sound: false };
        if lent.conn.is_none() {
            lent.conn = Some(self.connect(purpose).ok()?);
        }
        Some(lent)
    }

    /// Runs a read on one of the connections; none if it fails, whatever the reason.
    fn read<T>(&self, purpose: For, read: impl Fn(&Connection) -> Result<T>) -> Result<T, NotDirectly> {
        let mut lent = self.lend(purpose).ok_or(NotDirectly)?;
        let conn = lent.conn.as_ref().ok_or(NotDirectly)?;
        let read = catch_unwind(AssertUnwindSafe(|| read(conn)));
        // What any other failure or a panic leaves in its connection goes with it.
        lent.is_sound = match &read {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.fault == Fault::TooLarge,
            Err(_) => false,
        };
        match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Err(NotDirectly),
        }
    }

    fn connect(&self, purpose: For) -> Result<Connection> {
        let conn = schema::open_reader(&self.files.db)?;
        if purpose == For::Rows {
            schema::set_cache(&conn, CACHE_KIB)?;
        }
        // Whoever is in the way keeps the engine busy too, but no caller's thread.
        conn.busy_timeout(Duration::ZERO)?;
        Ok(conn)
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Direct for DirectReads {
    fn row(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<u8>>, NotDirectly> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        // Of what the overlay says nothing the tree holds what is committed by now, or something newer.
        if let Some(over) = self.overlay.row(wanted.category, wanted.key).ok_or(NotDirectly)? {
            return match over {
                Some(payload) if wanted.presence_only => Ok(Some(payload[..0].to_vec())),
                Some(payload) if payload.len() > SMALL_GET_BYTES_MAX => Err(NotDirectly),
                over => Ok(over.map(|payload| payload.to_vec())),
            };
        }
        self.read(For::Rows, |conn| read::row(conn, wanted, SMALL_GET_BYTES_MAX))
    }

    #[cfg(feature = "archive")]
    fn log_page(&self, request: &PageRequest) -> Result<(Page, Vec<u8>), NotDirectly> {
        self.read(For::Log, |conn| read::log_page(conn, request))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let conn = self.conn.take();
        let (sound, broken) = if self.is_sound { (conn, None) } else { (None, conn) };
        broken.into_iter().for_each(close);
        let mut connections = self.of.lock();
        let (of_purpose, _) = connections.of(self.purpose);
        of_purpose.idle.extend(sound);
        of_purpose.lent -= 1;
        let awaited = connections.closed;
        drop(connections);
        if awaited {
            self.of.returned.notify_all();
        }
    }
}

impl Drop for DirectReads {
    fn drop(&mut self) {
        self.close();
    }
}

fn close(conn: Connection) {
    if let Err(error) = schema::close(conn) {
        log::warn!("closing a connection for direct reads: {}", error.message);
    }
}
