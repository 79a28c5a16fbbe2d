//! Facts about handles and futures: each can be sent to another thread, on both platforms.

use persistency::{
    Batch, Clock, Error, Job, JobInfo, JobOptions, LogReader, Pages, Persistency, Position, Receipt, Scan,
    SeqWatch, Watch, WatchItem, key,
};

use crate::common::{TestRoot, k};

facts! {
    everywhere:
        futures_of_a_job_can_be_sent,
        futures_of_a_root_can_be_sent,
        futures_borrow_nothing_but_what_they_are_given;
}

fn sends<T: Send>(_: T) {}

/// Never called: that it compiles is the fact.
#[expect(dead_code, reason = "the compiler is the test")]
fn handles_can_be_sent_and_shared() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Persistency>();
    check::<Job>();
    check::<Receipt>();
    check::<Scan>();
    check::<Batch>();
    check::<Error>();
    check::<Clock>();
    check::<JobInfo>();
    check::<SeqWatch>();
    check::<WatchItem>();
    fn check_send<T: Send + 'static>() {}
    check_send::<Pages>();
    check_send::<Watch>();
    check_send::<LogReader>();
}

async fn futures_of_a_job_can_be_sent(root: &TestRoot) {
    let job = root.job().await;
    let position = Position { generation: [0; 16], seq: 0 };
    sends(job.persist(Batch::new()));
    sends(job.persist_put("m", k("a"), ""));
    sends(job.persist_delete("m", k("a")));
    sends(job.persist_delete_prefix("m", k("a")));
    sends(job.persist_encoded("m", k("a"), "x"));
    sends(job.persist_acked(Batch::new()));
    sends(job.put_acked("m", k("a"), ""));
    sends(job.delete_acked("m", k("a")));
    sends(job.flush());
    sends(job.get("m", k("a")));
    sends(job.get_many("m", [k("a")]));
    sends(job.exists("m", k("a")));
    sends(job.exists_many("m", [k("a")]));
    sends(job.count("m", ..));
    sends(job.scan("m", k("a")..).into_future());
    sends(job.scan("m", ..).stream().into_stream());
    sends(job.scan("m", ..).stream().next());
    sends(job.categories());
    sends(job.position());
    sends(job.watch("m", ..));
    sends(job.watch_from(position, "m", ..));
    sends(job.log_from(position));
    sends(job.hold_log("h"));
    sends(job.advance_log("h", 1));
    sends(job.release_log("h"));
    sends(job.info());
    sends(job.check());
    sends(job.compact());
    sends(job.watch_committed_seq().at_least(1));
    let receipt = job.persist(Batch::new()).await.unwrap();
    sends(receipt.committed());
    sends(receipt.durable());
    let mut watch = job.watch("m", ..).await.unwrap();
    sends(watch.next());
    sends(watch.into_stream());
    let begin = job.position().await.unwrap();
    let mut log = job.log_from(begin).await.unwrap();
    sends(log.next());
    sends(log.into_stream());
    // A future does nothing before it is polled.
    assert_eq!((job.committed_seq(), job.stats().batches_failed), (0, 0));
    assert!(job.info().await.unwrap().log_holders.is_empty());
}

async fn futures_of_a_root_can_be_sent(root: &TestRoot) {
    let p = root.open();
    sends(p.open_job("alpha"));
    sends(p.open_job_with("alpha", JobOptions::new()));
    sends(p.list_jobs());
    sends(p.close_job("alpha"));
    sends(p.drop_job("alpha"));
    sends(p.close());
    sends(Persistency::reset());
    sends(p.persist_put("alpha", "m", k("a"), ""));
    sends(p.count("alpha", "m", ..));
    sends(p.watch("alpha", "m", ..));
    assert!(!p.has_job("alpha") && p.list_jobs().await.unwrap().is_empty());
}

async fn futures_borrow_nothing_but_what_they_are_given(root: &TestRoot) {
    fn owned<T: Send + 'static>(value: T) -> T {
        value
    }
    let job = root.job().await;
    let scan = {
        let (category, prefix) = (String::from("m"), key!("a").unwrap());
        owned(job.scan_prefix(&category, prefix).into_future())
    };
    let mut watch = {
        let category = String::from("m");
        owned(job.watch(&category, ..).await.unwrap())
    };
    let batch = {
        let category = String::from("m");
        owned(Batch::new().put(&category, key!("a", 1).unwrap(), ""))
    };
    drop(owned(job.persist(batch).await.unwrap()));
    assert_eq!(scan.await.unwrap().len(), 1);
    assert!(watch.next().await.unwrap().is_ok());
}
