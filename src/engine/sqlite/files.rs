//! Files: what a job is called on disk, what a file is by its first bytes, and changes of directories.
//!
//! Never opens a database: it looks before SQLite does, so that a file which is not ours stays as it is.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::fault::{Result, of_io};
use super::schema::{APPLICATION_ID, FORMAT};
use crate::engine::{EngineError, Fault};
use crate::job_id::{JobId, unescape};

const EXTENSION: &str = ".db";
/// What SQLite keeps beside a database, and what a new file is called while it is being built.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];
const NEW: &str = ".new";
/// Bytes of a database's header that tell what it is.
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where one job lives.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    /// The database.
    pub(super) db: PathBuf,
    /// The name that an older library gave to the job, where it is not ours.
    exact_name: Option<OsString>,
}

/// What stands where a job's database should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// No file, or an empty one, which holds nothing that could be lost.
    Nothing,
    /// A database of this format.
    Ours,
    /// A database that names no application, as the Nim library writes it.
    Unnamed,
}

impl Files {
    pub(super) fn of(dir: &Path, id: &str) -> Result<Self> {
        let checked = JobId::new(id).map_err(|error| EngineError::new(Fault::Other, error.message()))?;
        let escaped = checked.escaped();
        let exact_name = (escaped != id).then(|| OsString::from(format!("{id}{EXTENSION}")));
        Ok(Files { dir: dir.to_owned(), db: dir.join(format!("{escaped}{EXTENSION}")), exact_name })
    }

    /// The write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        beside(&self.db, "-wal")
    }

    /// The index of the write-ahead log, which those who have the database open share.
    pub(super) fn shm(&self) -> PathBuf {
        beside(&self.db, "-shm")
    }

    /// A new database while it is being built.
    pub(super) fn new_db(&self) -> PathBuf {
        beside(&self.db, NEW)
    }

    /// A file of the name that an older library gave to the job, if it is one of that library's.
    ///
    /// The directory is asked for the exact name, since one that folds case would also offer another
    /// job's file; and another job's file of our own may have that name, which its header tells.
    pub(super) fn old_db(&self) -> Result<Option<PathBuf>> {
        let Some(exact_name) = &self.exact_name else { return Ok(None) };
        let Some(entries) = read_dir(&self.dir)? else { return Ok(None) };
        for entry in entries {
            let entry = entry.map_err(|error| of_io(error, "reading the directory"))?;
            if entry.file_name() == *exact_name {
                let path = entry.path();
                // One that is open here is ours, and must not be looked into: see `OpenFile`.
                let guard = open_files();
                let open = guard.as_ref().is_some_and(|files| files.contains_key(&registered(&path)));
                let old = !open && matches!(look(&path), Ok(Stored::Unnamed));
                return Ok(old.then_some(path));
            }
        }
        Ok(None)
    }

    /// Removes the older library's file that an interrupted migration has left beside ours.
    pub(super) fn finish_migration(&self) -> Result<()> {
        if let Some(old) = self.old_db()? {
            remove_db(&old)?;
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Bytes of the database and its write-ahead log.
    pub(super) fn bytes(&self) -> Result<u64> {
        let size = |path: &Path| match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(of_io(error, "asking for a file's size")),
        };
        Ok(size(&self.db)? + size(&self.wal())?)
    }

    /// Puts the finished new database where the job's database should be.
    ///
    /// What SQLite kept beside an older file goes first, and durably: a write-ahead log that stayed
    /// would be replayed over the new database.
    pub(super) fn install(&self) -> Result<()> {
        if remove_sidecars(&self.db)? {
            sync_dir(&self.dir)?;
        }
        fs::rename(self.new_db(), &self.db).map_err(|error| of_io(error, "naming the new database"))?;
        sync_dir(&self.dir)
    }

    /// Deletes everything of the job; the database before what stands beside it, for a database that
    /// lost its write-ahead log would be an older state of the job.
    ///
    /// An older library's file goes first of all, or the job would come back from it.
    pub(super) fn remove(&self) -> Result<()> {
        self.finish_migration()?;
        let removed = remove_db(&self.db)?;
        if remove_db(&self.new_db())? || removed {
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// What the database's files looked like, to notice that they have changed.
    pub(super) fn stamp(&self) -> Result<Stamp> {
        let db = match fs::metadata(&self.db) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(of_io(error, "looking at the database")),
        };
        let wal = fs::metadata(self.wal()).map(|metadata| metadata.len()).ok();
        Ok(Stamp { len: db.len(), modified: db.modified().ok(), wal, shm: self.shm().exists() })
    }
}

/// The state of a database's files at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Bytes of the write-ahead log, if there is one.
    wal: Option<u64>,
    shm: bool,
}

