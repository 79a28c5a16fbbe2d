//! Drives a machine over an engine: carries out what it wishes for and tells it what happens.
//!
//! Never decides anything, and awaits in one place, with nothing half done.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::link::Link;
use super::machine::{Answered, Ask, Ending, Machine, Wish, change};
use super::turn::Task;
use crate::clock::{Sleep, earlier};
use crate::engine::{Engine, READS_DIRECTLY, RESTS};
use crate::error::{Quoted, Result};
use crate::limits;
use crate::pace::yield_now;
use crate::tasks::Tasks;

/// One worker's machine and its engine.
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) engine: Rc<dyn Engine>,
    link: Arc<Link>,
    /// Calls of the engine; one that is given up is dropped.
    calls: Tasks<Answered>,
    alarm: Option<Sleep>,
    alarm_at: Option<u64>,
    /// When the job rests, if nothing comes until then.
    rest_at: Option<u64>,
    /// Whether handles have been offered what the engine has for direct reads.
    offered: bool,
}

/// Why a driver stops.
pub(crate) enum Served {
    /// There is nothing left to do.
    Ended(Ending),
    /// There is nothing to do now, and resting gives something back.
    Idle,
}

impl Driver {
    pub(crate) fn new(machine: Machine, engine: Box<dyn Engine>, link: Arc<Link>) -> Self {
        Driver {
            machine,
            link,
            engine: engine.into(),
            calls: Tasks::default(),
            alarm: None,
            alarm_at: None,
            rest_at: None,
            offered: false,
        }
    }

    /// Serves commands until the last one has been carried out, the job has gone, or it may rest.
    pub(crate) async fn serve(&mut self) -> Served {
        loop {
            while self.machine.receives()
                && let Some(command) = self.link.inbox.receive()
            {
                self.machine.receive(command);
                self.rest_at = None;
            }
            let ending = self.machine.advance();
            self.offer_direct();
            if let Some(ending) = ending {
                self.carry_out();
                return Served::Ended(ending);
            }
            if self.may_rest() {
                self.sync_before_rest().await;
                match self.machine.is_idle() && self.link.inbox.is_empty() {
                    true => return Served::Idle,
                    false => continue,
                }
            }
            self.carry_out();
            if self.machine.gathers() {
                // What comes meanwhile may not be what is waited for.
                yield_now().await;
                poll_fn(|context| Poll::Ready(self.poll(context, true).is_ready())).await;
            } else {
                poll_fn(|context| self.poll(context, true)).await;
            }
        }
    }

    /// Whether the job has been without work for long enough.
    fn may_rest(&mut self) -> bool {
        if !RESTS || !self.machine.is_idle() || !self.engine.rests() {
            self.rest_at = None;
            return false;
        }
        let now = self.link.clock.monotonic_ms();
        let later = now.saturating_add(limits::REST_AFTER_MS);
        let due = *self.rest_at.get_or_insert(later) <= now;
        if due && self.engine.was_read_directly() {
            self.rest_at = Some(later);
            return false;
        }
        due
    }

    /// Puts what is committed on the medium, so that closing a job at rest need not wake it: of those there may be
    /// many at a time. What fails is left to who waits for it. Boxed as all that only jobs do that rest.
    fn sync_before_rest(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            if !self.machine.is_synced()
                && let Err(error) = self.single(Task::Sync, true).await
            {
                log::warn!(
                    "job {}: it could not be made durable before a rest: {error}",
                    Quoted(&self.link.id)
                );
            }
        })
    }

    /// Lets handles read rows without this worker, as soon as the engine can.
    pub(crate) fn offer_direct(&mut self) {
        if READS_DIRECTLY
            && !self.offered
            && let Some(direct) = self.engine.direct()
        {
            self.link.offer(direct);
            self.offered = true;
        }
    }

    /// The machine, to be kept while the job rests. Everything of the engine is released.
    pub(crate) async fn rest(mut self) -> Machine {
        self.calls.clear();
        self.link.withdraw_offer();
        let released = self.engine.rest().await;
        self.machine.rest(released);
        self.machine
    }

    /// Carries out one task outside of the queue.
    pub(crate) async fn single(&mut self, task: Task, durable: bool) -> Result<()> {
        self.machine.start_single(task, durable);
        loop {
            // How it ends is for the one who wanted the task.
            let _ = self.machine.advance();
            self.carry_out();
            if let Some(result) = self.machine.single_result() {
                return result;
            }
            poll_fn(|context| self.poll(context, false)).await;
        }
    }

    fn carry_out(&mut self) {
        for wish in self.machine.wishes() {
            match wish {
                Wish::Ask(id, ask) => self.calls.add(id, Box::pin(call(Rc::clone(&self.engine), ask))),
                Wish::GiveUp(id) => self.calls.remove(id),
                Wish::Abort => self.engine.abort(),
                Wish::Announce(generation, seq) => self.engine.announce(generation, seq),
            }
        }
        self.set_alarm();
    }

    /// Tells the machine what has happened; ready once there was something.
    fn poll(&mut self, context: &mut Context<'_>, receives: bool) -> Poll<()> {
        let mut happened = false;
        // Readers that never rest must not keep commands and the time from being looked at.
        self.calls.poll(context, limits::ANSWERS_IN_A_ROW_MAX, |id, answered| {
            self.machine.answered(id, answered);
            happened = true;
        });
        if receives
            && self.machine.receives()
            && let Poll::Ready(command) = self.link.inbox.poll(context)
        {
            self.machine.receive(command);
            self.rest_at = None;
            happened = true;
        }
        if let Some(alarm) = &mut self.alarm
            && Pin::new(alarm).poll(context).is_ready()
        {
            (self.alarm, self.alarm_at) = (None, None);
            happened = true;
        }
        if happened { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sees to it that the driver wakes when there will be something to do.
    fn set_alarm(&mut self) {
        if let Some(at) = earlier(self.machine.alarm(), self.rest_at)
            && self.alarm_at.is_none_or(|set| at < set)
        {
            self.alarm = Some(self.link.clock.sleep_until(at));
            self.alarm_at = Some(at);
        }
    }
}

async fn call(engine: Rc<dyn Engine>, ask: Ask) -> Answered {
    match ask {
        Ask::Read(query, verify) => engine.read(query, verify).await.map(Some),
        Ask::Apply(turn, told) => engine.apply(change(turn, told)).await.map(|()| None),
        Ask::Compact => engine.compact().await.map(|()| None),
        Ask::Reconnect => engine.reconnect().await.map(|()| None),
        Ask::Changed => {
            engine.changed().await;
            Ok(None)
        }
    }
}
