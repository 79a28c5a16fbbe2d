//! Readers: read-only connections, and the thread on which long reads run.
//!
//! Never creates a file and never changes one. A reader beside an owner sees what that owner has
//! committed; one of a job that nobody has open reads the database alone, and looks whether it changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fault::{self, Result};
use super::files::{Files, Stamp};
use super::schema;
use crate::engine::{EngineError, Fault};
use crate::spawn::Patience;

/// Requests that wait for the reading thread; further callers wait in their own future.
const REQUESTS_MAX: usize = 64;
/// Steps of SQLite's machine between two looks whether the caller has gone, some microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;
/// How often a read of a database at rest is tried while somebody changes it.
const TRIES_MAX: usize = 8;

/// A read-only connection, opened when it is first needed.
pub(super) struct Reader {
    files: Files,
    /// Whether this engine itself has the job open for writing, so that there always is an owner.
    owned: bool,
    open: Option<(Connection, Rests)>,
}

/// Whether a connection reads a database that nobody changes, and how that looked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rests {
    No,
    Since(Stamp),
}

impl Reader {
    pub(super) fn new(files: Files, owned: bool) -> Self {
        Reader { files, owned, open: None }
    }

    /// Runs a read; again if the database turns out not to have been at rest.
    pub(super) fn read<T>(&mut self, read: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        for _ in 0..TRIES_MAX {
            let conn = self.connection()?;
            let answer = read(conn);
            if self.is_current()? {
                return answer.map_err(|error| fault::refine(error, &self.files.dir));
            }
        }
        Err(EngineError::new(Fault::Busy, "an owner opens and closes the job all the time"))
    }

    /// Closes the connection; the next read opens another one.
    pub(super) fn close(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |(conn, _)| schema::close(conn))
    }

    fn is_current(&self) -> Result<bool> {
        Ok(match &self.open {
            Some((_, Rests::Since(stamp))) => self.files.stamp()? == *stamp,
            Some((_, Rests::No)) => {
                if !self.owned {
                    self.files.stamp()?;
                }
                true
            }
            None => false,
        })
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        if !self.is_current()? {
            self.close()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect().map_err(|error| fault::refine(error, &self.files.dir))?,
        };
        Ok(&mut self.open.insert(open).0)
    }

    fn connect(&self) -> Result<(Connection, Rests)> {
        if self.owned {
            return Ok((schema::open_reader(&self.files.db)?, Rests::No));
        }
        let stamp = self.files.stamp()?;
        if stamp.is_at_rest() {
            return Ok((schema::open_at_rest(&self.files.db)?, Rests::Since(stamp)));
        }
        if stamp.is_unfinished() {
            let message = "the job's last owner did not close it; open it for writing once";
            return Err(EngineError::new(Fault::Unsupported, message));
        }
        Ok((schema::open_reader(&self.files.db)?, Rests::No))
    }
}

type Request = Box<dyn FnOnce(&mut Reader) + Send>;

/// The thread on which long reads run, so that gets and writes never wait behind them.
pub(super) struct ReadThread {
    requests: mpsc::Sender<Request>,
    thread: Option<JoinHandle<()>>,
}

impl ReadThread {
    pub(super) fn start(mut reader: Reader) -> Result<Self> {
        let (requests, mut waiting) = mpsc::channel::<Request>(REQUESTS_MAX);
        let serve = move || {
            let mut patience = Patience::default();
            loop {
                let mut next = None;
                patience.await_work(|| {
                    next = waiting.try_recv().ok();
                    next.is_some() || waiting.is_closed()
                });
                let Some(request) = next.or_else(|| waiting.blocking_recv()) else { break };
                // A panic drops the caller's channel, which tells them, and the connection with what
                // the read left in it.
                if catch_unwind(AssertUnwindSafe(|| request(&mut reader))).is_err() {
                    reader.open = None;
                }
            }
            if let Err(error) = reader.close() {
                log::warn!("closing the reading connection: {}", error.message);
            }
        };
        let thread = thread::Builder::new().name("persistency-read".into()).spawn(serve);
        let thread = thread.map_err(|error| fault::of_io(error, "starting the reading thread"))?;
        Ok(ReadThread { requests, thread: Some(thread) })
    }

    /// Runs a read on the thread. Dropping the future withdraws it, or interrupts it if it is running.
    pub(super) fn read<T: Send + 'static, R>(&self, read: R) -> impl Future<Output = Result<T>> + use<T, R>
    where
        R: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let requests = self.requests.clone();
        let (answer, answered) = oneshot::channel();
        let withdrawn = Withdrawn::default();
        let is_withdrawn = Arc::clone(&withdrawn.0);
        let request: Request = Box::new(move |reader| {
            if is_withdrawn.load(Ordering::Relaxed) {
                return;
            }
            // The handler belongs to this request alone, so its withdrawal never reaches another one.
            let read = |conn: &mut Connection| {
                let is_withdrawn = Arc::clone(&is_withdrawn);
                let handler = move || is_withdrawn.load(Ordering::Relaxed);
                conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(handler))?;
                let answer = read(conn);
                conn.progress_handler(0, None::<fn() -> bool>)?;
                answer
            };
            // Nobody waits any more if this fails.
            let _ = answer.send(reader.read(read));
        });
        let ended = || EngineError::new(Fault::Other, "the reading thread failed");
        async move {
            // Dropped with the future, wherever it waits.
            let _withdrawn = withdrawn;
            requests.send(request).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        }
    }
}