impl Stamp {
    /// Whether all of the job is in its database, so that nobody needs what stands beside it.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.shm && self.wal.unwrap_or(0) == 0
    }

    /// Whether a write-ahead log waits for somebody who may write to make it readable.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.shm && self.wal.unwrap_or(0) > 0
    }
}

/// Databases that are open in this process, and how often.
static OPEN: Mutex<Option<HashMap<PathBuf, usize>>> = Mutex::new(None);

fn open_files() -> MutexGuard<'static, Option<HashMap<PathBuf, usize>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One opening of a database in this process, while it lives.
///
/// On POSIX systems closing any descriptor of a file drops all locks that the process has on it, those
/// of SQLite too. So a database is looked into only while nobody here has it open, and needs no look
/// while somebody has.
#[derive(Debug)]
pub(super) struct OpenFile(PathBuf);

impl OpenFile {
    /// Registers an opening, and says what the file is.
    pub(super) fn register(db: &Path) -> Result<(Self, Stored)> {
        let name = registered(db);
        let mut guard = open_files();
        let files = guard.get_or_insert_default();
        let stored = match files.get(&name) {
            Some(_) => match fs::metadata(db) {
                Ok(_) => Stored::Ours,
                Err(_) => Stored::Nothing,
            },
            None => look(db)?,
        };
        *files.entry(name.clone()).or_insert(0) += 1;
        Ok((OpenFile(name), stored))
    }
}

/// The one name of a database, whichever path leads to it.
fn registered(db: &Path) -> PathBuf {
    if let Ok(name) = db.canonicalize() {
        return name;
    }
    let dir = db.parent().and_then(|dir| dir.canonicalize().ok());
    match (dir, db.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => db.to_owned(),
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut guard = open_files();
        let files = guard.get_or_insert_default();
        if let Some(count) = files.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                files.remove(&self.0);
            }
        }
    }
}

/// The ids of the jobs that a directory holds; none if it is not there.
pub(super) fn list(dir: &Path) -> Result<Vec<String>> {
    let mut ids = BTreeSet::new();
    let Some(entries) = read_dir(dir)? else { return Ok(Vec::new()) };
    for entry in entries {
        let entry = entry.map_err(|error| of_io(error, "reading the directory"))?;
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)) else { continue };
        if !fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
            continue;
        }
        if let Some(id) = unescape(stem) {
            ids.insert(id);
        } else if JobId::new(stem).is_ok() && matches!(look(&entry.path()), Ok(Stored::Unnamed)) {
            ids.insert(stem.to_owned());
        }
    }
    Ok(ids.into_iter().collect())
}

/// Deletes a database, then what stands beside it; tells whether anything was there.
pub(super) fn remove_db(db: &Path) -> Result<bool> {
    let removed = remove(db)?;
    Ok(remove_sidecars(db)? || removed)
}

fn remove_sidecars(db: &Path) -> Result<bool> {
    let mut removed = false;
    for sidecar in SIDECARS {
        removed |= remove(&beside(db, sidecar))?;
    }
    Ok(removed)
}

fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(of_io(error, "deleting a file")),
    }
}

