//! A bounded amount of something, and the value that holds a part of it.
//!
//! What is held travels with the thing it was taken for, so it comes back when that is dropped, on
//! every road. Both sides may be on different threads; the count is one atomic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may be held at once. Clones share the same amount.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    limit: AtomicUsize,
}

/// A part of an [`Allowance`]; its drop gives it back.
#[derive(Debug)]
pub struct Hold {
    allowance: Arc<Shared>,
    amount: usize,
}

impl Allowance {
    /// An allowance of which nothing is used.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }))
    }

    /// Takes `amount` if that much is left.
    pub fn take(&self, amount: usize) -> Option<Hold> {
        let limit = self.limit();
        // Relaxed: the count guards no other memory, it only must not lose an update.
        let taken = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(amount).filter(|sum| *sum <= limit)
        });
        taken.ok().map(|_| Hold { allowance: self.0.clone(), amount })
    }

    /// How much is left.
    pub fn free(&self) -> usize {
        self.limit().saturating_sub(self.used())
    }

    /// How much may be held.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Allows more or less from now on. What is held stays held, also above the new limit.
    pub fn resize(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// How much is held now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Hold {
    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Adds `more`, of the same allowance, to what is held: both come back together.
    pub fn join(held: &mut Option<Self>, more: Option<Self>) {
        match (held.as_mut(), more) {
            (Some(held), Some(mut more)) => {
                debug_assert!(Arc::ptr_eq(&held.allowance, &more.allowance), "another allowance");
                held.amount += std::mem::take(&mut more.amount);
            }
            (None, more) => *held = more,
            (Some(_), None) => {}
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.allowance.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_allowed_and_a_drop_gives_it_back() {
        let allowance = Allowance::new(10);
        let first = allowance.take(6).unwrap();
        assert!(allowance.take(5).is_none());
        let second = allowance.take(4).unwrap();
        assert_eq!(allowance.used(), 10);
        drop(first);
        assert!(allowance.take(usize::MAX).is_none(), "an overflow is not a fit");
        assert_eq!(allowance.used(), 4);
        drop(second);
        assert_eq!(allowance.used(), 0);
    }

    #[test]
    fn a_smaller_limit_lets_nothing_in_until_enough_has_come_back() {
        let allowance = Allowance::new(10);
        let (first, _second) = (allowance.take(6).unwrap(), allowance.take(4).unwrap());
        allowance.clone().resize(5);
        assert_eq!(allowance.free(), 0);
        drop(first);
        assert!(allowance.take(2).is_none());
        assert!(allowance.take(1).is_some());
    }
}
