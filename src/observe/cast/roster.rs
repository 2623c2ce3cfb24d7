//! The actors that live on an arbiter, each at its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Gauge;

/// So many gauges are taken along at once, and looked at when the arbiter may go on: a lock that is
/// held for microseconds only is hardly ever held by a thread that is not running.
const TAKEN_AT_ONCE: usize = 256;

/// The actors that live on an arbiter. Locked by the arbiter when one comes or goes, and by who looks.
#[derive(Debug, Default)]
pub(super) struct Roster {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    gauges: Vec<Option<Arc<Gauge>>>,
    free: Vec<usize>,
}

impl Roster {
    /// Takes an actor in. Its place.
    pub(super) fn enter(&self, gauge: Arc<Gauge>) -> usize {
        let mut places = self.lock();
        if let Some(place) = places.free.pop() {
            places.gauges[place] = Some(gauge);
            place
        } else {
            places.gauges.push(Some(gauge));
            places.gauges.len() - 1
        }
    }

    /// The actor at this place has ended.
    pub(super) fn leave(&self, place: usize) {
        let mut places = self.lock();
        let gauge = places.gauges[place].take();
        places.free.push(place);
        drop(places);
        drop(gauge);
    }

    /// Shows everyone. Who comes or goes meanwhile may be seen or not; nobody is seen twice.
    pub(super) fn each(&self, mut see: impl FnMut(&Gauge)) {
        let mut taken: Vec<Arc<Gauge>> = Vec::with_capacity(TAKEN_AT_ONCE);
        for from in (0..).step_by(TAKEN_AT_ONCE) {
            let places = self.lock();
            let to = places.gauges.len().min(from + TAKEN_AT_ONCE);
            if from >= to {
                return;
            }
            taken.extend(places.gauges[from..to].iter().flatten().cloned());
            drop(places);
            taken.drain(..).for_each(|gauge| see(&gauge));
        }
    }

    /// How many places there are, taken or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.lock().gauges.len()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
