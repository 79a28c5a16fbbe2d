//! Layer `datastore`: live shared collections and the merge pool, over a [`Job`](crate::Job).
