//! Room for what reads answer: bounds on results under way, given in the order in which it was asked for.

use std::collections::VecDeque;

use super::CallId;
use crate::engine::Query;
use crate::limits;

/// One of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Bytes of pages and scans.
    Scans,
    /// Gets with small answers.
    SmallGets,
    /// One get with a large answer at a time.
    LargeGet,
}

/// What a query asks for room: where, how much of it, and the bytes that its answer may have then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) room: Room,
    pub(super) share: usize,
    pub(super) bytes: usize,
}

const fn need(room: Room, share: usize, bytes: usize) -> Need {
    Need { room, share, bytes }
}

const PAGES: [Need; 2] = [
    need(Room::Scans, limits::PAGE_BYTES_MAX, limits::PAGE_BYTES_MAX),
    need(Room::Scans, limits::SCAN_BYTES_MAX, limits::SCAN_BYTES_MAX),
];
const GETS: [Need; 2] =
    [need(Room::SmallGets, 1, limits::SMALL_GET_BYTES_MAX), need(Room::LargeGet, 1, limits::SCAN_BYTES_MAX)];

impl Need {
    /// What the query needs at its first attempt, and if its answer is too large for that, at further ones.
    pub(super) fn of(query: &Query, whole: bool) -> &'static [Need] {
        match query {
            Query::Get(_) => &GETS,
            Query::Page(_) if whole => &PAGES,
            Query::Page(_) => &PAGES[..1],
            _ => &[],
        }
    }
}

/// How much of each bound is free, and who waits.
pub(super) struct Rooms([Bound; 3]);

struct Bound {
    free: usize,
    waiting: VecDeque<CallId>,
}

impl Default for Rooms {
    fn default() -> Self {
        let frees = [limits::SCANS_UNDER_WAY_BYTES_MAX, limits::SMALL_GETS_UNDER_WAY_MAX, 1];
        Rooms(frees.map(|free| Bound { free, waiting: VecDeque::new() }))
    }
}

impl Rooms {
    /// Takes what is needed; or has `id` wait for it, and answers false.
    pub(super) fn take(&mut self, id: CallId, need: Need) -> bool {
        let bound = self.bound(need.room);
        let taken = bound.waiting.is_empty() && bound.free >= need.share;
        match taken {
            true => bound.free -= need.share,
            false => bound.waiting.push_back(id),
        }
        taken
    }

    pub(super) fn give_back(&mut self, need: Need) {
        self.bound(need.room).free += need.share;
    }

    /// Who is to be served next in this room.
    pub(super) fn first(&mut self, room: Room) -> Option<CallId> {
        self.bound(room).waiting.front().copied()
    }

    /// Serves who is to be served next, if there is enough room for him now.
    pub(super) fn take_first(&mut self, need: Need) -> bool {
        let bound = self.bound(need.room);
        let taken = bound.free >= need.share;
        if taken {
            bound.free -= need.share;
            bound.waiting.pop_front();
        }
        taken
    }

    /// Takes who is to be served next, and has gone, out of the row.
    pub(super) fn skip_first(&mut self, room: Room) {
        self.bound(room).waiting.pop_front();
    }

    fn bound(&mut self, room: Room) -> &mut Bound {
        &mut self.0[room as usize]
    }
}