/// Puts a finished file on the medium.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    let synced = File::options().write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| of_io(error, "putting a file on the medium"))
}

/// Puts a directory's names on the medium; elsewhere than on Unix they need no help.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(dir).and_then(|file| file.sync_all());
    synced.map_err(|error| of_io(error, "putting a directory on the medium"))
}

pub(super) fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn missing() -> EngineError {
    EngineError::new(Fault::Missing, "there is no such database")
}

fn read_dir(dir: &Path) -> Result<Option<fs::ReadDir>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(of_io(error, "reading the directory")),
    }
}

/// What a file is by its first bytes.
fn look(db: &Path) -> Result<Stored> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    match File::open(db).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header)) {
        Ok(0) => return Ok(Stored::Nothing),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::Nothing),
        Err(error) => return Err(of_io(error, "looking at the database")),
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(EngineError::new(Fault::Corrupt, "the file is not a database"));
    }
    let word = |at: usize| header[at..at + 4].iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
    judge(word(68), word(60))
}

/// What an application id and a format number mean.
pub(super) fn judge(application_id: u32, format: u32) -> Result<Stored> {
    match application_id {
        APPLICATION_ID if format == FORMAT => Ok(Stored::Ours),
        APPLICATION_ID if format > FORMAT => {
            let message = format!("the database has format {format}, this library knows {FORMAT}");
            Err(EngineError::new(Fault::TooNew, message))
        }
        APPLICATION_ID => Err(EngineError::new(Fault::Corrupt, "the database has no format number")),
        0 => Ok(Stored::Unnamed),
        _ => Err(not_ours()),
    }
}

/// The error of a database that some other program has made.
pub(super) fn not_ours() -> EngineError {
    EngineError::new(Fault::Corrupt, "the database is not one of this library")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_id_stay_in_the_directory() {
        let dir = Path::new("/root/dir");
        for id in ["a", "..", "../x", "/etc/passwd", "a/b", ".", "con", "\0"] {
            let files = Files::of(dir, id).unwrap();
            assert_eq!(files.db.parent(), Some(dir), "{id:?}");
        }
        assert!(Files::of(dir, "").is_err());
        assert_eq!(Files::of(dir, "Ab").unwrap().db, dir.join("%41b.db"));
    }

    #[test]
    fn list_names_jobs_only() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.db", "a.db-wal", "a.db.new", "%41.db", ".lock", "b.txt", "Foreign.db", "%61.db"] {
            fs::write(dir.path().join(name), "content").unwrap();
        }
        fs::write(dir.path().join("empty.db"), "").unwrap();
        fs::create_dir(dir.path().join("folder.db")).unwrap();
        assert_eq!(list(dir.path()).unwrap(), ["A", "a"]);
        assert_eq!(list(&dir.path().join("absent")).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn removing_takes_everything_of_the_job_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["a.db", "a.db-wal", "a.db-shm", "a.db-journal", "a.db.new", "a.db.new-wal", "aa.db", "a.db.db"];
        for name in names {
            fs::write(dir.path().join(name), "content").unwrap();
        }
        let files = Files::of(dir.path(), "a").unwrap();
        files.remove().unwrap();
        files.remove().unwrap();
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.db.db", "aa.db"]);
    }

    #[test]
    fn what_cannot_be_removed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.db")).unwrap();
        assert_eq!(Files::of(dir.path(), "a").unwrap().remove().unwrap_err().fault, Fault::Other);
    }

    #[test]
    fn a_file_is_looked_into_only_while_nobody_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("a.db");
        let (first, stored) = OpenFile::register(&db).unwrap();
        assert_eq!(stored, Stored::Nothing);
        fs::write(&db, "not a database, but nobody looks").unwrap();
        let (second, stored) = OpenFile::register(&db).unwrap();
        assert_eq!(stored, Stored::Ours);
        drop((first, second));
        assert_eq!(OpenFile::register(&db).unwrap_err().fault, Fault::Corrupt);
    }
}
