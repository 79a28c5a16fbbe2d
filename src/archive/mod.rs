//! Layer `archive`: a job's history in object storage, restored anywhere, over a [`Job`](crate::Job).
