//! A job's inbox: commands in the order of their acceptance, and the worker that takes them.
//!
//! Unbounded only in type: every command but the last holds a share of a bound. Never looks into one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::command::Command;
use super::rest::Resting;
use crate::engine::RESTS;
use crate::error::{Error, Result};

/// Where commands go in and are taken out.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    taking: Taking,
    commands: VecDeque<Command>,
    /// Wakes the worker that waits for a command.
    worker: Option<Waker>,
    /// The worker while it rests: whoever sends a command has it started.
    resting: Option<Box<Resting>>,
    /// Whether that has been done.
    waking: bool,
}

/// Whether commands are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Taking {
    #[default]
    Open,
    /// The last command has been sent, and the job closes.
    Closing,
    /// The last command has been sent, and the job is being dropped; or it has gone by itself.
    Dropping,
}

impl Inbox {
    /// Takes a command; false once the last one has been taken.
    ///
    /// # Errors
    ///
    /// If the worker rests and cannot be started; then the command has not been taken.
    pub(crate) fn send(&self, command: Command) -> Result<bool> {
        let mut state = self.lock();
        if state.taking != Taking::Open {
            return Ok(false);
        }
        state.start_resting()?;
        self.push(state, command);
        Ok(true)
    }

    /// Takes the last command, unless one has been taken.
    ///
    /// # Errors
    ///
    /// If the worker rests and cannot be started: it is returned, and there will be none any more.
    pub(crate) fn send_last(
        &self,
        command: Command,
    ) -> std::result::Result<(), (Error, Option<Box<Resting>>)> {
        let mut state = self.lock();
        if state.taking != Taking::Open {
            return Ok(());
        }
        state.taking = if matches!(command, Command::Drop) { Taking::Dropping } else { Taking::Closing };
        if let Err(error) = state.start_resting() {
            return Err((error, state.resting.take()));
        }
        self.push(state, command);
        Ok(())
    }

    fn push(&self, mut state: MutexGuard<'_, State>, command: Command) {
        state.commands.push_back(command);
        let worker = state.worker.take();
        drop(state);
        if let Some(worker) = worker {
            worker.wake();
        }
    }

    /// Takes no more commands; those that are there are still to be taken out.
    pub(crate) fn shut(&self, taking: Taking) {
        let mut state = self.lock();
        if taking == Taking::Dropping || state.taking == Taking::Open {
            state.taking = taking;
        }
    }

    /// Takes no more commands, and returns those that nobody will carry out.
    pub(crate) fn abandon(&self) -> VecDeque<Command> {
        let mut state = self.lock();
        if state.taking == Taking::Open {
            state.taking = Taking::Closing;
        }
        std::mem::take(&mut state.commands)
    }

    pub(crate) fn taking(&self) -> Taking {
        self.lock().taking
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().commands.is_empty()
    }

    /// The next command, if there is one.
    pub(crate) fn receive(&self) -> Option<Command> {
        self.lock().commands.pop_front()
    }

    /// The next command; wakes the worker when there is one.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Command> {
        let mut state = self.lock();
        match state.commands.pop_front() {
            Some(command) => Poll::Ready(command),
            None => {
                state.worker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Lays the worker to rest; gives it back if a command has come.
    pub(crate) fn rest(&self, resting: Box<Resting>) -> Option<Box<Resting>> {
        let mut state = self.lock();
        if !state.commands.is_empty() {
            return Some(resting);
        }
        // What a burst has left behind is room for as many commands.
        state.commands = VecDeque::new();
        state.worker = None;
        state.resting = Some(resting);
        None
    }

    /// Takes the worker that rests, where it has been started.
    pub(crate) fn wake(&self) -> Option<Box<Resting>> {
        let mut state = self.lock();
        state.waking = false;
        state.resting.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has the worker started if it rests. It takes itself out of here, so this may hold the lock.
    fn start_resting(&mut self) -> Result<()> {
        if RESTS
            && let Some(resting) = &self.resting
            && !self.waking
        {
            resting.start()?;
            self.waking = true;
        }
        Ok(())
    }
}
