//! Owners: which root objects of this page have a root open, and which of them only drain.
//!
//! Never keeps anybody out, since tabs share a root; who comes later waits for those that drain.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::engine::Claim;

/// The owners in this page by their databases' prefix, each with whether it drains; one has gone when
/// its channel closes.
static OWNERS: Mutex<Vec<(String, watch::Receiver<bool>)>> = Mutex::new(Vec::new());

fn owners() -> MutexGuard<'static, Vec<(String, watch::Receiver<bool>)>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share in a root, until it is dropped.
#[derive(Debug)]
pub(crate) struct RootClaim(watch::Sender<bool>);

/// Takes a share in the root of this prefix, after everybody in this page who lets go of it has.
pub(super) async fn claim(prefix: &str) -> RootClaim {
    let (sender, receiver) = watch::channel(false);
    let draining: Vec<_> = {
        let mut owners = owners();
        owners.retain(|(_, owner)| owner.has_changed().is_ok());
        let others = owners.iter().filter(|(of, owner)| of == prefix && *owner.borrow());
        others.map(|(_, owner)| owner.clone()).collect()
    };
    for mut owner in draining {
        while owner.changed().await.is_ok() {}
    }
    owners().push((prefix.to_owned(), receiver));
    RootClaim(sender)
}

impl Claim for RootClaim {
    fn drain(&self) {
        self.0.send_replace(true);
    }
}
