//! Rooms: bounds of which callers take shares, and of those who wait for one, first come, first served.
//!
//! Never lets anybody overtake: who comes later waits behind those who wait, also if his share would fit.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::waiting::Waiting;

/// What a share is of: operations and bytes, or calls and nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Size {
    /// One call among others.
    pub(crate) const ONE: Size = Size { count: 1, bytes: 0 };
}

/// One bound and who shares it.
#[derive(Debug)]
pub(crate) struct Room {
    max: Size,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Size,
    closed: bool,
    /// Callers that wait, in the order in which they came.
    waiting: Waiting,
}

/// A share, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    /// None if it is of nothing.
    room: Option<Arc<Room>>,
    size: Size,
}

/// A future of a share, see [`Room::take`].
pub(crate) struct Taking<'a> {
    room: &'a Arc<Room>,
    size: Size,
    number: Option<u64>,
}

impl Room {
    pub(crate) fn new(count: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Room { max: Size { count, bytes }, state: Mutex::default() })
    }

    /// A share, if there is room for it and nobody waits.
    pub(crate) fn try_take(self: &Arc<Self>, size: Size) -> Option<Share> {
        let mut state = self.lock();
        if !state.waiting.is_empty() || state.closed {
            return None;
        }
        self.share(&mut state, size)
    }

    /// Resolves with a share when it is this caller's turn; `None` if the room is closed before.
    ///
    /// Who comes next has his turn when this future is dropped, so that nobody overtakes what is done
    /// with the share until then.
    pub(crate) fn take(self: &Arc<Self>, size: Size) -> Taking<'_> {
        Taking { room: self, size, number: None }
    }

    /// Sends everybody away who waits, now and later.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.wakers().into_iter().for_each(Waker::wake);
    }

    /// How much of it is taken.
    pub(crate) fn taken(&self) -> Size {
        self.lock().taken
    }

    /// One that is larger than the whole room takes all of it.
    fn share(self: &Arc<Self>, state: &mut State, size: Size) -> Option<Share> {
        let size = Size { count: size.count.min(self.max.count), bytes: size.bytes.min(self.max.bytes) };
        let taken = Size { count: state.taken.count + size.count, bytes: state.taken.bytes + size.bytes };
        if taken.count > self.max.count || taken.bytes > self.max.bytes {
            return None;
        }
        state.taken = taken;
        Some(Share { room: Some(Arc::clone(self)), size })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// A share of nothing, for who keeps his bounds himself.
    pub(crate) fn of_nothing() -> Self {
        Share { room: None, size: Size::default() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(room) = &self.room else { return };
        let mut state = room.lock();
        state.taken.count -= self.size.count;
        state.taken.bytes -= self.size.bytes;
        wake_first(state);
    }
}

fn wake_first(state: MutexGuard<'_, State>) {
    let first = state.waiting.first().map(|(_, waker)| waker.clone());
    drop(state);
    if let Some(waker) = first {
        waker.wake();
    }
}

impl Future for Taking<'_> {
    type Output = Option<Share>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let room = self.room;
        let mut state = room.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        state.waiting.note(&mut self.number, context);
        if state.waiting.first().is_some_and(|(first, _)| Some(*first) == self.number)
            && let Some(share) = room.share(&mut state, self.size)
        {
            return Poll::Ready(Some(share));
        }
        Poll::Pending
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if self.number.is_none() {
            return;
        }
        let mut state = self.room.lock();
        state.waiting.forget(self.number);
        wake_first(state);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::testing::test;

    fn of(count: usize, bytes: usize) -> Size {
        Size { count, bytes }
    }

    #[test]
    fn a_share_needs_room_for_both_its_count_and_its_bytes() {
        let room = Room::new(3, 10);
        let first = room.try_take(of(1, 8)).expect("fits");
        assert!(room.try_take(of(1, 3)).is_none());
        let second = room.try_take(of(2, 2)).expect("fits");
        assert!(room.try_take(of(1, 0)).is_none());
        assert_eq!(room.taken(), of(3, 10));
        drop(first);
        drop(second);
        assert_eq!(room.taken(), of(0, 0));
    }

    #[test]
    fn what_is_larger_than_the_room_takes_all_of_it() {
        let room = Room::new(3, 10);
        let small = room.try_take(of(1, 1)).expect("fits");
        assert!(room.try_take(of(100, 100)).is_none());
        drop(small);
        let _large = room.try_take(of(100, 100)).expect("fits alone");
        assert_eq!(room.taken(), of(3, 10));
    }

    #[test]
    fn nobody_overtakes_who_waits() {
        let room = Room::new(2, 0);
        let held = room.try_take(Size::ONE).expect("fits");
        let (mut large, mut small) = (room.take(of(2, 0)), room.take(Size::ONE));
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none(), "it would fit, and came later");
        assert!(room.try_take(Size::ONE).is_none());
        drop(held);
        let served = (&mut large).now_or_never().flatten().expect("its turn");
        drop(served);
        assert!((&mut small).now_or_never().is_none(), "the one before is not through");
        drop(large);
        assert!((&mut small).now_or_never().flatten().is_some());
    }

    #[test]
    fn who_gives_up_lets_the_next_one_in() {
        let room = Room::new(2, 0);
        let _held = room.try_take(Size::ONE).expect("fits");
        let (mut large, mut small) = (room.take(of(2, 0)), room.take(Size::ONE));
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!((&mut small).now_or_never().flatten().is_some());
    }

    #[test]
    fn a_closed_room_sends_everybody_away() {
        let room = Room::new(1, 0);
        let _held = room.try_take(Size::ONE).expect("fits");
        let mut waiting = room.take(Size::ONE);
        assert!((&mut waiting).now_or_never().is_none());
        room.close();
        assert!(matches!((&mut waiting).now_or_never(), Some(None)));
        assert!(matches!(room.take(Size::ONE).now_or_never(), Some(None)));
        assert!(room.try_take(Size::ONE).is_none());
    }

    #[test]
    fn a_share_of_nothing_takes_no_room() {
        drop(Share::of_nothing());
        let room = Room::new(1, 0);
        let _held = room.try_take(Size::ONE).expect("fits");
        let _nothing = Share::of_nothing();
        assert_eq!(room.taken(), Size::ONE);
    }
}
