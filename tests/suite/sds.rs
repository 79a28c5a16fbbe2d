//! The layer `sds`.
