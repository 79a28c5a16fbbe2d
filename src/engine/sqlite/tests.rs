//! Tests of what is peculiar to SQLite.
crate::engine::laws::engine_laws!(persistent, {
    let dir = tempfile::tempdir().unwrap();
    (super::SqliteSite::new(dir.path()), dir)
});
