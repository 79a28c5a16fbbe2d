//! The layer `write_behind`.
