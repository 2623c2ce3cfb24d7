//! What is written down of one call: that it came, what passed, and how it ended, exactly once.
//!
//! It is made as soon as a stream turns out to be a gRPC call, or a peer's frame begins one. Dropped
//! without an end, on whatever road, the caller is gone: `CANCELLED`, `cancelled`, or `deadline` if its time
//! was up. That is so too where the gateway has given the caller up, which reads nothing or whose
//! connection it has closed: nobody is told another end. If the gateway breaks it is `INTERNAL`, `panic`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::actors::now;
use crate::actors::traffic::{Ending, Message, RequestHead};
use crate::auth::KeyGrant;
use crate::observe::calls::{Counted, End, Reason, Status};
use crate::observe::limits::{self, Limit};
use crate::observe::log::access;
use crate::observe::ticks::{self, Tick};
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{RequestId, TunnelId};

use super::limits_reached;
use super::request_id;
use super::status::of_failure;
use super::wire::Wire;

/// A caller that leaves so shortly before its time is up, or in the last such part of it, has not changed
/// its mind: clients round what they write into grpc-timeout up, and their clocks start earlier.
const NEARLY_DUE: Duration = Duration::from_millis(10);
const NEARLY_DUE_PART: u32 = 20;

/// One call, until its end is written down.
#[derive(Debug)]
pub(super) struct CallRecord {
    counted: Counted,
    arrived: Tick,
    request: RequestId,
    /// What goes as `x-request-id`, unless that is switched off.
    id: Option<HeaderValue>,
    remote: SocketAddr,
    /// Kept only while there is an access log.
    path: Option<Box<str>>,
    key: Option<Arc<KeyGrant>>,
    /// Once the call may come in.
    head: Option<Arc<RequestHead>>,
    messages_out: u64,
    bytes_out: u64,
    /// How long the end has waited until its caller took what comes before it, in nanoseconds.
    end_waited: Cell<u64>,
    ended: bool,
}

/// Waiting until a caller takes more of its answer, which lasts until this is dropped.
#[derive(Debug)]
pub(super) struct WaitsForCaller<'r> {
    record: &'r CallRecord,
    since: Tick,
}

/// Writes down what the caller says. There is one for each call.
#[derive(Debug)]
pub(super) struct Hearing {
    counted: Counted,
    head: Arc<RequestHead>,
    /// Since when the call cannot go on without another word.
    awaited: Option<Tick>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    status: Status,
    reason: Option<Reason>,
    /// When the end was read off the tunnel, if it is the service's own.
    heard: Option<Tick>,
    /// The limit that it has reached, where the end tells.
    limit: Option<Limit>,
}

impl CallRecord {
    /// A call has come. Its request id is taken out of its metadata.
    pub(super) fn begin(
        wire: &Wire,
        path: &str,
        headers: &mut HeaderMap,
        remote: SocketAddr,
    ) -> Self {
        let arrived = ticks::now();
        let request = RequestId::random();
        Self {
            counted: wire.calls.begin(path, arrived),
            arrived,
            request,
            id: wire.request_ids.then(|| request_id::taken(headers, request)),
            remote,
            path: access::is_on().then(|| path.into()),
            key: None,
            head: None,
            messages_out: 0,
            bytes_out: 0,
            end_waited: Cell::new(0),
            ended: false,
        }
    }

    /// The gateway's own id of the call.
    pub(super) fn request(&self) -> RequestId {
        self.request
    }

    /// The caller has shown this key.
    pub(super) fn shows_key(&mut self, grant: &Arc<KeyGrant>) {
        self.key = Some(grant.clone());
    }

    /// The call may come in, with this head.
    pub(super) fn comes_in(&mut self, head: &Arc<RequestHead>) -> Hearing {
        self.head = Some(head.clone());
        Hearing { counted: self.counted.clone(), head: head.clone(), awaited: None }
    }

