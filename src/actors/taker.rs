//! One task that waits for something to be there.
//!
//! Cheaper than a `Notify` for each frame: there is one who waits, and whether there is something to wait
//! for is asked of what it waits for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// The task. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Taker(Arc<AtomicWaker>);

impl Taker {
    /// It looks again. To be called after each change that it may wait for.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Waits until something is so. One task waits at a time.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        poll_fn(|cx| {
            if is_so() {
                return Poll::Ready(());
            }
            // A change before this is seen by the second look, one after it wakes.
            self.0.register(cx.waker());
            if is_so() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
