//! The layer `datastore`.
