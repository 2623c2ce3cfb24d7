//! The rules a tunnel obeys, with no I/O, no clock and no actor in sight.
//!
//! Everything here takes what happened (and, where time matters, `now`) and returns what must be
//! done. The actors carry it out. The parts, in the order in which a call meets them:
//!
//! - [`limits`]: how much of everything; [`allowance`]: the counting of it
//! - [`admission`]: may this peer open a tunnel under these names; [`quota`]: how many tunnels
//! - [`directory`]: which tunnels serve a name, and which names are known; [`route`]: those of one
//!   name; [`balance`]: which of them; [`affinity`]: the calls of a session go to the same
//! - [`waiting`]: calls of a known name that nobody serves now
//! - [`switchboard`]: which call waits for which tunnel
//! - [`call`]: one call as its caller lives it; [`answer`]: one call as the peer answers it
//! - [`outbox`]: what waits to go down a tunnel
//! - [`deadlines`], [`idleness`], [`liveness`]: what time does to calls and to tunnels;
//!   [`token_bucket`]: how often something may happen
//! - [`code`], [`failure`]: how a call ends; [`ending`]: how a tunnel does

pub mod admission;
pub mod affinity;
pub mod allowance;
pub mod answer;
pub mod balance;
pub mod call;
pub mod code;
pub mod deadlines;
pub mod directory;
pub mod ending;
pub mod failure;
pub mod id;
pub mod idleness;
pub mod limits;
pub mod liveness;
pub mod outbox;
pub mod quota;
pub mod route;
pub mod switchboard;
pub mod token_bucket;
pub mod topic;
pub mod waiting;
