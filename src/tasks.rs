//! Futures that their owner polls together: each only when it was woken, in the order in which they were.
//!
//! Starts nothing and awaits nothing. Libraries have this with more around it, which a page would load for nothing:
//! a worker runs its engine's calls so, and the npm package everything.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Futures by the numbers that their owner gives them.
pub(crate) struct Tasks<T> {
    /// All but the one that is being polled, which may add others.
    all: RefCell<Vec<Task<T>>>,
    woken: Arc<Woken>,
}

struct Task<T> {
    bell: Arc<Bell>,
    future: Pin<Box<dyn Future<Output = T>>>,
}

/// Wakes one future.
struct Bell {
    number: u64,
    /// Whether it is among those that were woken.
    rung: AtomicBool,
    woken: Arc<Woken>,
}

/// Which futures are to be polled, and who does that.
#[derive(Default)]
struct Woken(Mutex<State>);

#[derive(Default)]
struct State {
    numbers: VecDeque<u64>,
    owner: Option<Waker>,
}

impl<T> Tasks<T> {
    /// Adds a future, which the owner polls next time. It has to see to that itself.
    pub(crate) fn add(&self, number: u64, future: Pin<Box<dyn Future<Output = T>>>) {
        let bell = Arc::new(Bell { number, rung: AtomicBool::new(true), woken: Arc::clone(&self.woken) });
        self.all.borrow_mut().push(Task { bell, future });
        self.woken.lock().numbers.push_back(number);
    }

    /// Drops the future of this number, if there is one and it is not being polled.
    pub(crate) fn remove(&self, number: u64) {
        drop(self.take(number));
    }

    /// Drops all of them.
    pub(crate) fn clear(&self) {
        drop(self.all.take());
    }

    /// Polls so many of those that were woken, and tells `ended` what came of whom. Wakes who polls for each that is
    /// woken later, and where there are more of them.
    pub(crate) fn poll(&self, context: &Context<'_>, most: usize, mut ended: impl FnMut(u64, T)) {
        for _ in 0..self.woken.wait(most, context.waker()) {
            // A waker may be older than the future's end.
            let Some(mut task) = self.woken.next().and_then(|number| self.take(number)) else { continue };
            // What was done before it was woken is seen by what is polled now.
            task.bell.rung.swap(false, Ordering::AcqRel);
            let waker = Arc::clone(&task.bell).into();
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => ended(task.bell.number, output),
                Poll::Pending => self.all.borrow_mut().push(task),
            }
        }
    }

    fn take(&self, number: u64) -> Option<Task<T>> {
        let mut all = self.all.borrow_mut();
        let at = all.iter().position(|task| task.bell.number == number)?;
        Some(all.swap_remove(at))
    }
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Tasks { all: RefCell::default(), woken: Arc::default() }
    }
}

impl Woken {
    /// How many of at most so many are to be polled now. For others `owner` is woken: when they are, and at once if
    /// there are more.
    fn wait(&self, most: usize, owner: &Waker) -> usize {
        let mut state = self.lock();
        state.owner = Some(owner.clone());
        let count = state.numbers.len();
        drop(state);
        if count > most {
            owner.wake_by_ref();
        }
        count.min(most)
    }

