//! Owners: one root object of one process owns a directory, as an OS lock and a register of this process.
//!
//! Never waits for another process, and for one of its own only if that is about to let go.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fault::{Result, of_io};
use super::files::sync_dir;
use crate::engine::{Claim, EngineError, Fault};

const LOCK: &str = ".lock";

/// What the register knows of an owner: it drains, or not, and has gone when the channel closes.
type Draining = watch::Receiver<bool>;

/// The owners in this process by their directories' canonical paths.
static OWNERS: Mutex<Option<HashMap<PathBuf, Draining>>> = Mutex::new(None);

fn owners() -> MutexGuard<'static, Option<HashMap<PathBuf, Draining>>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ownership of a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct DirClaim {
    dir: PathBuf,
    /// Holds the OS lock while it is open.
    lock: Option<File>,
    draining: watch::Sender<bool>,
}

/// Takes ownership of a directory, and creates it if it is not there.
pub(super) async fn claim(dir: &Path) -> Result<DirClaim> {
    create_dir(dir)?;
    let dir = dir.canonicalize().map_err(|error| of_io(error, "finding the root"))?;
    let mut claim = loop {
        let mut draining = match register(&dir) {
            Ok(claim) => break claim,
            Err(draining) => draining,
        };
        if !*draining.borrow_and_update() {
            return Err(EngineError::new(Fault::Busy, "another root of this process owns the directory"));
        }
        // Ends when the owner drops its end, which it does after it has left the register.
        while draining.changed().await.is_ok() {}
    };
    claim.lock = Some(lock(&dir)?);
    Ok(claim)
}

/// Enters the register, or tells who is in it.
fn register(dir: &Path) -> std::result::Result<DirClaim, Draining> {
    let mut guard = owners();
    let owners = guard.get_or_insert_default();
    if let Some(draining) = owners.get(dir) {
        return Err(draining.clone());
    }
    let (sender, receiver) = watch::channel(false);
    owners.insert(dir.to_owned(), receiver);
    Ok(DirClaim { dir: dir.to_owned(), lock: None, draining: sender })
}

fn lock(dir: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = file.map_err(|error| of_io(error, "opening the lock of the root"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(EngineError::new(Fault::Busy, "another process owns the directory"))
        }
        Err(TryLockError::Error(error)) => Err(of_io(error, "locking the root")),
    }
}

fn create_dir(dir: &Path) -> Result<()> {
    // Each name that is new has to be made durable in the directory that holds it.
    let new: Vec<_> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(dir).map_err(|error| of_io(error, "creating the root"))?;
    new.iter().filter_map(|created| created.parent()).try_for_each(sync_dir)
}

impl Claim for DirClaim {
    fn drain(&self) {
        self.draining.send_replace(true);
    }
}

impl Drop for DirClaim {
    fn drop(&mut self) {
        // First the lock, then the register, and with the sender everybody who waits: who wakes up
        // finds both free. Closing the file is not enough: a process that is being started at this
        // time has a copy of the descriptor for a moment, and with it the lock.
        if let Some(lock) = self.lock.take()
            && let Err(error) = lock.unlock()
        {
            log::warn!("unlocking the root: {error}");
        }
        owners().get_or_insert_default().remove(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::thread;
    use std::time::Duration;

    use futures_executor::block_on;

    use super::*;
    use crate::{Clock, ErrorKind, JobOptions, Persistency};

    async fn is_pending<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        let mut future = Some(future);
        poll_fn(move |context| Poll::Ready(future.take().is_some_and(|f| f.poll(context).is_pending()))).await
    }

    fn fault(claimed: Result<DirClaim>) -> Option<Fault> {
        claimed.err().map(|error| error.fault)
    }

    #[tokio::test]
    async fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let owner = claim(&root).await.unwrap();
        assert_eq!(fault(claim(&root).await), Some(Fault::Busy));
        assert_eq!(fault(claim(&root.join("../b/.")).await), Some(Fault::Busy));
        let other = claim(&dir.path().join("c")).await.unwrap();
        drop(owner);
        drop(claim(&root).await.unwrap());
        drop(claim(&root).await.unwrap());
        drop(other);
    }

    #[tokio::test]
    async fn another_open_file_description_with_the_lock_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = File::create(dir.path().join(LOCK)).unwrap();
        foreign.lock().unwrap();
        assert_eq!(fault(claim(dir.path()).await), Some(Fault::Busy));
        foreign.unlock().unwrap();
        // The failed claim has left nothing in the register.
        drop(claim(dir.path()).await.unwrap());
    }

    #[tokio::test]
    async fn a_claim_that_is_dropped_is_free_also_while_a_copy_of_its_descriptor_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let owner = claim(dir.path()).await.unwrap();
        let copy = owner.lock.as_ref().unwrap().try_clone().unwrap();
        drop(owner);
        drop(claim(dir.path()).await.unwrap());
        drop(copy);
    }

    #[tokio::test]
    async fn a_claim_waits_for_an_owner_that_drains() {
        let dir = tempfile::tempdir().unwrap();
        let owner = claim(dir.path()).await.unwrap();
        owner.drain();
        let mut first = pin!(claim(dir.path()));
        let mut second = pin!(claim(dir.path()));
        assert!(is_pending(first.as_mut()).await);
        assert!(is_pending(second.as_mut()).await);
        drop(owner);
        let first = first.await.unwrap();
        assert_eq!(fault(second.await), Some(Fault::Busy), "the new owner does not drain");
        drop(first);
    }

    #[tokio::test]
    async fn a_claim_that_no_longer_waits_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let owner = claim(dir.path()).await.unwrap();
        owner.drain();
        {
            let mut waiting = pin!(claim(dir.path()));
            assert!(is_pending(waiting.as_mut()).await);
        }
        drop(owner);
        drop(claim(dir.path()).await.unwrap());
    }

    #[test]
    fn whoever_waits_for_an_owner_that_drains_gives_up_at_the_deadline() {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let owner = claim(dir.path()).await.unwrap();
            owner.drain();
            let clock = Clock::manual(0);
            let root = Persistency::open_with_clock(dir.path(), clock.clone()).unwrap();
            let options = JobOptions::new().deadline(Duration::from_secs(10));
            let mut open = pin!(root.open_job_with("alpha", options.clone()));
            assert!(is_pending(open.as_mut()).await);
            clock.advance(Duration::from_secs(10));
            assert_eq!(open.await.unwrap_err().kind(), ErrorKind::Busy);
            drop(owner);
            root.open_job_with("alpha", options).await.unwrap();
        });
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "it is about threads")]
    fn no_wakeup_is_lost_between_threads() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..200 {
            let owner = block_on(claim(dir.path())).unwrap();
            owner.drain();
            let path = dir.path().to_owned();
            let waiting = thread::spawn(move || drop(block_on(claim(&path)).unwrap()));
            thread::sleep(Duration::from_micros(round));
            drop(owner);
            waiting.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_root_that_is_a_file_cannot_be_claimed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(fault(claim(&file).await), Some(Fault::Other));
        assert_eq!(fault(claim(&file.join("below")).await), Some(Fault::Other));
    }
}
