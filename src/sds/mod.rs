//! Layer `sds`: durable state of Scalable Data Sync channels, over a [`Job`](crate::Job).
