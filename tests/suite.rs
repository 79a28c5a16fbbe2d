//! The one suite: the same tests natively and in every browser.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{async_test, fresh};
use persistency::limits;

#[async_test]
async fn fresh_roots_of_one_name_differ() {
    let (a, b) = (fresh("suite"), fresh("suite"));
    assert!(a.root().contains("suite-"));
    assert_ne!(a.root(), b.root());
}

#[async_test]
async fn a_key_of_the_largest_size_fits_a_batch() {
    const { assert!(limits::KEY_BYTES_MAX < limits::BATCH_BYTES_MAX) };
}
