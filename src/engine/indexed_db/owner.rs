//! Owners: which root objects of this page have a root open, and which of them only drain.
//!
//! Never keeps anybody out, since tabs share a root; who comes later waits for those that drain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::Claim;
use crate::room::{Room, Share, Size};

/// The owners in this page.
static OWNERS: Mutex<Vec<Owner>> = Mutex::new(Vec::new());

/// What others know of an owner.
struct Owner {
    /// Its databases' prefix.
    prefix: String,
    drains: Arc<AtomicBool>,
    /// Has room for one, which the owner takes until it has gone.
    place: Arc<Room>,
}

fn owners() -> MutexGuard<'static, Vec<Owner>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share in a root, until it is dropped.
#[derive(Debug)]
pub(crate) struct RootClaim {
    drains: Arc<AtomicBool>,
    _place: Option<Share>,
}

/// Takes a share in the root of this prefix, after everybody in this page who lets go of it has.
pub(super) async fn claim(prefix: &str) -> RootClaim {
    let draining: Vec<Arc<Room>> = {
        let mut owners = owners();
        owners.retain(|owner| owner.place.taken() == Size::ONE);
        let drains = |owner: &&Owner| owner.prefix == prefix && owner.drains.load(Ordering::SeqCst);
        owners.iter().filter(drains).map(|owner| Arc::clone(&owner.place)).collect()
    };
    for place in draining {
        drop(place.take(Size::ONE).await);
    }
    let owner = Owner { prefix: prefix.to_owned(), drains: Arc::default(), place: Room::new(1, 0) };
    let claim = RootClaim { drains: Arc::clone(&owner.drains), _place: owner.place.try_take(Size::ONE) };
    owners().push(owner);
    claim
}

impl Claim for RootClaim {
    fn drain(&self) {
        self.drains.store(true, Ordering::SeqCst);
    }
}
