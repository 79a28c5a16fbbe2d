//! Direct reads: single rows and pages of the log, read on their callers' threads from connections of their own.
//!
//! Never writes, never waits for another caller, and never says why it has no answer: whoever gets none
//! asks the engine.
//!
//! Beginning and ending a view are half of what reading a row costs, and threads that read at the same time wait
//! for each other there. So as long as the tree does not change a connection keeps its view from one row to the
//! next. A view that is kept is in the way of checkpoints: they have all of them ended first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
/// KiB of pages that each of them keeps: 100,000 rows of 100 bytes. A page that is not there costs twice as much
/// as the rest of a get.
const CACHE_KIB: i32 = 16 * 1024;
/// The same of one of them, which is lent before the others: that of a caller who reads alone.
const ROOMY_CACHE_KIB: i32 = 64 * 1024;

/// The connections for direct reads, each opened when it is first needed.
pub(super) struct DirectReads {
    files: Files,
    /// What the journal says of rows; whoever closes the engine forgets it.
    overlay: Arc<Shared>,
    connections: Mutex<Connections>,
    returned: Condvar,
    /// Twice the changes of the tree, and one more while a change is being committed: then some may see it already
    /// that others, whose view was kept, would not.
    changes: AtomicU64,
    /// Whether there has been a read since somebody asked.
    used: AtomicBool,
}

#[derive(Default)]
struct Connections {
    rows: Idle,
    log: Idle,
    closed: bool,
    /// How many want nobody to read now.
    stops: usize,
    /// Whether one of those for rows is roomy.
    has_roomy: bool,
    /// Whether no view is kept now, but for the time of a read.
    is_paused: bool,
    /// Pauses that there have been: whoever was lent a connection before the last one keeps no view either.
    pauses: u64,
}

/// Connections for one purpose, and how many of them are in use.
#[derive(Default)]
struct Idle {
    /// The last one is lent next.
    idle: Vec<Reading>,
    lent: usize,
}

/// A connection, and the view that it may have kept.
struct Reading {
    conn: Connection,
    is_roomy: bool,
    /// The changes of the tree that were counted before the last read, if there was none under way.
    changes: Option<u64>,
    /// Whether a view is kept, which was begun after these.
    keeps: bool,
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
    reading: Option<Reading>,
    /// The pauses that there had been; none in one.
    pauses: Option<u64>,
    is_sound: bool,
}

/// A change of the tree that is under way as long as this lives.
pub(super) struct Changing<'a>(&'a DirectReads);

/// Nobody reads directly as long as this lives.
pub(super) struct Stopped<'a>(&'a DirectReads);

impl Reading {
    /// Gets ready for a read of the tree as it is after so many changes, or later.
    fn look(&mut self, changes: Option<u64>, may_keep: bool) -> Result<()> {
        let before = std::mem::replace(&mut self.changes, changes);
        if changes.is_none() || changes != before {
            self.end_view()?;
        } else if may_keep && !self.keeps {
            // What is read once between two changes is its own view, which costs less than one to be kept.
            self.conn.prepare_cached("BEGIN")?.execute(())?;
            self.keeps = true;
        }
        Ok(())
    }

    fn end_view(&mut self) -> Result<()> {
        if std::mem::take(&mut self.keeps) {
            self.conn.prepare_cached("COMMIT")?.execute(())?;
        }
        Ok(())
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.lock().stops -= 1;
    }
}

impl DirectReads {
    pub(super) fn new(files: Files, overlay: Arc<Shared>) -> Self {
        DirectReads {
            files,
            overlay,
            connections: Mutex::default(),
            returned: Condvar::new(),
            changes: AtomicU64::new(0),
            used: AtomicBool::new(false),
        }
    }

    /// Closes every connection, waiting for those in use; there are none from then on.
    pub(super) fn close(&self) {
        let mut connections = self.lock();
        connections.closed = true;
        let mut connections = self.until_returned(connections);
        let (rows, log) =
            (std::mem::take(&mut connections.rows.idle), std::mem::take(&mut connections.log.idle));
        drop(connections);
        for reading in rows.into_iter().chain(log) {
            close(reading.conn);
        }
    }

