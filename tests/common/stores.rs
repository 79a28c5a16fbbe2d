//! What a store for archives has to do, whatever it is: the same source for a directory and for a server.

use persistency::archive::{MemoryStore, Put, Store};

/// What every store has to do, compared with the one in memory.
pub async fn behaves_as_a_store(store: &dyn Store) {
    let memory = MemoryStore::new();
    let stores: [&dyn Store; 2] = [store, &memory];
    let names: Vec<String> = (0..25).map(|n| format!("=41lpha/segments/{:020}", n * 7 % 25)).collect();
    for store in stores {
        for name in &names {
            assert_eq!(store.put_new(name, name.as_bytes()).await.unwrap(), Put::Created);
            assert_eq!(store.put_new(name, b"other").await.unwrap(), Put::Exists);
        }
        store.put_new("=41lpha/segments2/x", b"").await.unwrap();
        store.put_new("=41lpha/bases/x", &vec![7; 3_000_000]).await.unwrap();
        assert_eq!(store.get(&names[3]).await.unwrap().unwrap(), names[3].as_bytes());
        assert_eq!(store.get("=41lpha/none").await.unwrap(), None);
        assert_eq!(store.get("=41lpha/bases/x").await.unwrap().unwrap(), vec![7; 3_000_000]);
        assert_eq!(store.get("=41lpha/segments2/x").await.unwrap().unwrap(), b"");
    }
    let prefix = "=41lpha/segments/";
    for from in [prefix, "", &names[5], &format!("{prefix}00000000000000000007x"), "z"] {
        for limit in [0, 1, 7, 1000] {
            let listed = store.list(prefix, from, limit).await.unwrap();
            assert_eq!(listed, memory.list(prefix, from, limit).await.unwrap(), "{from}, {limit}");
        }
    }
    assert_eq!(store.list("none/", "none/", 10).await.unwrap(), Vec::<String>::new());
    store.delete(&names[0]).await.unwrap();
    store.delete(&names[0]).await.unwrap();
    assert_eq!(store.get(&names[0]).await.unwrap(), None);
    assert_eq!(store.put_new(&names[0], b"again").await.unwrap(), Put::Created);
}
