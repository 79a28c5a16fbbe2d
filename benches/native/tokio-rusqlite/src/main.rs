//! tokio-rusqlite as a peer: reads what to do from its standard input, one JSON value in a line, and
//! answers in the same way.
//!
//! Never started by hand.

#[path = "../../src/callers.rs"]
mod callers;
#[allow(dead_code, reason = "the stores without await need more of it")]
#[path = "../../src/work.rs"]
mod work;

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callers::{Callable, carry_out};
use tokio_rusqlite::Connection;
use work::{CATEGORY, Work};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

struct Store {
    conn: Connection,
    durable: AtomicBool,
}

impl Store {
    async fn open(path: &str) -> Self {
        let conn = Connection::open(path).await.expect("open");
        let store = Store { conn, durable: AtomicBool::new(false) };
        store
            .call(|conn| {
                conn.pragma_update(None, "journal_mode", "WAL")?;
                conn.pragma_update(None, "synchronous", "NORMAL")?;
                conn.execute_batch(
                    "CREATE TABLE IF NOT EXISTS kv (category TEXT NOT NULL, key BLOB NOT NULL,
                     payload BLOB NOT NULL, PRIMARY KEY (category, key)) WITHOUT ROWID",
                )
            })
            .await;
        store
    }

    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        self.conn.call(call).await.expect("a call")
    }
}

impl Callable for Store {
    const ACCEPTS: bool = false;

    async fn load(&self, rows: Rows) {
        self.call(move |conn| {
            let transaction = conn.transaction()?;
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3)")?;
            for (key, payload) in rows {
                put.execute((CATEGORY, key, payload))?;
            }
            drop(put);
            transaction.commit()
        })
        .await;
    }

    async fn put(&self, _key: Vec<u8>, _payload: Vec<u8>) {
        unreachable!("it accepts nothing before it is committed")
    }

    async fn put_acked(&self, key: Vec<u8>, payload: Vec<u8>, durable: bool) {
        if durable && !self.durable.swap(true, Ordering::Relaxed) {
            self.call(|conn| conn.pragma_update(None, "synchronous", "FULL")).await;
        }
        self.call(move |conn| {
            let mut put = conn.prepare_cached("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3)")?;
            put.execute((CATEGORY, key, payload))
        })
        .await;
    }

    async fn flush(&self) {
        self.call(|conn| {
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "user_version", 1)?;
            conn.pragma_update(None, "synchronous", "NORMAL")
        })
        .await;
    }

    async fn get(&self, key: Vec<u8>) -> Option<Vec<u8>> {
        let got = self.call(move |conn| {
            let mut get = conn.prepare_cached("SELECT payload FROM kv WHERE category = ?1 AND key = ?2")?;
            get.query_row((CATEGORY, key), |row| row.get(0))
        });
        Some(got.await)
    }

    async fn scan(&self, from: Vec<u8>, rows: usize) -> (Vec<u8>, usize) {
        let scanned: Rows = self
            .call(move |conn| {
                let mut scan = conn.prepare_cached(
                    "SELECT key, payload FROM kv WHERE category = ?1 AND key >= ?2 ORDER BY key LIMIT ?3",
                )?;
                let found =
                    scan.query_map((CATEGORY, from, rows as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
                found.collect()
            })
            .await;
        (scanned[0].1.clone(), scanned.len())
    }

    async fn count(&self, from: Vec<u8>, to: Vec<u8>) -> u64 {
        let count = self.call(move |conn| {
            let mut count = conn
                .prepare_cached("SELECT count(*) FROM kv WHERE category = ?1 AND key >= ?2 AND key < ?3")?;
            count.query_row((CATEGORY, from, to), |row| row.get::<_, i64>(0))
        });
        count.await as u64
    }
}

#[tokio::main]
async fn main() {
    let path = std::env::args().nth(1).expect("the path of the database");
    let store = Arc::new(Store::open(&path).await);
    for line in stdin().lock().lines() {
        let work: Work = serde_json::from_str(&line.expect("a line")).expect("work");
        let task = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { carry_out(&store, &work).await })
        };
        let done = task.await.expect("the work");
        println!("{}", serde_json::to_string(&done).expect("an answer"));
        stdout().flush().expect("the answer is taken");
    }
    drop(Arc::into_inner(store).map(|store| store.conn));
}
