//! Peers: stores that are called without `await`, by one thread, and one in a program of its own.
//!
//! Each is set up as its documentation suggests, with prepared statements where it has such; none
//! knows of the others.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, ReadableDatabase, TableDefinition};
use rusqlite::Connection;

use crate::work::{CATEGORY, Done, Random, Work, check, key, payload, rows, until};

const PAYLOAD: usize = 100;

/// An open store.
pub trait Store {
    /// Does it and says what came of it; `None` if the store has nothing like it.
    fn run(&mut self, work: &Work) -> Option<Done>;

    /// Gives everything back; what was written is on the medium then.
    fn close(self: Box<Self>) {}
}

/// What one thread can do with a store of its own.
trait Local {
    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]);
    fn flush(&mut self);
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    fn scan(&mut self, from: &[u8], rows: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
    fn count(&mut self, from: &[u8], to: &[u8]) -> u64;
}

fn carry_out(store: &mut impl Local, work: &Work) -> Option<Done> {
    let start;
    Some(match *work {
        Work::Load { rows: number, batch, payload, scattered } => {
            let rows = rows(number, payload, scattered);
            start = Instant::now();
            for batch in rows.chunks(batch as usize) {
                store.put(batch);
            }
            store.flush();
            Done::since(start, number)
        }
        // What can be compared with accepting rows one by one is loading them in batches.
        Work::Puts { rows, payload } => {
            carry_out(store, &Work::Load { rows, batch: 1000, payload, scattered: false })?
        }
        Work::Acked { callers: 1, durable: false, ms } => {
            start = Instant::now();
            let puts = until(start, ms, |call| {
                let number = (1 << 60) | call;
                store.put(&[(key(number), payload(number, PAYLOAD))]);
            });
            let done = Done::since(start, puts);
            assert_eq!(store.count(&key(1 << 60), &key(1 << 61)), puts);
            done
        }
        Work::Gets { callers: 1, from, among, step, ms } => {
            let mut random = Random::new(0);
            start = Instant::now();
            let gets = until(start, ms, |_| {
                let number = from + random.below(among) * step;
                check(number, &store.get(&key(number)).expect("a row that was put"));
            });
            Done::since(start, gets)
        }
        Work::Scans { rows, from, among, ms } => {
            let mut random = Random::new(rows);
            start = Instant::now();
            let mut scanned = 0;
            while start.elapsed() < Duration::from_millis(ms) {
                let first = from + random.below(among - rows);
                let found = store.scan(&key(first), rows as usize);
                check(first, &found[0].1);
                assert_eq!(found.len() as u64, rows);
                scanned += rows;
            }
            Done::since(start, scanned)
        }
        Work::Counts { rows, ms } => {
            start = Instant::now();
            let mut counted = 0;
            while start.elapsed() < Duration::from_millis(ms) {
                assert_eq!(store.count(&key(0), &key(rows)), rows);
                counted += rows;
            }
            Done::since(start, counted)
        }
        Work::Acked { .. } | Work::Gets { .. } | Work::Latency { .. } => return None,
    })
}

/// SQLite on one thread.
pub struct Rusqlite(Connection);

impl Rusqlite {
    pub fn open(dir: &Path) -> Self {
        let conn = Connection::open(dir.join("kv.db")).expect("open");
        conn.pragma_update(None, "journal_mode", "WAL").expect("a write-ahead log");
        conn.pragma_update(None, "synchronous", "NORMAL").expect("set");
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS kv (category TEXT NOT NULL, key BLOB NOT NULL,
             payload BLOB NOT NULL, PRIMARY KEY (category, key)) WITHOUT ROWID",
        )
        .expect("a table");
        Rusqlite(conn)
    }
}

impl Store for Rusqlite {
    fn run(&mut self, work: &Work) -> Option<Done> {
        carry_out(self, work)
    }

    fn close(self: Box<Self>) {
        self.0.close().expect("close");
    }
}