    fn next(&self) -> Option<u64> {
        self.lock().numbers.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.woken.lock();
        state.numbers.push_back(self.number);
        let owner = state.owner.take();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::testing::test;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Tasks and who polls them, how often each was polled, and the wakers that they were polled with.
    #[derive(Default)]
    struct World {
        tasks: Tasks<()>,
        owner: Arc<Count>,
        polled: Rc<RefCell<Vec<u64>>>,
        wakers: Rc<RefCell<Vec<Waker>>>,
    }

    impl World {
        /// Adds tasks that end when they are polled for the second time.
        fn with(numbers: impl IntoIterator<Item = u64>) -> Self {
            let world = World::default();
            for number in numbers {
                let (polled, wakers) = (Rc::clone(&world.polled), Rc::clone(&world.wakers));
                let mut again = false;
                let task = poll_fn(move |context| {
                    polled.borrow_mut().push(number);
                    wakers.borrow_mut().push(context.waker().clone());
                    if std::mem::replace(&mut again, true) { Poll::Ready(()) } else { Poll::Pending }
                });
                world.tasks.add(number, Box::pin(task));
            }
            world
        }

        /// Polls at most so many; those that were polled, those that ended, and how often the owner was woken.
        fn poll(&self, most: usize) -> (Vec<u64>, Vec<u64>, usize) {
            let mut ended = Vec::new();
            let waker = Arc::clone(&self.owner).into();
            self.tasks.poll(&Context::from_waker(&waker), most, |number, ()| ended.push(number));
            (self.polled.take(), ended, self.woken())
        }

        fn wake(&self, at: usize) {
            self.wakers.borrow()[at].wake_by_ref();
        }

        fn woken(&self) -> usize {
            self.owner.0.swap(0, Ordering::SeqCst)
        }
    }

    #[test]
    fn tasks_are_polled_in_the_order_in_which_they_were_woken() {
        let world = World::with(0..4);
        assert_eq!(world.poll(9), (vec![0, 1, 2, 3], vec![], 0));
        assert_eq!(world.poll(9), (vec![], vec![], 0));
        for at in [3, 1, 3] {
            world.wake(at);
        }
        assert_eq!(world.woken(), 1, "once for all of them");
        assert_eq!(world.poll(9), (vec![3, 1], vec![3, 1], 0));
        world.wake(0);
        assert_eq!((world.woken(), world.poll(9)), (1, (vec![0], vec![0], 0)));
    }

    #[test]
    fn no_more_are_polled_than_told() {
        let world = World::with(0..3);
        assert_eq!(world.poll(2), (vec![0, 1], vec![], 1), "it is to poll the others too");
        assert_eq!(world.poll(2), (vec![2], vec![], 0));
    }

    #[test]
    fn one_that_wakes_itself_waits_for_the_next_time() {
        let tasks = Tasks::default();
        let polled = Rc::new(Cell::new(0));
        let seen = Rc::clone(&polled);
        let endless = poll_fn(move |context| -> Poll<()> {
            seen.set(seen.get() + 1);
            context.waker().wake_by_ref();
            Poll::Pending
        });
        tasks.add(0, Box::pin(endless));
        let owner = Arc::<Count>::default();
        let waker = Arc::clone(&owner).into();
        for times in 1..4 {
            tasks.poll(&Context::from_waker(&waker), usize::MAX, |_, ()| {});
            assert_eq!((polled.get(), owner.0.load(Ordering::SeqCst)), (times, times));
        }
    }

    #[test]
    fn what_has_gone_is_not_polled_any_more_whoever_wakes_it() {
        let world = World::with(0..3);
        world.poll(9);
        world.wake(1);
        world.tasks.remove(1);
        world.tasks.remove(1);
        assert_eq!(world.poll(9), (vec![], vec![], 1));
        world.wake(0);
        assert_eq!(world.poll(9).1, [0]);
        world.wake(0);
        world.wake(2);
        world.tasks.clear();
        assert_eq!(world.poll(9), (vec![], vec![], 1));
    }

    #[test]
    fn one_may_add_others_which_are_polled_next_time() {
        let tasks = Rc::new(Tasks::default());
        let inner = Rc::clone(&tasks);
        let adds = async move { inner.add(1, Box::pin(async {})) };
        tasks.add(0, Box::pin(adds));
        let mut ended = Vec::new();
        for expected in [vec![0], vec![0, 1]] {
            tasks.poll(&Context::from_waker(Waker::noop()), 9, |number, ()| ended.push(number));
            assert_eq!(ended, expected);
        }
    }
}