    /// Names the call in metadata, either way.
    pub(super) fn put_id(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            request_id::put(headers, id);
        }
    }

    /// Takes the name out of trailers, where it has been given in the headers.
    pub(super) fn strip_id(&self, trailers: &mut HeaderMap) {
        if self.id.is_some() && !trailers.is_empty() {
            trailers.remove(request_id::NAME);
        }
    }

    /// A message has been written to the caller.
    pub(super) fn message_sent(&mut self, bytes: usize) {
        self.messages_out += 1;
        self.bytes_out += bytes as u64;
        self.counted.message_out();
    }

    /// The caller has to take something before the answer goes on.
    pub(super) fn waits_for_caller(&self) -> WaitsForCaller<'_> {
        WaitsForCaller { record: self, since: ticks::now() }
    }

    /// The end has come, and is only to be written: what was waited before lies in the service's time.
    pub(super) fn end_has_come(&self) {
        self.end_waited.set(0);
    }

    /// The end has been written to the caller. Only the first counts.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let end = ticks::now();
        let (messages_in, bytes_in) = self.head.as_ref().map_or((0, 0), |head| head.marks.said());
        let duration_nanoseconds = self.arrived.nanoseconds_until(end);
        let overhead_nanoseconds = self.overhead(outcome, end);
        let Outcome { status, reason, limit, .. } = outcome;
        limit.into_iter().for_each(limits::hit);
        self.counted.end(End {
            status,
            reason,
            duration_nanoseconds,
            overhead_nanoseconds,
            bytes_in,
            bytes_out: self.bytes_out,
        });
        if let Some(path) = &self.path {
            let head = self.head.as_ref();
            let tunnel = head.and_then(|head| head.marks.tunnel());
            let own = self.request.to_string();
            let request_id = self.id.as_ref().and_then(|id| id.to_str().ok());
            access::write(&access::Call {
                method: path,
                status: status.name(),
                reason: reason.map(Reason::name),
                duration: Duration::from_nanos(duration_nanoseconds),
                overhead: overhead_nanoseconds.map(Duration::from_nanos),
                bytes_in,
                bytes_out: self.bytes_out,
                messages_in,
                messages_out: self.messages_out,
                tunnel: tunnel.map(TunnelId::uuid),
                key: self.key.as_ref().map(|grant| grant.id()),
                request_id: request_id.unwrap_or(&own),
                call_id: self.request.uuid(),
                remote: self.remote,
            });
        }
    }

    /// Why there is no end. A caller has left if the gateway has not broken: clients reset a call when its
    /// time is up, a little before the gateway does.
    fn why_gone(&self) -> Failure {
        if thread::panicking() {
            return Failure::Panic;
        }
        let deadline = self.head.as_ref().and_then(|head| head.deadline);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
        let is_due = |left: Duration| {
            left <= NEARLY_DUE.max((self.arrived.elapsed() + left) / NEARLY_DUE_PART)
        };
        if left.is_some_and(is_due) { Failure::Deadline } else { Failure::Cancelled }
    }

    /// Until the call went down its tunnel, and since the service's last word came up; without what it
    /// waited then for its caller or for a tunnel.
    fn overhead(&self, outcome: Outcome, end: Tick) -> Option<u64> {
        let marks = &self.head.as_ref()?.marks;
        let (opened, heard) = (marks.opened()?, outcome.heard?);
        let before = self.arrived.nanoseconds_until(opened);
        let after = heard.nanoseconds_until(end);
        let before = before.saturating_sub(marks.waited_nanoseconds());
        Some(before + after.saturating_sub(self.end_waited.get()))
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::of_failure(self.why_gone()));
        }
    }
}

impl Drop for WaitsForCaller<'_> {
    fn drop(&mut self) {
        let waited = &self.record.end_waited;
        waited.set(waited.get() + self.since.nanoseconds_until(ticks::now()));
    }
}

impl Hearing {
    /// Until the caller says more, the call does not go on.
    pub(super) fn is_awaited(&mut self) {
        self.awaited = Some(ticks::now());
    }

    /// The caller has said this.
    pub(super) fn said(&mut self, said: &Said<Message>) {
        if let Some(since) = self.awaited.take() {
            self.head.marks.waited(since);
        }
        if let Said::Message(message) | Said::LastMessage(message) = said {
            self.head.marks.message(message.payload.len());
            self.counted.message_in();
        }
    }
}

impl Outcome {
    /// The gateway ended it.
    pub(super) fn of_failure(failure: Failure) -> Self {
        let (code, reason) = of_failure(failure);
        let status = Status::numbered(code.number());
        let limit = limits_reached::by_failure(failure);
        Self { status, reason: Reason::named(reason), heard: None, limit }
    }

    /// It ends so; `heard` is when the part was read that says it.
    pub(super) fn of(ending: &Ending, heard: Tick) -> Self {
        match ending {
            Ending::Answered { code, .. } => {
                let status = Status::numbered(code.number());
                Self { status, reason: None, heard: Some(heard), limit: None }
            }
            Ending::Failed(failure) => Self::of_failure(*failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::observe::calls::{CallCounter, Calls};

    fn record(counter: &CallCounter) -> CallRecord {
        let arrived = ticks::now();
        CallRecord {
            counted: counter.begin("/demo.Echo/Say", arrived),
            arrived,
            request: RequestId::random(),
            id: None,
            remote: ([127, 0, 0, 1], 5).into(),
            path: None,
            key: None,
            head: None,
            messages_out: 0,
            bytes_out: 0,
            end_waited: Cell::new(0),
            ended: false,
        }
    }

    #[test]
    fn a_call_without_an_end_has_lost_its_caller_unless_the_gateway_breaks() {
        let calls = Arc::new(Calls::new(1, 2_000));
        let counter = CallCounter::new(calls.clone(), 0);
        drop(record(&counter));
        let fallen = catch_unwind(AssertUnwindSafe(|| {
            let _record = record(&counter);
            panic!("as asked");
        }));
        assert!(fallen.is_err());
        let errors = calls.local_errors();
        assert_eq!(errors, [("cancelled", "CANCELLED", 1), ("panic", "INTERNAL", 1)]);
    }
}
