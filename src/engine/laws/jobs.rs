//! Laws of a site: jobs are opened, listed, closed, destroyed, and kept apart.
//!
//! Never opens one job twice at a time, but read-only beside its owner.

use super::*;
use crate::engine::{Fault, Sharing};
use crate::limits::JOB_ID_BYTES_MAX;

async fn listed(site: &dyn Site) -> Vec<String> {
    let mut ids = site.list().await.expect("lists");
    ids.sort();
    ids
}

async fn fault_of_opening(site: &dyn Site, id: &str, mode: OpenMode) -> Option<Fault> {
    match open_as(site, id, mode, b"never written").await {
        Ok(engine) => {
            engine.close().await.expect("closes");
            None
        }
        Err(error) => Some(error.fault),
    }
}

pub(crate) async fn missing_job_is_missing(site: impl Site) {
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(fault_of_opening(&site, "job", mode).await, Some(Fault::Missing), "{mode:?}");
        assert_eq!(listed(&site).await, Vec::<String>::new(), "{mode:?} creates nothing");
    }
    let other = open(&site, "other").await;
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(fault_of_opening(&site, "job", mode).await, Some(Fault::Missing), "{mode:?}");
    }
    assert_eq!(listed(&site).await, ["other"]);
    end(&site, other, "other").await;
}

pub(crate) async fn new_job_has_its_first_record(site: impl Site) {
    let engine = open(&site, "job").await;
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    assert_eq!(categories(&*engine).await, Vec::<String>::new());
    assert_eq!(keys(&*engine, Space::Log).await, Vec::<Vec<u8>>::new());
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn first_record_is_written_once(site: impl Site) {
    for mode in [OpenMode::Create, OpenMode::Create, OpenMode::MustExist] {
        let engine = open_as(&site, "job", mode, format!("{mode:?}").as_bytes()).await.expect("opens");
        assert_eq!(record(&*engine).await, Some(b"Create".to_vec()));
        engine.close().await.expect("closes");
        let engine = open_as(&site, "job", mode, b"another one").await.expect("opens");
        assert_eq!(record(&*engine).await, Some(b"Create".to_vec()));
        engine.close().await.expect("closes");
    }
    site.destroy("job").await.expect("is destroyed");
}

pub(crate) async fn list_and_destroy(site: impl Site) {
    assert_eq!(listed(&site).await, Vec::<String>::new());
    site.destroy("absent").await.expect("nothing is there to destroy");
    let first = open(&site, "first").await;
    let second = open(&site, "second").await;
    assert_eq!(listed(&site).await, ["first", "second"]);
    apply_batch(&*first, Batch::new().put("c", key("a"), "1")).await;
    end(&site, first, "first").await;
    assert_eq!(listed(&site).await, ["second"]);
    assert_eq!(get_row(&*second, "c", "a").await, None);
    site.destroy("first").await.expect("once more does nothing");
    end(&site, second, "second").await;
    assert_eq!(listed(&site).await, Vec::<String>::new());
}

pub(crate) async fn ids_keep_jobs_apart(site: impl Site) {
    let long = "x".repeat(JOB_ID_BYTES_MAX);
    let mut ids = [
        "a",
        "A",
        "%41",
        "%61",
        "a.b",
        ".a",
        "..",
        ".",
        "a/b",
        "../a",
        "a\\b",
        "CON",
        "nul",
        "com1.x",
        "a ",
        "\0",
        "\u{E9}",
        "e\u{301}",
        "\u{1F600}",
        ".lock",
        "a.db",
        "a.db-wal",
        "-",
        "%",
        ":memory:",
        &long,
    ];
    ids.sort_unstable();
    let mut engines = Vec::new();
    for id in ids {
        let engine = open_as(&site, id, OpenMode::Create, id.as_bytes()).await.expect("any id opens");
        apply_batch(&*engine, Batch::new().put("c", key("id"), id)).await;
        engines.push(engine);
    }
    assert_eq!(listed(&site).await, ids);
    for (id, engine) in ids.into_iter().zip(engines) {
        assert_eq!(record(&*engine).await, Some(id.as_bytes().to_vec()), "{id:?}");
        assert_eq!(get_row(&*engine, "c", "id").await, Some(id.as_bytes().to_vec()), "{id:?}");
        end(&site, engine, id).await;
        assert!(!listed(&site).await.contains(&id.to_string()), "{id:?} has gone");
    }
    assert_eq!(listed(&site).await, Vec::<String>::new());
}

pub(crate) async fn rows_survive_reopen(site: impl Site) {
    let engine = open(&site, "job").await;
    for durable in [true, false] {
        let writes = vec![
            batch_write(Batch::new().put("c", key([durable.into()]), vec![7; 100_000])),
            Write::Put(log_point([durable.into()]), b"log".to_vec()),
            Write::Put(Point::record(), format!("record {durable}").into_bytes()),
        ];
        let decide = Box::new(move |_: Vec<Option<Vec<u8>>>| Some(writes));
        engine.apply(Change { reads: vec![], decide, durable }).await.expect("applies");
    }
    engine.close().await.expect("closes");
    for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
        let engine = open_as(&site, "job", mode, b"never written").await.expect("opens");
        let expected = [(vec![0], vec![7; 100_000]), (vec![1], vec![7; 100_000])];
        assert!(page(&*engine, whole(rows("c"))).await.rows == expected, "{mode:?}");
        assert_eq!(keys(&*engine, Space::Log).await, [log_key([0]), log_key([1])], "{mode:?}");
        assert_eq!(record(&*engine).await, Some(b"record false".to_vec()), "{mode:?}");
        assert_undamaged(&*engine).await;
        engine.close().await.expect("closes");
    }
    site.destroy("job").await.expect("is destroyed");
}

