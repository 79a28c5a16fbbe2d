//! The layer `archive`.
