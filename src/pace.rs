//! Pace: giving way to others, in any program and without a runtime.
//!
//! Never waits for anything.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the other tasks of the thread that are ready go on once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
