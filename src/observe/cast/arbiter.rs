//! What is counted of one arbiter's actors.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::counts::KindCounts;
use super::roster::Roster;
use super::{Gauge, Kind, PANICKED_MAX, Presence, Role};
use crate::observe::ticks::{Tick, now};

/// What is counted of one arbiter's actors. No other arbiter writes here, dead letters apart.
#[derive(Debug)]
pub struct Arbiter {
    pub(super) number: usize,
    pub(super) roster: Roster,
    kinds: [KindCounts; Kind::ALL.len()],
    panicked: Mutex<VecDeque<Fall>>,
}

/// One that panicked.
#[derive(Clone, Debug)]
pub(super) struct Fall {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) message: Option<&'static str>,
    pub(super) at: Tick,
}

impl Arbiter {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            roster: Roster::default(),
            kinds: std::array::from_fn(|_| KindCounts::new()),
            panicked: Mutex::default(),
        }
    }

    /// An actor is about to live on this arbiter, whose thread this is. It has an `id` if it is not a
    /// permanent one.
    pub fn enter(self: &Arc<Self>, role: &'static Role, id: Option<Uuid>) -> Presence {
        let gauge = Arc::new(Gauge::new(self.clone(), role, id));
        self.counts(role.kind).count_started(role);
        let place = self.roster.enter(gauge.clone());
        Presence::new(gauge, place)
    }

    #[inline]
    pub(super) fn counts(&self, kind: Kind) -> &KindCounts {
        &self.kinds[kind as usize]
    }

    /// The actors of the gauge's kind have one less, and this is why.
    pub(super) fn remember_panic(&self, gauge: &Gauge, message: Option<&'static str>) {
        let mut panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner);
        if panicked.len() == PANICKED_MAX {
            panicked.pop_front();
        }
        // Not the gauge itself: that has this.
        let (kind, id) = (gauge.role.kind, gauge.id());
        panicked.push_back(Fall { kind, id, message, at: now() });
    }

    /// The last that panicked.
    pub(super) fn panicked(&self) -> Vec<Fall> {
        let panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner);
        panicked.iter().cloned().collect()
    }
}
