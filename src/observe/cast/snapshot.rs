//! What is told to whoever looks at the actors.

use std::time::Duration;

use crate::observe::histogram::Times;

/// The actors at one moment. Numbers are read one after the other while the actors go on, so sums
/// may differ by what happened in between.
#[derive(Clone, Debug, Default)]
pub struct CastSnapshot {
    /// Each arbiter, in the order of their numbers.
    pub arbiters: Vec<ArbiterTotals>,
    /// Each kind of actor.
    pub kinds: Vec<KindTotals>,
    /// Each actor that lives.
    pub actors: Vec<ActorSnapshot>,
    /// The last that panicked, the newest first.
    pub panicked: Vec<Panicked>,
}

/// The actors at one moment, without any of them.
#[derive(Clone, Debug, Default)]
pub struct CastTotals {
    /// Each arbiter, in the order of their numbers.
    pub arbiters: Vec<ArbiterTotals>,
    /// Each kind of actor.
    pub kinds: Vec<KindTotals>,
}

/// All actors of a kind, those that are gone included.
#[derive(Clone, Debug, Default)]
pub struct KindTotals {
    /// What they are called.
    pub kind: &'static str,
    /// How many live.
    pub alive: u64,
    /// How many began to.
    pub started: u64,
    /// How many ended, by a panic too.
    pub stopped: u64,
    /// Messages whose handling has ended, timers among them.
    pub handled: u64,
    /// Messages that wait in the mailboxes of those that live.
    pub depth: u64,
    /// Messages that wait in the deepest of them.
    pub depth_max: u64,
    /// How many ended by a panic.
    pub panics: u64,
    /// Messages that were sent and never handled.
    pub dead_letters: u64,
    /// The same by reason: `stopped` for those that were waiting when their actor ended, `gone` for
    /// those that were sent afterwards.
    pub dead_letters_by_reason: Vec<(&'static str, u64)>,
    /// Messages handled, by name; those only that were.
    pub messages: Vec<(&'static str, u64)>,
    /// How long messages were handled.
    pub handle: Times,
    /// How long messages waited in a mailbox. Timers wait in none.
    pub wait: Times,
}

/// All actors of an arbiter, those that are gone included.
#[derive(Clone, Debug, Default)]
pub struct ArbiterTotals {
    /// Its number, that of its worker.
    pub arbiter: usize,
    /// How many live.
    pub alive: u64,
    /// Messages whose handling has ended.
    pub handled: u64,
    /// Messages that wait in the mailboxes of those that live.
    pub depth: u64,
    /// How many ended by a panic.
    pub panics: u64,
    /// Messages that were sent to its actors and never handled.
    pub dead_letters: u64,
    /// What it does at this moment, if that is handling a message.
    pub handling: Option<Handling>,
    /// The living and the messages handled, by kind.
    pub kinds: Vec<(&'static str, u64, u64)>,
}

/// One actor that lives.
#[derive(Clone, Debug)]
pub struct ActorSnapshot {
    /// What it is called.
    pub kind: &'static str,
    /// The id of its call or tunnel; the number of its worker if it is a permanent one.
    pub id: String,
    /// The arbiter that it lives on.
    pub arbiter: usize,
    /// How long it has lived.
    pub age: Duration,
    /// Messages that wait in its mailbox, without the one that is handled.
    pub depth: u64,
    /// Messages whose handling has ended.
    pub handled: u64,
    /// Messages that it will never handle: none, unless it ended while this was read.
    pub dead_letters: u64,
    /// The message that is handled at this moment.
    pub handling: Option<Handling>,
}

/// A message that is being handled.
#[derive(Clone, Debug)]
pub struct Handling {
    /// The kind of the actor.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// The name of the message.
    pub message: &'static str,
    /// For how long already.
    pub for_: Duration,
}

/// An actor that panicked.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// What it is called.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// The arbiter that it lived on.
    pub arbiter: usize,
    /// The message that was being handled, if one was.
    pub message: Option<&'static str>,
    /// How long ago.
    pub ago: Duration,
}