impl Drop for ReadThread {
    /// Waits for the thread; what it runs has been withdrawn, for every call borrows the engine.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.requests = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the reading thread ended with a panic");
        }
    }
}

/// Set when it is dropped.
#[derive(Default)]
struct Withdrawn(Arc<AtomicBool>);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "these tests are about threads and waiting")]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;
    use std::time::{Duration, Instant};

    use futures_executor::block_on;

    use super::*;
    use crate::engine::RECORD_KEY;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                           SELECT count(*) FROM n";

    fn job() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(dir.path(), "job").unwrap();
        schema::build(&files.new_db(), b"record", |_| Ok(())).unwrap();
        files.install().unwrap();
        (dir, files)
    }

    fn records(conn: &Connection) -> Result<i64> {
        Ok(conn.query_row("SELECT count(*) FROM meta", (), |row| row.get(0))?)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_read_runs_without_any_runtime() {
        let (_dir, files) = job();
        let thread = ReadThread::start(Reader::new(files, false)).unwrap();
        assert_eq!(block_on(thread.read(records)).unwrap(), 1);
    }

    #[test]
    fn a_withdrawn_read_is_interrupted_and_its_successor_is_not() {
        let (_dir, files) = job();
        let thread = ReadThread::start(Reader::new(files, false)).unwrap();
        for _ in 0..20 {
            let mut endless = Box::pin(thread.read(|conn| {
                let count: i64 = conn.query_row(ENDLESS, (), |row| row.get(0))?;
                Ok(count)
            }));
            let pending =
                block_on(poll_fn(|context| Poll::Ready(endless.as_mut().poll(context).is_pending())));
            assert!(pending);
            drop(endless);
            assert_eq!(block_on(thread.read(records)).unwrap(), 1);
        }
    }

    #[test]
    fn dropping_the_thread_ends_a_withdrawn_read() {
        let (_dir, files) = job();
        let thread = ReadThread::start(Reader::new(files, false)).unwrap();
        {
            let mut endless =
                pin!(thread.read(|conn| { Ok(conn.query_row(ENDLESS, (), |row| row.get::<_, i64>(0))?) }));
            block_on(poll_fn(|context| Poll::Ready(endless.as_mut().poll(context).is_pending())));
            thread::sleep(Duration::from_millis(20));
        }
        let since = Instant::now();
        drop(thread);
        assert!(since.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let (_dir, files) = job();
        let thread = ReadThread::start(Reader::new(files, false)).unwrap();
        let failed = block_on(thread.read(|_| -> Result<()> { panic!("on purpose") })).unwrap_err();
        assert_eq!(failed.fault, Fault::Other);
        assert_eq!(block_on(thread.read(records)).unwrap(), 1);
    }

    #[test]
    fn a_reader_at_rest_creates_nothing_and_follows_an_owner_that_comes_and_goes() {
        let (dir, files) = job();
        let mut reader = Reader::new(files.clone(), false);
        assert_eq!(reader.read(|conn| records(conn)).unwrap(), 1);
        assert_eq!(names(&dir), ["job.db"]);
        for expected in 2..5 {
            let owner = schema::open_writer(&files.db).unwrap();
            let key = format!("{expected}").into_bytes();
            owner.execute("INSERT INTO meta VALUES (?1, x'')", [key]).unwrap();
            assert_eq!(reader.read(|conn| records(conn)).unwrap(), expected);
            // Otherwise the reader would keep the write-ahead log, and stay beside it.
            reader.close().unwrap();
            schema::close(owner).unwrap();
            assert_eq!(reader.read(|conn| records(conn)).unwrap(), expected);
            assert_eq!(names(&dir), ["job.db"]);
        }
        files.remove().unwrap();
        assert_eq!(reader.read(|conn| records(conn)).unwrap_err().fault, Fault::Missing);
    }

    #[test]
    fn a_read_that_an_owner_disturbs_is_repeated() {
        let (_dir, files) = job();
        let mut reader = Reader::new(files.clone(), false);
        let disturb = std::cell::Cell::new(true);
        let count = reader.read(|conn| {
            let count = records(conn)?;
            if disturb.replace(false) {
                let owner = schema::open_writer(&files.db)?;
                owner.execute("INSERT INTO meta VALUES (x'00', x'')", ())?;
                schema::close(owner)?;
            }
            Ok(count)
        });
        assert_eq!(count.unwrap(), 2);
    }

    #[test]
    fn a_log_without_its_index_is_left_to_an_owner() {
        let (dir, files) = job();
        std::fs::write(files.wal(), "something").unwrap();
        let error = Reader::new(files, false).read(|conn| records(conn)).unwrap_err();
        assert_eq!(error.fault, Fault::Unsupported);
        assert_eq!(names(&dir), ["job.db", "job.db-wal"]);
    }

    #[test]
    fn a_reader_never_writes() {
        let (_dir, files) = job();
        let owner = schema::open_writer(&files.db).unwrap();
        for owned in [true, false] {
            let mut reader = Reader::new(files.clone(), owned);
            let written =
                reader.read(|conn| Ok(conn.execute("DELETE FROM meta WHERE key = ?1", [RECORD_KEY])?));
            assert_eq!(written.unwrap_err().fault, Fault::Unsupported);
        }
        schema::close(owner).unwrap();
    }
}
