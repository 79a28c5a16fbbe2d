//! Who ships a job that several have open: one of them at a time, and the others follow. Never decides who: the
//! platform does.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::FutureExt;
use futures_util::{pin_mut, select_biased};

use crate::clock::Clock;
use crate::error::Result;

use super::driver::is_final;
use super::due::LOOK_MS;
use super::progress::{ArchiveState, Shared};
use super::shipper::Shipper;

/// Takes a seq that another candidate wants to be archived.
pub type Asked = Box<dyn Fn(u64) + Send + Sync>;

/// Chooses who ships, among those who have the same job open; natively there is nobody to choose from.
///
/// It saves work and nothing rests on it: of two who ship the same commits each takes the other's for its own,
/// and of two who ship different ones the store lets one through.
pub trait Election: fmt::Debug + Send + Sync {
    /// Takes part in the choice of this name, until what it returns is dropped.
    ///
    /// # Errors
    ///
    /// What keeps it from taking part.
    fn join(&self, name: &str, asked: Asked) -> Result<Box<dyn Candidate>>;
}

/// One who takes part in an election.
#[async_trait]
pub trait Candidate: Send + Sync {
    /// Resolves when this one is chosen, which it stays until it is dropped.
    ///
    /// # Errors
    ///
    /// What keeps it from ever being chosen; its archive ends with that.
    async fn chosen(&self) -> Result<()>;

    /// Tells the one that is chosen that `seq` is to be archived now; may be lost, and is repeated.
    fn ask(&self, seq: u64);
}

/// How one archive is chosen.
pub(super) struct Elector {
    election: Arc<dyn Election>,
    name: String,
    /// None while it takes no part. Stays chosen until it is dropped.
    candidate: Option<Arc<dyn Candidate>>,
}

impl Elector {
    pub(super) fn new(election: Arc<dyn Election>, name: String) -> Self {
        Elector { election, name, candidate: None }
    }

    /// Takes part, from now on; what others ask for is asked of `shared`.
    pub(super) fn join(&mut self, shared: &Arc<Shared>) -> Result<Arc<dyn Candidate>> {
        let asked = Arc::clone(shared);
        let candidate: Arc<dyn Candidate> =
            Arc::from(self.election.join(&self.name, Box::new(move |seq| asked.ask(seq)))?);
        self.candidate = Some(Arc::clone(&candidate));
        Ok(candidate)
    }

    /// As whom it takes part, if it does.
    pub(super) fn candidate(&self) -> Option<Arc<dyn Candidate>> {
        self.candidate.clone()
    }

    /// Takes no part any more.
    pub(super) fn leave(&mut self) {
        self.candidate = None;
    }
}

/// Waits until this one is to ship, and tells meanwhile how far the other one has come.
pub(super) async fn follow(
    mut shipper: Box<Shipper>,
    candidate: Arc<dyn Candidate>,
    shared: Arc<Shared>,
    clock: Clock,
) -> (Box<Shipper>, Result<()>) {
    let chosen = until_chosen(&shipper, &*candidate, &shared, &clock).await;
    // Others have shipped meanwhile.
    shipper.look_anew();
    (shipper, chosen)
}

async fn until_chosen(
    shipper: &Shipper,
    candidate: &dyn Candidate,
    shared: &Shared,
    clock: &Clock,
) -> Result<()> {
    let mut asked = shared.asked();
    let mut seen = None;
    let chosen = candidate.chosen().fuse();
    pin_mut!(chosen);
    loop {
        let look_at = clock.monotonic_ms().saturating_add(LOOK_MS);
        select_biased! {
            chosen = chosen => return chosen,
            _ = asked.changed().boxed_local().fuse() => {}
            () = clock.sleep_until(look_at).boxed_local().fuse() => {}
        }
        let wanted = *asked.borrow_and_update();
        if wanted > shared.now().archived_seq {
            candidate.ask(wanted);
        }
        // Whoever ships releases the log up to what it has shipped, which the job's own record tells; the store
        // is asked only when that has moved.
        let holder = shipper.holder();
        let released = match shipper.job.info().await {
            Ok(info) => info.log_holders.into_iter().find(|(name, _)| name == holder),
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => continue,
        };
        if released == seen {
            continue;
        }
        match shipper.in_store().await {
            Ok(archived) => {
                seen = released;
                shared.publish(archived, ArchiveState::Following);
            }
            Err(error) => log::warn!("an archive that another ships cannot be looked at: {error}"),
        }
    }
}
