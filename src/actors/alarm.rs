//! The deadlines of a worker's calls, behind a single timer.
//!
//! A timer in each actor's context would be polled at every wake of that actor's arbiter: with
//! 1,000 of them a message costs 44 us. Here all of them are one ordered table and one task.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use actix::Message;
use tokio::sync::Notify;

use crate::tunnel::deadlines::Deadlines;
use crate::tunnel::id::RequestId;

use super::mailbox::Mailbox;
use super::now;

/// Time is up for what was armed under this name.
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq, PartialOrd, Ord)]
#[rtype(result = "()")]
pub enum Expired {
    /// The call's deadline.
    Deadline,
    /// The wait for the half-close of a call to a plain peer.
    HalfClose,
    /// The call may have been still for too long.
    Idle,
}

/// The alarm clock of one worker. Clones share it; it does not leave its thread.
#[derive(Clone, Debug)]
pub struct AlarmClock {
    shared: Rc<Shared>,
}

/// An armed alarm; its drop disarms it.
#[derive(Debug)]
pub struct Alarm {
    shared: Rc<Shared>,
    at: Instant,
    key: Key,
}

type Key = (RequestId, Expired);

#[derive(Debug, Default)]
struct Shared {
    deadlines: RefCell<Deadlines<Key, (Mailbox<Expired>, Expired)>>,
    earlier: Notify,
}

impl AlarmClock {
    /// Starts the clock's task on the current arbiter.
    pub fn start() -> Self {
        let shared = Rc::new(Shared::default());
        actix_rt::spawn(run(Rc::downgrade(&shared)));
        Self { shared }
    }

    /// Tells `who` at `at`, unless the alarm is dropped before.
    pub fn arm(
        &self,
        at: Instant,
        request: RequestId,
        what: Expired,
        who: Mailbox<Expired>,
    ) -> Alarm {
        let key = (request, what);
        let mut deadlines = self.shared.deadlines.borrow_mut();
        if deadlines.next().is_none_or(|next| at < next) {
            self.shared.earlier.notify_one();
        }
        deadlines.arm(at, key, (who, what));
        Alarm { shared: self.shared.clone(), at, key }
    }

    /// How many alarms are armed.
    pub fn armed(&self) -> usize {
        self.shared.deadlines.borrow().len()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.deadlines.borrow_mut().disarm(self.at, self.key);
    }
}

impl Drop for AlarmClock {
    fn drop(&mut self) {
        // The task, which holds one too, waits when nothing is armed; it must see that the last
        // clock is gone.
        if Rc::strong_count(&self.shared) <= 2 {
            self.shared.earlier.notify_one();
        }
    }
}

async fn run(shared: std::rc::Weak<Shared>) {
    while let Some(clock) = shared.upgrade() {
        let now = now();
        let expired = clock.deadlines.borrow_mut().expire(now);
        for (who, what) in expired {
            who.tell(what);
        }
        let next = clock.deadlines.borrow().next();
        let earlier = clock.earlier.notified();
        match next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = earlier => {}
            },
            None => earlier.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::probe;
    use std::time::Duration;

    #[actix::test]
    async fn alarms_go_off_in_order_and_a_dropped_one_does_not() {
        tokio::time::pause();
        let clock = AlarmClock::start();
        let (who, mut heard) = probe::<Expired>();
        let start = now();
        let at = |ms| start + Duration::from_millis(ms);
        let request = RequestId::random();

        let _late = clock.arm(at(60_000), request, Expired::Deadline, who.clone());
        let gone = clock.arm(at(10), RequestId::random(), Expired::Deadline, who.clone());
        let _early = clock.arm(at(20), request, Expired::HalfClose, who);
        drop(gone);

        assert_eq!(heard.recv().await, Some(Expired::HalfClose));
        let now = now();
        assert!(now >= at(20) && now <= at(22), "the timer's resolution is a millisecond");
        assert_eq!(clock.armed(), 1);
        assert_eq!(heard.recv().await, Some(Expired::Deadline));
        assert_eq!(clock.armed(), 0);
    }
}
