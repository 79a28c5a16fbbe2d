//! A manual clock moves when told and wakes who is due; the system's goes on by itself.

use futures_util::FutureExt;

use super::*;
use crate::testing::{async_test, test};

#[test]
fn a_manual_clock_stands_until_it_is_moved_and_its_clones_move_with_it() {
    let clock = Clock::manual(1000);
    let clone = clock.clone();
    assert_eq!((clock.unix_ms(), clock.monotonic_ms()), (1000, 0));
    clone.advance(Duration::from_millis(5));
    assert_eq!((clock.unix_ms(), clock.monotonic_ms()), (1005, 5));
    clock.advance(Duration::MAX);
    assert_eq!(clock.unix_ms(), u64::MAX, "time ends at its end");
}

#[test]
fn a_sleep_ends_at_its_time_and_not_before() {
    let clock = Clock::manual(0);
    let mut sleeps: Vec<_> = [0, 10, 20].map(|at| clock.sleep_until(at)).into();
    let mut done = || sleeps.iter_mut().map(|sleep| sleep.now_or_never().is_some()).collect::<Vec<_>>();
    assert_eq!(done(), [true, false, false]);
    clock.advance(Duration::from_millis(9));
    assert_eq!(done(), [true, false, false]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(done(), [true, true, false]);
}

#[async_test]
async fn a_sleeper_is_woken_by_the_advance() {
    let clock = Clock::manual(0);
    let advance = async { clock.advance(Duration::from_millis(10)) };
    futures_util::join!(clock.sleep_until(10), advance);
    assert_eq!(clock.monotonic_ms(), 10);
}

#[async_test]
async fn the_systems_clock_goes_on_by_itself_and_cannot_be_moved() {
    let clock = Clock::system();
    let before = clock.monotonic_ms();
    clock.advance(Duration::from_secs(3600));
    let start = clock.monotonic_ms();
    assert!(start - before < 3_000_000);
    clock.sleep_until(start + 5).await;
    assert!(clock.monotonic_ms() >= start + 5);
    assert!(clock.unix_ms() > 1_600_000_000_000, "some time after 2020");
}