pub(crate) async fn closing_keeps_the_job(site: impl Site) {
    for id in ["first", "second"] {
        open(&site, id).await.close().await.expect("closes");
    }
    assert_eq!(listed(&site).await, ["first", "second"]);
    site.destroy("first").await.expect("is destroyed");
    assert_eq!(listed(&site).await, ["second"]);
    site.destroy("second").await.expect("is destroyed");
    assert_eq!(listed(&site).await, Vec::<String>::new());
}

pub(crate) async fn closing_deletes_the_job(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("c", key("a"), "1")).await;
    engine.close().await.expect("closes");
    assert_eq!(listed(&site).await, Vec::<String>::new());
    assert_eq!(fault_of_opening(&site, "job", OpenMode::MustExist).await, Some(Fault::Missing));
    let engine = open_as(&site, "job", OpenMode::Create, b"anew").await.expect("opens");
    assert_eq!(record(&*engine).await, Some(b"anew".to_vec()));
    assert_eq!(get_row(&*engine, "c", "a").await, None);
    end(&site, engine, "job").await;
}

pub(crate) async fn destroyed_job_is_created_anew(site: impl Site) {
    let engine = open(&site, "job").await;
    let batch = Batch::new().put("c", key("a"), vec![1; 100_000]);
    apply_writes(&*engine, vec![batch_write(batch), Write::Put(log_point("a"), b"log".to_vec())]).await;
    end(&site, engine, "job").await;
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(fault_of_opening(&site, "job", mode).await, Some(Fault::Missing), "{mode:?}");
    }
    let engine = open_as(&site, "job", OpenMode::Create, b"anew").await.expect("opens");
    assert_eq!(record(&*engine).await, Some(b"anew".to_vec()));
    assert_eq!(categories(&*engine).await, Vec::<String>::new());
    assert_eq!(keys(&*engine, Space::Log).await, Vec::<Vec<u8>>::new());
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn read_only_reads_beside_the_owner(site: impl Site) {
    let owner = open(&site, "job").await;
    assert_ne!(owner.sharing(), Sharing::ReadOnly);
    apply_batch(&*owner, Batch::new().put("c", key("a"), "1")).await;
    let reader = open_as(&site, "job", OpenMode::ReadOnly, b"never written").await.expect("opens");
    assert_eq!(reader.sharing(), Sharing::ReadOnly);
    assert_eq!(get_row(&*reader, "c", "a").await, Some(b"1".to_vec()));
    apply_batch(&*owner, Batch::new().put("c", key("b"), vec![2; 100_000])).await;
    assert_eq!(keys(&*reader, rows("c")).await, [b"a", b"b"], "each read is a view of its own");
    assert_eq!(record(&*reader).await, Some(FIRST_RECORD.to_vec()));
    reader.close().await.expect("closes");
    apply_batch(&*owner, Batch::new().delete("c", key("a"))).await;
    assert_eq!(keys(&*owner, rows("c")).await, [b"b"]);
    end(&site, owner, "job").await;
}
