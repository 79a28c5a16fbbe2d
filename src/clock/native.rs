//! The operating system's time.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// A timer, which is ready when so much time has passed.
pub(super) use futures_timer::Delay;

#[allow(clippy::disallowed_methods, reason = "this is the clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the first look.
pub(super) fn monotonic() -> Duration {
    START.elapsed()
}

/// Time since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(super) fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
