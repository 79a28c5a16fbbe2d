//! Tests: the laws of every engine on SQLite files, and what is peculiar to these.
//!
//! Never relies on times; what a crash leaves is made by copying files while they are in use.

mod files;
mod journal;
mod logged;
mod migration;
mod running;

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::SqliteEngine;
use super::{SqliteSite, refine};
use crate::batch::Batch;
use crate::engine::laws::Ask;
use crate::engine::{
    Change, Engine, EngineError, Get, Got, OpenMode, PageRequest, Point, Site, Space, Verify, Write,
};
use crate::key::Key;
use crate::range::Span;

crate::engine::laws::engine_laws!(persistent, {
    let dir = tempfile::tempdir().unwrap();
    (SqliteSite::new(dir.path()), dir)
});

const ALL_MODES: [OpenMode; 3] = [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly];

fn site() -> (tempfile::TempDir, SqliteSite) {
    let dir = tempfile::tempdir().unwrap();
    let site = SqliteSite::new(dir.path());
    (dir, site)
}

async fn open(site: &SqliteSite, id: &str, mode: OpenMode) -> Result<SqliteEngine, EngineError> {
    site.open_now(id, mode, b"first record", |_| Ok(())).map_err(|error| refine(error, &site.dir))
}

/// Names and contents of everything in a directory, in order.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut contents: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    contents.sort();
    contents
}

fn names(dir: &Path) -> Vec<String> {
    contents(dir).into_iter().map(|(name, _)| name).collect()
}

/// Copies the files whose names end so, as they are now, into a directory below: what a crash leaves.
fn crash(dir: &Path, ends: &[&str]) -> PathBuf {
    let crash = dir.join("crash");
    fs::create_dir(&crash).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if ends.iter().any(|end| name.ends_with(end)) {
            fs::copy(entry.path(), crash.join(name)).unwrap();
        }
    }
    crash
}

fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from_bytes(bytes.as_ref().to_vec())
}

async fn apply(engine: &SqliteEngine, batch: Batch, durable: bool) -> Result<(), EngineError> {
    let write = Write::Rows(batch.operations().into());
    engine.apply(Change { reads: Vec::new(), decide: Box::new(move |_| Some(vec![write])), durable }).await
}

async fn put(engine: &SqliteEngine, bytes: impl AsRef<[u8]>, payload: impl Into<Vec<u8>>) {
    apply(engine, Batch::new().put("c", key(bytes), payload), false).await.unwrap();
}

async fn value(engine: &SqliteEngine, point: Point) -> Option<Vec<u8>> {
    let get = Get { points: vec![point], presence_only: false, bytes_max: usize::MAX };
    match engine.get(get, Verify::Never).await.unwrap().value {
        Got::Payloads(mut payloads) => payloads.remove(0),
        Got::TooLarge(bytes) => panic!("{bytes} bytes are too large"),
    }
}

async fn row(engine: &SqliteEngine, category: &str, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    value(engine, Point { space: Space::Rows(category.into()), key: key.as_ref().to_vec() }).await
}

async fn count(engine: &SqliteEngine) -> u64 {
    engine.count("c".into(), Span::all(), Verify::Never).await.unwrap().value
}

async fn assert_sound(engine: &SqliteEngine) {
    assert_eq!(engine.check().await.unwrap(), Vec::<String>::new());
}
