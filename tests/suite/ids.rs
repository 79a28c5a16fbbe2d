//! Facts about job ids: any text of 1 to 64 bytes names one job of its own, inside the root.

use persistency::ErrorKind;

use crate::common::{TestRoot, k, kind, put_all};

facts! {
    everywhere:
        ids_are_taken_up_to_their_limit,
        hostile_ids_are_jobs_like_others,
        ids_that_look_alike_are_different_jobs,
        ids_are_listed_as_they_were_given,
        dropping_one_hostile_id_leaves_the_others;
    on_disk:
        hostile_ids_come_back_after_reopening;
}

/// Traversal, separators, drive letters, NUL, what Windows reserves, what an escape could collide with.
const HOSTILE: [&str; 37] = [
    ".",
    "..",
    "...",
    ".lock",
    "../x",
    "..\\x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:",
    "C:\\x",
    "\\\\server\\share",
    "a\0b",
    "\0",
    " ",
    "a ",
    "a.",
    "a.db",
    "a.db-wal",
    "con",
    "CON",
    "con.txt",
    "nul",
    "com1",
    "com\u{b9}",
    "lpt9",
    "aux.db",
    "%",
    "%2e",
    "%2E",
    "a%00",
    "\u{e9}",
    "e\u{301}",
    "\u{1f600}",
    "\u{202e}",
    "*?<>|\"",
    "~",
];

async fn ids_are_taken_up_to_their_limit(root: &TestRoot) {
    let p = root.open();
    let long = |bytes: usize| "x".repeat(bytes);
    // 21 characters of three bytes and one of one.
    let wide = format!("{}a", "\u{2713}".repeat(21));
    assert_eq!(wide.len(), 64);
    for id in ["a", &long(64), &wide, &"/".repeat(64)] {
        let job = p.open_job(id).await.unwrap();
        assert_eq!(job.id(), id);
        job.put_acked("m", k("a"), "").await.unwrap();
    }
    for (id, expected) in [
        (String::new(), ErrorKind::InvalidArgument),
        (long(65), ErrorKind::TooLarge),
        (format!("{wide}a"), ErrorKind::TooLarge),
        (long(100_000), ErrorKind::TooLarge),
    ] {
        assert_eq!(kind(p.open_job(&id).await), expected);
        assert_eq!(kind(p.drop_job(&id).await), expected);
        assert!(!p.has_job(&id));
    }
    assert_eq!(p.list_jobs().await.unwrap().len(), 4);
}

async fn hostile_ids_are_jobs_like_others(root: &TestRoot) {
    let p = root.open();
    for id in HOSTILE {
        let job = p.open_job(id).await.unwrap();
        assert_eq!(job.id(), id);
        assert!(job.categories().await.unwrap().is_empty(), "{id:?} is a job of its own");
        put_all(&job, "m", [id]).await;
        if root.persists() {
            p.close_job(id).await.unwrap();
        }
    }
    let mut expected = HOSTILE.to_vec();
    expected.sort_unstable();
    assert_eq!(p.list_jobs().await.unwrap(), expected);
}

async fn ids_that_look_alike_are_different_jobs(root: &TestRoot) {
    let p = root.open();
    let alike =
        ["alpha", "Alpha", "ALPHA", "alpha ", " alpha", "alph\u{e1}", "alpha\u{301}", "%61lpha", "alpha.db"];
    for id in alike {
        put_all(&p.open_job(id).await.unwrap(), "m", [id]).await;
    }
    for id in alike {
        assert!(p.has_job(id));
        let job = p.open_job(id).await.unwrap();
        assert_eq!(job.count("m", ..).await.unwrap(), 1, "{id:?}");
        assert!(job.exists("m", k(id)).await.unwrap(), "{id:?}");
    }
}

async fn ids_are_listed_as_they_were_given(root: &TestRoot) {
    let p = root.open();
    for id in ["b", "\u{1f600}", "B", "a/b", "\u{ffff}", "a", "con"] {
        p.open_job(id).await.unwrap();
    }
    // In byte order, which for these is not that of UTF-16.
    assert_eq!(p.list_jobs().await.unwrap(), ["B", "a", "a/b", "b", "con", "\u{ffff}", "\u{1f600}"]);
}

async fn dropping_one_hostile_id_leaves_the_others(root: &TestRoot) {
    let p = root.open();
    for id in ["a", "A", "../a", "a.db", "%61"] {
        put_all(&p.open_job(id).await.unwrap(), "m", [id]).await;
    }
    for (id, left) in [("../a", 4), ("A", 3), ("%61", 2), ("a.db", 1)] {
        p.drop_job(id).await.unwrap();
        assert_eq!(p.list_jobs().await.unwrap().len(), left);
    }
    assert!(p.job("a").unwrap().exists("m", k("a")).await.unwrap());
}

async fn hostile_ids_come_back_after_reopening(root: &TestRoot) {
    let p = root.open();
    let few = ["..", "a\0b", "CON", "\u{1f600}", "%2e", "C:\\x"];
    for id in few {
        put_all(&p.open_job(id).await.unwrap(), "m", [id]).await;
    }
    p.close().await.unwrap();
    let p = root.open();
    for id in few {
        assert!(p.open_job(id).await.unwrap().exists("m", k(id)).await.unwrap(), "{id:?}");
    }
    assert_eq!(p.list_jobs().await.unwrap().len(), few.len());
}
