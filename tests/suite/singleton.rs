//! Facts about the process-wide root. They share the state of the process, so they are one test.

use persistency::{ErrorKind, Persistency};

use crate::common::{async_test, fresh, k, kind, put_all};

#[async_test]
async fn the_process_has_one_root_until_it_is_reset() {
    let (first, second) = (fresh("first"), fresh("second"));

    // None yet; resetting nothing is fine.
    assert_eq!(kind(Persistency::current()), ErrorKind::Closed);
    Persistency::reset().await.unwrap();
    assert_eq!(kind(Persistency::current()), ErrorKind::Closed);

    // A root that is refused leaves none behind.
    assert_eq!(kind(Persistency::instance("")), ErrorKind::InvalidArgument);
    assert_eq!(kind(Persistency::current()), ErrorKind::Closed);

    // The same root is the same instance; another one is refused and changes nothing.
    let p = Persistency::instance(first.root()).unwrap();
    let job = p.open_job("alpha").await.unwrap();
    assert!(Persistency::instance(first.root()).unwrap().has_job("alpha"));
    assert!(Persistency::current().unwrap().has_job("alpha"));
    assert_eq!(Persistency::current().unwrap().root(), p.root());
    let error = Persistency::instance(second.root()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(kind(Persistency::instance(":memory:")), ErrorKind::InvalidArgument);
    // Compared as given, without looking at what it means.
    assert_eq!(kind(Persistency::instance(format!("{}/.", first.root()) + "x")), ErrorKind::InvalidArgument);
    put_all(&job, "m", ["a"]).await;

    // Independent roots are not the instance, and it is not them.
    let other = Persistency::open(second.root()).unwrap();
    assert!(!other.has_job("alpha"));
    other.close().await.unwrap();
    assert!(Persistency::current().unwrap().has_job("alpha"));

    // Resetting closes it and makes room for another root, or for the same one anew.
    Persistency::reset().await.unwrap();
    assert_eq!(kind(job.get("m", k("a")).await), ErrorKind::Closed);
    assert_eq!(kind(p.open_job("alpha").await), ErrorKind::Closed);
    assert_eq!(kind(Persistency::current()), ErrorKind::Closed);
    Persistency::reset().await.unwrap();
    let memory = Persistency::instance(":memory:").unwrap();
    assert!(!memory.has_job("alpha"));
    memory.open_job("alpha").await.unwrap();
    assert_eq!(kind(Persistency::instance(first.root())), ErrorKind::InvalidArgument);
    Persistency::reset().await.unwrap();
    let again = Persistency::instance(first.root()).unwrap();
    assert!(again.open_job("alpha").await.unwrap().exists("m", k("a")).await.unwrap());
    again.drop_job("alpha").await.unwrap();
    Persistency::reset().await.unwrap();
}
