//! One suite for every place: the same tests natively and in each browser, in a window and in a worker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "suite/model/mod.rs"]
mod model;

use common::{async_test, fresh};
use persistency::{Batch, ErrorKind, Persistency, WatchItem, key};

#[async_test]
async fn smoke() {
    for memory in [true, false] {
        let fresh = fresh("smoke");
        let p = if memory { Persistency::open(":memory:") } else { Persistency::open(fresh.root()) }.unwrap();
        let job = p.open_job("alpha").await.unwrap();
        let mut watch = job.watch("msg", ..).await.unwrap();
        let receipt = job.persist_put("msg", key!("channel-1", 1i64).unwrap(), "hi").await.unwrap();
        assert_eq!(job.get("msg", key!("channel-1", 1i64).unwrap()).await.unwrap().unwrap(), b"hi");
        assert_eq!(receipt.committed().await.unwrap(), 1);
        assert_eq!(receipt.durable().await.unwrap(), 1);
        job.flush().await.unwrap();
        let rows = job.scan_prefix("msg", key!("channel-1").unwrap()).reverse().limit(50).await.unwrap();
        assert_eq!(rows.len(), 1);
        let conflict = Batch::new().require_absent("msg", key!("channel-1", 1i64).unwrap());
        let error = job.persist_acked(conflict).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(job.delete_acked("msg", key!("channel-1", 1i64).unwrap()).await.unwrap());
        assert!(!job.delete_acked("msg", key!("channel-1", 1i64).unwrap()).await.unwrap());
        for seq in 1..=3 {
            match watch.next().await.unwrap().unwrap() {
                WatchItem::Commit(commit) => assert_eq!(commit.seq, seq),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(p.count("alpha", "msg", ..).await.unwrap(), 0);
        drop(watch);
        p.close().await.unwrap();
        assert_eq!(job.flush().await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