    /// Has callers ask the engine as long as what it returns lives, waiting for those who read now.
    pub(super) fn stop(&self) -> Stopped<'_> {
        let mut connections = self.lock();
        connections.stops += 1;
        drop(self.until_returned(connections));
        Stopped(self)
    }

    fn until_returned<'a>(&'a self, connections: MutexGuard<'a, Connections>) -> MutexGuard<'a, Connections> {
        let are_lent = |connections: &mut Connections| connections.rows.lent + connections.log.lent > 0;
        self.returned.wait_while(connections, are_lent).unwrap_or_else(PoisonError::into_inner)
    }

    /// Views of the tree as it is now are not read again from here on. Before the change can be seen, and until
    /// it can be seen by all: before anybody is told of it, and before the overlay says less.
    pub(super) fn change_tree(&self) -> Changing<'_> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        Changing(self)
    }

    /// The changes of the tree until now, if there is none under way.
    fn changes(&self) -> Option<u64> {
        let changes = self.changes.load(Ordering::Acquire);
        changes.is_multiple_of(2).then_some(changes)
    }

    /// Ends the views that are kept, and has none kept until it is told to.
    pub(super) fn pause(&self) {
        let mut connections = self.lock();
        connections.is_paused = true;
        connections.pauses += 1;
        // One that cannot be ended goes with its connection.
        connections.rows.idle.retain_mut(|reading| reading.end_view().is_ok());
        if connections.rows.lent == 0 {
            connections.has_roomy = connections.rows.idle.iter().any(|reading| reading.is_roomy);
        }
    }

    /// Lets views be kept again.
    pub(super) fn resume(&self) {
        self.lock().is_paused = false;
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
        let takes_none = connections.closed || connections.stops > 0;
        let pauses = (!connections.is_paused).then_some(connections.pauses);
        let (of_purpose, most) = connections.of(purpose);
        if takes_none || of_purpose.lent >= most {
            return None;
        }
        of_purpose.lent += 1;
        let reading = of_purpose.idle.pop();
        let is_roomy = purpose == For::Rows && reading.is_none() && !connections.has_roomy;
        connections.has_roomy |= is_roomy;
        drop(connections);
        let mut lent = Lent { of: self, purpose, reading, pauses, is_sound: false };
        if lent.reading.is_none() {
            let Ok(conn) = self.connect(purpose, is_roomy) else {
                self.lock().has_roomy &= !is_roomy;
                return None;
            };
            lent.reading = Some(Reading { conn, is_roomy, changes: None, keeps: false });
        }
        Some(lent)
    }

    /// Runs a read on one of the connections; none if it fails, whatever the reason. It may be of a view that was
    /// begun after so many changes of the tree, or none.
    fn read<T>(
        &self,
        purpose: For,
        changes: Option<u64>,
        read: impl Fn(&Connection) -> Result<T>,
    ) -> Result<T, NotDirectly> {
        let mut lent = self.lend(purpose).ok_or(NotDirectly)?;
        let may_keep = lent.pauses.is_some();
        let reading = lent.reading.as_mut().ok_or(NotDirectly)?;
        let read = catch_unwind(AssertUnwindSafe(|| {
            reading.look(changes, may_keep)?;
            read(&reading.conn)
        }));
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

    fn connect(&self, purpose: For, is_roomy: bool) -> Result<Connection> {
        let conn = schema::open_reader(&self.files.db)?;
        if purpose == For::Rows {
            schema::set_cache(&conn, if is_roomy { ROOMY_CACHE_KIB } else { CACHE_KIB })?;
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
        // After the overlay: what it says no more the tree said before, and that has been counted.
        let changes = self.changes();
        self.read(For::Rows, changes, |conn| read::row(conn, wanted, SMALL_GET_BYTES_MAX))
    }

    #[cfg(feature = "archive")]
    fn log_page(&self, request: &PageRequest) -> Result<(Page, Vec<u8>), NotDirectly> {
        self.read(For::Log, None, |conn| read::log_page(conn, request))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let reading = self.reading.take();
        let (mut sound, broken) = if self.is_sound { (reading, None) } else { (None, reading) };
        let mut lost_roomy = false;
        if let Some(broken) = broken {
            lost_roomy = broken.is_roomy;
            close(broken.conn);
        }
        let mut connections = self.of.lock();
        if self.pauses != Some(connections.pauses) {
            // Somebody waits for the medium, or did.
            sound = sound.and_then(|mut reading| reading.end_view().is_ok().then_some(reading));
        }
        connections.has_roomy &= !lost_roomy;
        let (of_purpose, _) = connections.of(self.purpose);
        if let Some(reading) = sound {
            // Before all others the roomy one is lent, then the one that was in use last, which has its pages.
            let at = of_purpose.idle.iter().take_while(|other| !other.is_roomy).count();
            of_purpose.idle.insert(at, reading);
        }
        of_purpose.lent -= 1;
        let awaited = connections.closed || connections.stops > 0;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roomy_connection_is_lent_first_and_then_the_one_that_was_in_use_last() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(dir.path(), "job").unwrap();
        schema::build(&files.new_db(), b"record", |_| Ok(())).unwrap();
        files.install().unwrap();
        let direct = DirectReads::new(files, Arc::default());
        let mut lent: Vec<_> = (0..4).map(|_| direct.lend(For::Rows).unwrap()).collect();
        for (n, lent) in (0..).zip(&mut lent) {
            lent.reading.as_mut().unwrap().changes = Some(n);
            lent.is_sound = true;
        }
        let order = |lent: &Vec<Lent<'_>>| {
            let changes = lent.iter().map(|lent| lent.reading.as_ref().unwrap().changes);
            changes.map(Option::unwrap).collect::<Vec<_>>()
        };
        drop(lent);
        let lent: Vec<_> = (0..4).map(|_| direct.lend(For::Rows).unwrap()).collect();
        assert_eq!(order(&lent), [0, 3, 2, 1]);
    }
}
