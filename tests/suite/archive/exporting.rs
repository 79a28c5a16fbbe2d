//! Facts about exports: a whole job as bytes, and back.

use futures_util::FutureExt;
use persistency::{Batch, ErrorKind, Job, Persistency, Result};

use crate::common::{TestRoot, k, kind, put_all, rows};

facts! {
    everywhere:
        what_is_exported_is_imported,
        an_empty_job_is_exported,
        a_job_is_exported_while_it_is_written,
        an_export_lets_go_of_the_log,
        a_call_of_an_export_that_is_dropped_loses_nothing,
        an_export_that_is_damaged_or_cut_makes_no_job,
        an_import_that_is_dropped_leaves_no_job;
}

async fn export(job: &Job) -> Vec<u8> {
    let mut export = job.export().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(next) = export.next().await {
        bytes.extend(next.unwrap());
    }
    bytes
}

async fn import(p: &Persistency, bytes: &[u8], at_once: usize) -> Result<u64> {
    let mut import = p.import_job("imported").await?;
    for piece in bytes.chunks(at_once) {
        import.push(piece).await?;
    }
    Ok(import.finish().await?.seq)
}

async fn what_is_exported_is_imported(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a", "b", "c"]).await;
    job.persist_acked(Batch::new().delete("m", k("a")).put("n", k(""), vec![7; 9_000_000])).await.unwrap();
    put_all(&job, "", [""]).await;
    let bytes = export(&job).await;
    for at_once in [1_000, 100_000, usize::MAX] {
        assert_eq!(import(&p, &bytes, at_once).await.unwrap(), 3);
        let imported = p.open_job("imported").await.unwrap();
        assert_eq!(imported.categories().await.unwrap(), ["", "m", "n"]);
        for category in ["", "m", "n"] {
            assert_eq!(rows(&imported, category).await, rows(&job, category).await);
        }
        p.drop_job("imported").await.unwrap();
    }
    assert_eq!(kind(p.import_job("alpha").await), ErrorKind::Conflict);
}

async fn an_empty_job_is_exported(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let bytes = export(&job).await;
    assert_eq!(import(&p, &bytes, 7).await.unwrap(), 0);
    assert_eq!(p.open_job("imported").await.unwrap().categories().await.unwrap(), Vec::<String>::new());
}

async fn a_job_is_exported_while_it_is_written(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    for n in 0..30u8 {
        job.put_acked("m", k([n, 0]), vec![n; 600_000]).await.unwrap();
    }
    let mut export = job.export().await.unwrap();
    let (mut bytes, mut states) = (Vec::new(), vec![(job.committed_seq(), rows(&job, "m").await)]);
    let mut n = 0u8;
    while let Some(next) = export.next().await {
        bytes.extend(next.unwrap());
        let seq = job.persist_acked(Batch::new().put("m", k([n, n]), [n]).delete("m", k([29 - n, 0]))).await;
        states.push((seq.unwrap(), rows(&job, "m").await));
        n += 1;
    }
    assert!(n > 2);
    let seq = import(&p, &bytes, usize::MAX).await.unwrap();
    let state = states.into_iter().find(|(at, _)| *at == seq).unwrap().1;
    assert!(rows(&p.open_job("imported").await.unwrap(), "m").await == state, "as it was at seq {seq}");
}

async fn an_export_lets_go_of_the_log(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a"]).await;
    export(&job).await;
    assert_eq!(job.info().await.unwrap().log_holders, []);
    let mut cut_short = job.export().await.unwrap();
    cut_short.next().await.unwrap().unwrap();
    assert_eq!(job.info().await.unwrap().log_holders.len(), 1);
    drop(cut_short);
    while !job.info().await.unwrap().log_holders.is_empty() {}
}

/// Found by attack: the commits that had been read were left out.
async fn a_call_of_an_export_that_is_dropped_loses_nothing(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    let mut export = job.export().await.unwrap();
    for n in 0..40u8 {
        job.put_acked("n", k([n]), vec![n; 100_000]).await.unwrap();
    }
    let (mut bytes, mut patience, mut in_vain) = (Vec::new(), 0, 0);
    loop {
        // Every number below 16, large and small ones by turns; and more as long as no call gets to its end.
        patience = (patience * 5 + 3) % 16;
        let mut next = std::pin::pin!(export.next());
        let mut called = None;
        for _ in 0..=patience + in_vain {
            called = called.or_else(|| next.as_mut().now_or_never());
            job.position().await.unwrap();
        }
        match called {
            Some(Some(object)) => {
                bytes.extend(object.unwrap());
                in_vain = 0;
            }
            Some(None) => break,
            None => in_vain += 1,
        }
    }
    assert_eq!(import(&p, &bytes, usize::MAX).await.unwrap(), 41);
    let imported = p.open_job("imported").await.unwrap();
    assert!(rows(&imported, "n").await == rows(&job, "n").await);
    // One that is dropped while it begins lets go of the log, too.
    for patience in 0..4 {
        let mut beginning = std::pin::pin!(job.export());
        for _ in 0..patience {
            if beginning.as_mut().now_or_never().is_some() {
                break;
            }
            job.position().await.unwrap();
        }
    }
    while !job.info().await.unwrap().log_holders.is_empty() {}
}

async fn an_export_that_is_damaged_or_cut_makes_no_job(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a", "b"]).await;
    let bytes = export(&job).await;
    for at in (0..bytes.len()).step_by(if root.persists() { 31 } else { 1 }) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let refused = import(&p, &damaged, usize::MAX).await.unwrap_err().kind();
        assert!(matches!(refused, ErrorKind::Corrupt | ErrorKind::VersionTooNew), "byte {at}: {refused}");
        if at % 7 == 0 {
            assert_eq!(kind(import(&p, &bytes[..at], usize::MAX).await), ErrorKind::Corrupt, "{at} bytes");
        }
    }
    let twice = [&bytes[..], &bytes[..]].concat();
    assert_eq!(kind(import(&p, &twice, usize::MAX).await), ErrorKind::Corrupt);
    assert!(!p.has_job("imported"));
    assert_eq!(import(&p, &bytes, usize::MAX).await.unwrap(), 1, "the bytes themselves are sound");
}

async fn an_import_that_is_dropped_leaves_no_job(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a", "b"]).await;
    let mut import = p.import_job("imported").await.unwrap();
    import.push(&export(&job).await).await.unwrap();
    drop(import);
    let fresh = p.open_job("imported").await.unwrap();
    assert_eq!((fresh.committed_seq(), rows(&fresh, "m").await), (0, Vec::new()));
}