impl Local for Rusqlite {
    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let transaction = self.0.transaction().expect("begin");
        let sql = "INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3)";
        let mut put = transaction.prepare_cached(sql).expect("a statement");
        for (key, payload) in rows {
            put.execute((CATEGORY, key, payload)).expect("a put");
        }
        drop(put);
        transaction.commit().expect("commit");
    }

    /// One more commit, which is put on the medium and with it everything before.
    fn flush(&mut self) {
        self.0.pragma_update(None, "synchronous", "FULL").expect("set");
        self.0.pragma_update(None, "user_version", 1).expect("a commit");
        self.0.pragma_update(None, "synchronous", "NORMAL").expect("set");
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let sql = "SELECT payload FROM kv WHERE category = ?1 AND key = ?2";
        let mut get = self.0.prepare_cached(sql).expect("a statement");
        Some(get.query_row((CATEGORY, key), |row| row.get(0)).expect("a get"))
    }

    fn scan(&mut self, from: &[u8], rows: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let sql = "SELECT key, payload FROM kv WHERE category = ?1 AND key >= ?2 ORDER BY key LIMIT ?3";
        let mut scan = self.0.prepare_cached(sql).expect("a statement");
        let found = scan.query_map((CATEGORY, from, rows as i64), |row| Ok((row.get(0)?, row.get(1)?)));
        found.expect("a scan").collect::<rusqlite::Result<_>>().expect("rows")
    }

    fn count(&mut self, from: &[u8], to: &[u8]) -> u64 {
        let sql = "SELECT count(*) FROM kv WHERE category = ?1 AND key >= ?2 AND key < ?3";
        let mut count = self.0.prepare_cached(sql).expect("a statement");
        count.query_row((CATEGORY, from, to), |row| row.get::<_, i64>(0)).expect("a count") as u64
    }
}

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("messages");

pub struct Redb(redb::Database);

impl Redb {
    pub fn open(dir: &Path) -> Self {
        let store = Redb(redb::Database::create(dir.join("kv.redb")).expect("open"));
        let create = store.0.begin_write().expect("begin");
        create.open_table(TABLE).expect("a table");
        create.commit().expect("commit");
        store
    }
}

impl Store for Redb {
    fn run(&mut self, work: &Work) -> Option<Done> {
        carry_out(self, work)
    }
}

impl Local for Redb {
    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut write = self.0.begin_write().expect("begin");
        write.set_durability(Durability::None).expect("set");
        let mut table = write.open_table(TABLE).expect("a table");
        for (key, payload) in rows {
            table.insert(&**key, &**payload).expect("a put");
        }
        drop(table);
        write.commit().expect("commit");
    }

    fn flush(&mut self) {
        self.0.begin_write().expect("begin").commit().expect("commit");
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let table = self.0.begin_read().expect("begin").open_table(TABLE).expect("a table");
        table.get(key).expect("a get").map(|payload| payload.value().to_vec())
    }

    fn scan(&mut self, from: &[u8], rows: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let table = self.0.begin_read().expect("begin").open_table(TABLE).expect("a table");
        let found = table.range(from..).expect("a scan").take(rows).map(|row| {
            let (key, payload) = row.expect("a row");
            (key.value().to_vec(), payload.value().to_vec())
        });
        found.collect()
    }

    fn count(&mut self, from: &[u8], to: &[u8]) -> u64 {
        let table = self.0.begin_read().expect("begin").open_table(TABLE).expect("a table");
        table.range(from..to).expect("a scan").count() as u64
    }
}

pub struct Fjall {
    db: Database,
    rows: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path) -> Self {
        let db = Database::builder(dir.join("fjall")).open().expect("open");
        let rows = db.keyspace("messages", KeyspaceCreateOptions::default).expect("a keyspace");
        Fjall { db, rows }
    }
}

impl Store for Fjall {
    fn run(&mut self, work: &Work) -> Option<Done> {
        carry_out(self, work)
    }
}

impl Local for Fjall {
    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut batch = self.db.batch();
        for (key, payload) in rows {
            batch.insert(&self.rows, &**key, &**payload);
        }
        batch.commit().expect("commit");
    }

    fn flush(&mut self) {
        self.db.persist(PersistMode::SyncAll).expect("sync");
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(key).expect("a get").map(|payload| payload.to_vec())
    }

    fn scan(&mut self, from: &[u8], rows: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.rows.range(from..).take(rows).map(|row| {
            let (key, payload) = row.into_inner().expect("a row");
            (key.to_vec(), payload.to_vec())
        });
        found.collect()
    }

    fn count(&mut self, from: &[u8], to: &[u8]) -> u64 {
        self.rows.range(from..to).count() as u64
    }
}

/// tokio-rusqlite in its own program.
pub struct TokioRusqlite {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl TokioRusqlite {
    /// Where the program is: beside this one.
    pub fn program() -> Option<PathBuf> {
        let name = format!("persistency-bench-tokio-rusqlite{}", env::consts::EXE_SUFFIX);
        let program = env::current_exe().ok()?.with_file_name(name);
        program.is_file().then_some(program)
    }

    pub fn open(program: &Path, dir: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(dir.join("kv.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the peer starts");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        TokioRusqlite { child, orders, answers }
    }
}

impl Store for TokioRusqlite {
    fn run(&mut self, work: &Work) -> Option<Done> {
        let mut line = serde_json::to_vec(work).expect("work");
        line.push(b'\n');
        self.orders.as_mut().expect("its input").write_all(&line).expect("it listens");
        let answer = self.answers.next().expect("the peer has died").expect("an answer");
        serde_json::from_str(&answer).expect("an answer")
    }

    fn close(mut self: Box<Self>) {
        drop(self.orders.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}
