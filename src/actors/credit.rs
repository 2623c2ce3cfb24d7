//! Room in a queue that a sender can wait for.
//!
//! A call's caller is read only as fast as its tunnel takes: who wants to send takes room first,
//! waiting in turn behind the others, and the room comes back when the frame has been taken off
//! the queue. That is what pushes a caller back by HTTP/2 while the queue is full.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one queue, in bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct Credit {
    semaphore: Arc<Semaphore>,
    bytes_max: u32,
}

/// Room taken; its drop gives it back.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Credit {
    /// A queue of `bytes_max` bytes, at most 4 GiB. An empty one admits anything, however large.
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        Self { semaphore: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max }
    }

    /// Takes room if there is enough now.
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        let permit = self.semaphore.clone().try_acquire_many_owned(self.clamp(bytes)).ok()?;
        Some(Permit { _permit: permit })
    }

    /// Waits for room, in turn. `None` when the queue has been closed.
    pub async fn take(&self, bytes: usize) -> Option<Permit> {
        let permit = self.semaphore.clone().acquire_many_owned(self.clamp(bytes)).await.ok()?;
        Some(Permit { _permit: permit })
    }

    /// How much of the room is taken.
    pub fn used(&self) -> usize {
        (self.bytes_max as usize).saturating_sub(self.semaphore.available_permits())
    }

    /// Lets nobody in any more and wakes everybody who waits.
    pub fn close(&self) {
        self.semaphore.close();
    }

    /// Whether nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.semaphore.is_closed()
    }

    /// What is too large for the queue needs all of it.
    fn clamp(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn room_is_bounded_waited_for_and_given_back() {
        let credit = Credit::new(10);
        let first = credit.try_take(8).unwrap();
        assert!(credit.try_take(3).is_none());
        let waiting = credit.take(3);
        drop(first);
        assert!(waiting.await.is_some());
    }

    #[actix::test]
    async fn an_empty_queue_admits_anything_and_a_closed_one_nothing() {
        let credit = Credit::new(10);
        let large = credit.try_take(1 << 40);
        assert!(large.is_some());
        assert!(credit.try_take(1).is_none());
        credit.close();
        drop(large);
        assert!(credit.try_take(1).is_none());
        assert!(credit.take(1).await.is_none());
    }
}
